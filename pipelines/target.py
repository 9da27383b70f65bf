"""A target: where a pipeline is to run, and what each of its tasks gets there."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self, get_args

from kfp import dsl, kubernetes
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from components.notify.outcome import JOB
from containers.images import LOCAL_REGISTRY, Role, image_name
from steam_recsys.errors import UserError
from steam_recsys.logging import FORMAT_VARIABLE
from steam_recsys.stage import TIMEOUT_VARIABLE

TargetName = Literal["local", "docker", "kubeflow", "vertex"]
TARGETS: tuple[TargetName, ...] = get_args(TargetName)
SETTINGS = Path(__file__).parent / "targets"
ENVIRONMENT = "STEAM_RECSYS_"

TaskName = Literal[
    "default", "ingest", "extract", "validate", "monitor", "train", "evaluate", "refit", "promote", "make-plan",
    "predict", "publish", "record-run",
]  # fmt: skip


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskSettings(_Settings):
    """What a task gets; what is not set here is taken from `[tasks.default]`, and what is not set there either is left
    to the platform. Every task may be retried, because every task is idempotent.

    Attributes:
        cpu: cores, in Kubernetes' units.
        memory: in Kubernetes' units, as 8G.
        accelerator: the platform's name of a kind of accelerator, as NVIDIA_TESLA_T4 or nvidia.com/gpu.
        accelerator_count: how many of them.
        retries: how often a failed task is tried again.
        backoff: how long to wait before the first retry, as 30s.
        factor: how many times as long each further retry waits.
        timeout_minutes: after which the stage gives up.
        caching: whether the platform may reuse an earlier task's results. Off by default: what a task reads and
            writes, in databases and in the store, changes while its arguments stay the same.
    """

    cpu: str | None = None
    memory: str | None = None
    accelerator: str | None = None
    accelerator_count: int = Field(default=1, ge=1)
    retries: int = Field(default=0, ge=0)
    backoff: str = Field(default="30s", pattern=r"^\d+s$")
    factor: float = Field(default=2.0, ge=1)
    timeout_minutes: float | None = Field(default=None, gt=0)
    caching: bool = False


class Vertex(_Settings):
    """Vertex AI Pipelines.

    Attributes:
        project: the Google Cloud project's id.
        region: as europe-west1.
        staging_bucket: gs://…, under which the runs' artifacts are kept.
        service_account: that the tasks run as; the project's default where left out.
        network: the full name of a VPC network to peer with.
        network_attachment: the full name of a network attachment, through which the tasks reach a VPC network and what
            that is peered with, as Cloud SQL; instead of `network`.
        encryption_key: the full name of a key of Cloud KMS.
        labels: of every run.
        failure_policy: slow finishes the tasks that do not depend on a failed one, fast starts no more.
    """

    project: str | None = None
    region: str | None = None
    staging_bucket: str | None = Field(default=None, pattern="^gs://")
    service_account: str | None = None
    network: str | None = None
    network_attachment: str | None = None
    encryption_key: str | None = None
    labels: dict[str, str] = {}
    failure_policy: Literal["slow", "fast"] = "fast"

    @model_validator(mode="after")
    def _one_way_into_a_network(self) -> Self:
        if self.network and self.network_attachment:
            raise ValueError("network and network_attachment exclude each other")
        return self


class Toleration(_Settings):
    """A taint of nodes that tasks may run on all the same, in Kubernetes' words."""

    key: str
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoExecute", "NoSchedule", "PreferNoSchedule"] = "NoSchedule"


class Kubeflow(_Settings):
    """Kubeflow Pipelines.

    Attributes:
        host: the URL of its API.
        namespace: that the runs belong to.
        experiment: that the runs are listed under.
        token_variable: the environment variable of this machine that holds a token for the API, if it asks for one.
        secret: the Kubernetes secret whose key DATABASE_URL, and MONGODB_URL and ALERTS_URL where it has them, every
            task has as an environment variable.
        store_claim: the PersistentVolumeClaim that every task has at /store; none for a store in a bucket.
        node_selector: labels of the nodes that tasks run on.
        tolerations: of the nodes' taints.
    """

    host: str = "http://127.0.0.1:8080"
    namespace: str = "kubeflow"
    experiment: str = "steam-recsys"
    token_variable: str = "KUBEFLOW_TOKEN"
    secret: str = "steam-recsys"
    store_claim: str | None = None
    node_selector: dict[str, str] = {}
    tolerations: list[Toleration] = []


class Target(BaseSettings):
    """A target's settings: `pipelines/targets/<name>.toml`, and over it the environment.

    A variable is named STEAM_RECSYS_, then the key in capitals, two underscores between nested keys:
    STEAM_RECSYS_VERTEX__PROJECT.

    Attributes:
        name: the target.
        registry: the first part of the images' names.
        python_image: an image for every task, where no containers are started.
        parallelism: shards that are predicted at the same time.
        log_format: text, or json: a line is an object with time, severity, stage, run, version and message.
        parameters: of the pipelines that are submitted and scheduled; a demo takes limits and numbers from them.
        schedules: a cron expression in UTC for each pipeline that is to be scheduled.
        tasks: what the tasks get, by name; `default` is for all of them.
        vertex: for the target vertex.
        kubeflow: for the target kubeflow.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=ENVIRONMENT, env_nested_delimiter="__")

    name: TargetName
    registry: str = LOCAL_REGISTRY
    python_image: str | None = None
    parallelism: int = Field(default=2, ge=1)
    log_format: Literal["text", "json"] = "text"
    parameters: dict[str, str | int | float] = {}
    schedules: dict[Literal["training", "inference"], str] = {}
    tasks: dict[TaskName, TaskSettings] = {}
    vertex: Vertex = Vertex()
    kubeflow: Kubeflow = Kubeflow()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given, the environment, the target's file: the first that has a setting counts."""
        name = init_settings()["name"]
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, SETTINGS / f"{name}.toml")

    @classmethod
    def load(cls, name: str) -> Target:
        """Read a target's settings.

        Raises:
            UserError: the target is unknown, or a setting is unknown or of the wrong type.
        """
        if name not in TARGETS:
            raise UserError(f"There is no target {name}: choose one of {', '.join(TARGETS)}.")
        path = SETTINGS / f"{name}.toml"
        for variable in os.environ:
            key = variable.removeprefix(ENVIRONMENT).partition("__")[0].lower()
            if variable.startswith(ENVIRONMENT) and key not in cls.model_fields:
                raise UserError(f"There is no setting for {variable}: the settings are {', '.join(cls.model_fields)}.")
        try:
            return cls(name=name)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(
                f"{path} or a variable {ENVIRONMENT}… has a wrong setting {where} ({first['msg']}): correct it."
            ) from None
        except SettingsError as error:
            raise UserError(
                f"A variable {ENVIRONMENT}… cannot be read ({error}): write a table in JSON, or one variable a key."
            ) from None
        except tomllib.TOMLDecodeError as error:
            raise UserError(f"{path} is no TOML ({error}): correct it.") from None

    def image(self, role: Role) -> str:
        """The image of a role's tasks."""
        return self.python_image or image_name(self.registry, role)

    @property
    def page(self) -> str:
        """Where a run is to be watched, with `JOB` where its `job` goes; empty where there is no such page."""
        if self.name == "kubeflow":
            return f"{self.kubeflow.host}/#/runs/details/{JOB}"
        if self.name == "vertex" and self.vertex.project and self.vertex.region:
            where = f"locations/{self.vertex.region}/pipelines/runs/{JOB}"
            return f"https://console.cloud.google.com/vertex-ai/{where}?project={self.vertex.project}"
        return ""

    @property
    def job(self) -> str:
        """What the page calls a run, as a placeholder to be passed by itself: within a text Kubeflow fills in none."""
        return str(dsl.PIPELINE_JOB_NAME_PLACEHOLDER if self.name == "vertex" else dsl.PIPELINE_JOB_ID_PLACEHOLDER)

    def settings_of(self, task: str) -> TaskSettings:
        """What a task gets: its own settings over the default ones."""
        by_name: Mapping[str, TaskSettings] = {str(name): settings for name, settings in self.tasks.items()}
        layers = [by_name[name].model_dump(exclude_unset=True) for name in ("default", task) if name in by_name]
        return TaskSettings(**{key: value for layer in layers for key, value in layer.items()})

    def data(self, task: dsl.PipelineTask, title: str) -> dsl.PipelineTask:
        """Fit a task that moves or checks data into this target."""
        return self._fit(task, "data", title)

    def model(self, task: dsl.PipelineTask, title: str) -> dsl.PipelineTask:
        """Fit a task that needs TensorFlow or a model registry's client into this target."""
        return self._fit(task, "model", title)

    def _fit(self, task: dsl.PipelineTask, role: Role, title: str) -> dsl.PipelineTask:
        settings = self.settings_of(task.component_spec.name)
        task.set_display_name(title)
        task.set_container_image(self.image(role))
        task.set_caching_options(settings.caching)
        if settings.cpu:
            task.set_cpu_request(settings.cpu).set_cpu_limit(settings.cpu)
        if settings.memory:
            task.set_memory_request(settings.memory).set_memory_limit(settings.memory)
        if settings.accelerator:
            task.set_accelerator_type(settings.accelerator).set_accelerator_limit(settings.accelerator_count)
        if settings.retries:
            task.set_retry(
                num_retries=settings.retries, backoff_duration=settings.backoff, backoff_factor=settings.factor
            )
        if self.log_format != "text":
            task.set_env_variable(FORMAT_VARIABLE, self.log_format)
        if settings.timeout_minutes:
            task.set_env_variable(TIMEOUT_VARIABLE, f"{settings.timeout_minutes:g}")
        if self.name == "kubeflow":
            self._fit_kubernetes(task)
        return task

    def _fit_kubernetes(self, task: dsl.PipelineTask) -> None:
        settings = self.kubeflow
        kubernetes.use_secret_as_env(task, settings.secret, {"DATABASE_URL": "DATABASE_URL"})
        for optional in ("MONGODB_URL", "ALERTS_URL"):
            kubernetes.use_secret_as_env(task, settings.secret, {optional: optional}, optional=True)
        if settings.store_claim:
            kubernetes.mount_pvc(task, settings.store_claim, "/store")
        for key, value in settings.node_selector.items():
            kubernetes.add_node_selector(task, key, value)
        for toleration in settings.tolerations:
            kubernetes.add_toleration(task, **toleration.model_dump())
