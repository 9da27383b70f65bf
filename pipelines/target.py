"""A target: where pipelines run, with the settings of each task there."""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict
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
from pipelines.custom_job import machine_type, run_on_workers
from steam_recsys.errors import UserError
from steam_recsys.logging import FORMAT_VARIABLE
from steam_recsys.retention import DEFAULT as DEFAULT_RETENTION
from steam_recsys.retention import Retention
from steam_recsys.stage import TIMEOUT_VARIABLE
from steam_recsys.storage.folder import S3_VARIABLES

TargetName = Literal["local", "docker", "kubeflow", "vertex"]
TARGETS: tuple[TargetName, ...] = get_args(TargetName)
SETTINGS = Path(__file__).parent / "targets"
URL_VARIABLES = ("DATABASE_URL", "MONGODB_URL", "REPLICA_URL", "ALERTS_URL")
"""Environment variables with URLs that tasks on Kubeflow and in containers have; only the first is always set."""

ENVIRONMENT = "STEAM_RECSYS_"
GOOGLE_FOLDER = "/etc/google"
"""Folder of a task's Google Cloud credentials on Kubeflow."""

START_MINUTES = 10
"""How long a pod may wait for a node and its image before its stage starts."""

LONGEST_TASK_MINUTES = 24 * 60
"""How long a task without a time limit may take."""

TaskName = Literal[
    "default", "ingest", "extract", "validate", "monitor", "train", "evaluate", "refit", "promote", "make-plan",
    "predict", "publish", "refresh", "record-run",
]  # fmt: skip


DISTRIBUTED_TASKS: tuple[TaskName, ...] = ("train", "refit")
"""Tasks whose work several machines can share."""


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskSettings(_Settings):
    """Settings of one task. Missing ones come from `[tasks.default]`, and otherwise from the platform.

    Every task is idempotent, so every task may be retried.

    Attributes:
        cpu: Cores in Kubernetes' units, such as 500m.
        memory: Memory in Kubernetes' units, such as 8G.
        accelerator: The platform's name of the accelerator, such as NVIDIA_TESLA_T4 or nvidia.com/gpu.
        workers: Number of machines that share the fits of the task, each with `cpu` and `memory`; several only for
            training and the refit, only on the target vertex, and without an accelerator.
        retries: Retries of a failed task.
        backoff: Wait before the first retry, such as 30s.
        factor: Factor by which the wait grows with each retry.
        timeout_minutes: Minutes after which the stage stops.
        caching: Whether the platform may reuse an earlier task's results. Off by default: databases and store change
            while a task's arguments stay the same.
    """

    cpu: str | None = Field(default=None, pattern=r"^\d+(\.\d+)?$|^\d+m$")
    memory: str | None = Field(default=None, pattern=r"^\d+[KMGT]?i?$")
    accelerator: str | None = None
    workers: int = Field(default=1, ge=1)
    retries: int = Field(default=0, ge=0)
    backoff: str = Field(default="30s", pattern=r"^\d+s$")
    factor: float = Field(default=2.0, ge=1)
    timeout_minutes: float | None = Field(default=None, gt=0)
    caching: bool = False

    @property
    def longest_seconds(self) -> int:
        """Seconds from the first attempt's start to the end of the last retry, with the waits between them."""
        minutes = LONGEST_TASK_MINUTES if self.timeout_minutes is None else self.timeout_minutes + START_MINUTES
        waits = sum(int(self.backoff.removesuffix("s")) * self.factor**attempt for attempt in range(self.retries))
        return math.ceil((self.retries + 1) * minutes * 60 + waits)


class Vertex(_Settings):
    """Vertex AI Pipelines.

    Attributes:
        project: Id of the Google Cloud project.
        region: Region, such as europe-west1.
        staging_bucket: Bucket gs://… for the runs' artifacts.
        service_account: Account that the tasks run as; the project's default if unset.
        network: Full name of a VPC network to peer with.
        network_attachment: Full name of a network attachment, through which the tasks reach a VPC network and its
            peers, such as Cloud SQL; excludes `network`.
        encryption_key: Full name of a Cloud KMS key.
        labels: Labels of every run.
        failure_policy: After a failure, slow finishes the tasks that do not depend on it, fast starts no more tasks.
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
    """A toleration of a node's taint, with Kubernetes' fields."""

    key: str
    operator: Literal["Equal", "Exists"] = "Equal"
    value: str | None = None
    effect: Literal["NoExecute", "NoSchedule", "PreferNoSchedule"] = "NoSchedule"


class Kubeflow(_Settings):
    """Kubeflow Pipelines.

    Attributes:
        host: URL of the API.
        namespace: Namespace of the runs.
        experiment: Experiment of the runs.
        token_variable: Environment variable on this machine with a token for the API, if the API requires one.
        secret: Kubernetes secret with the keys DATABASE_URL and, optionally, the other URLs and those of an
            S3-compatible store. Every task gets them as environment variables.
        store_claim: PersistentVolumeClaim mounted at /store in every task; unset for a store in a bucket.
        google_secret: Kubernetes secret with the key credentials.json, Google Cloud credentials for a store in a
            bucket outside Google's own clusters. Every task has it as a file.
        node_selector: Labels of the nodes that tasks run on.
        tolerations: Tolerations of the nodes' taints.
    """

    host: str = "http://127.0.0.1:8080"
    namespace: str = "kubeflow"
    experiment: str = "steam-recsys"
    token_variable: str = "KUBEFLOW_TOKEN"
    secret: str = "steam-recsys"
    store_claim: str | None = None
    google_secret: str | None = None
    node_selector: dict[str, str] = {}
    tolerations: list[Toleration] = []


class Target(BaseSettings):
    """A target's settings: `pipelines/targets/<name>.toml`, overridden by the environment.

    An environment variable is STEAM_RECSYS_ and the key in capitals, with two underscores between nested keys:
    STEAM_RECSYS_VERTEX__PROJECT.

    Attributes:
        name: Name of the target.
        registry: First part of the images' names.
        python_image: Image named by every task, if no containers are started.
        parallelism: Shards predicted in parallel.
        log_format: text, or json for one object per line with time, severity, stage, run, version and message.
        parameters: Parameters of submitted and scheduled pipelines. The demo takes thresholds from them.
        schedules: Cron expression in UTC per scheduled pipeline.
        tasks: Settings of the tasks by name; `default` applies to all of them.
        retention: Days for which what runs leave behind is kept.
        vertex: Settings of the target vertex.
        kubeflow: Settings of the target kubeflow.
    """

    model_config = SettingsConfigDict(extra="forbid", frozen=True, env_prefix=ENVIRONMENT, env_nested_delimiter="__")

    name: TargetName
    registry: str = LOCAL_REGISTRY
    python_image: str | None = None
    parallelism: int = Field(default=2, ge=1)
    log_format: Literal["text", "json"] = "text"
    parameters: dict[str, str | int | float] = {}
    schedules: dict[Literal["training", "inference", "refresh"], str] = {}
    tasks: dict[TaskName, TaskSettings] = {}
    retention: Retention = DEFAULT_RETENTION
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
        """Order the sources: arguments override the environment, which overrides the target's file."""
        name = init_settings()["name"]
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, SETTINGS / f"{name}.toml")

    @classmethod
    def load(cls, name: str) -> Target:
        """Read a target's settings.

        Raises:
            UserError: The target is unknown, or a setting is unknown or has the wrong type.
        """
        if name not in TARGETS:
            raise UserError(f"There is no target {name}: choose one of {', '.join(TARGETS)}.")
        path = SETTINGS / f"{name}.toml"
        for variable in os.environ:
            key = variable.removeprefix(ENVIRONMENT).partition("__")[0].lower()
            if variable.startswith(ENVIRONMENT) and key not in cls.model_fields:
                raise UserError(f"There is no setting for {variable}: the settings are {', '.join(cls.model_fields)}.")
        try:
            target = cls(name=name)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(
                f"{path} or a variable {ENVIRONMENT}… has a wrong setting {where} ({first['msg']}): correct it."
            ) from None
        except SettingsError as error:
            raise UserError(
                f"A variable {ENVIRONMENT}… cannot be read ({error}): write a table as JSON, or one variable per key."
            ) from None
        except tomllib.TOMLDecodeError as error:
            raise UserError(f"{path} is not valid TOML ({error}): correct it.") from None
        target._check_workers(path)
        return target

    def _check_workers(self, path: Path) -> None:
        for task in self.tasks:
            settings, where = self.task_settings(task), f"[tasks.{task}] of {path}, or a variable {ENVIRONMENT}…,"
            if settings.workers == 1:
                continue
            if self.name != "vertex":
                raise UserError(f"{where} sets workers, which the target {self.name} does not have: remove it.")
            if task not in DISTRIBUTED_TASKS:
                raise UserError(f"{where} sets workers, which only {' and '.join(DISTRIBUTED_TASKS)} have: remove it.")
            if settings.accelerator:
                raise UserError(f"{where} sets workers and accelerator, which exclude each other: remove one of them.")
            if not settings.cpu or not settings.memory:
                raise UserError(f"{where} sets workers, which need a machine: set cpu and memory too.")

    def image(self, role: Role) -> str:
        """Return the image of a role's tasks."""
        return self.python_image or image_name(self.registry, role)

    def __eq__(self, other: object) -> bool:
        """Compare the settings that were given: a default that is given for a task overrides `[tasks.default]`."""
        return isinstance(other, Target) and self._as_json() == other._as_json()

    def __hash__(self) -> int:
        """Hash the settings as JSON: the dictionaries among them have no hash."""
        return hash(self._as_json())

    def _as_json(self) -> str:
        return self.model_dump_json(exclude_unset=True)

    @property
    def page(self) -> str:
        """URL of a run's page, with `JOB` in place of the run's `job`; empty if the target has no pages."""
        if self.name == "kubeflow":
            return f"{self.kubeflow.host}/#/runs/details/{JOB}"
        if self.name == "vertex" and self.vertex.project and self.vertex.region:
            where = f"locations/{self.vertex.region}/pipelines/runs/{JOB}"
            return f"https://console.cloud.google.com/vertex-ai/{where}?project={self.vertex.project}"
        return ""

    @property
    def job(self) -> str:
        """Placeholder for the run's id in its page's URL. Kubeflow does not fill in placeholders within a text."""
        return str(dsl.PIPELINE_JOB_NAME_PLACEHOLDER if self.name == "vertex" else dsl.PIPELINE_JOB_ID_PLACEHOLDER)

    @property
    def stored_days(self) -> dict[str, int]:
        """The settings of `retention` for the store and the database, which the task that records a run applies."""
        return {name: days for name, days in asdict(self.retention).items() if name != "local_days"}

    def task_settings(self, task: str) -> TaskSettings:
        """Return a task's settings: its own, and the default ones for the others."""
        by_name: Mapping[str, TaskSettings] = {str(name): settings for name, settings in self.tasks.items()}
        layers = [by_name[name].model_dump(exclude_unset=True) for name in ("default", task) if name in by_name]
        return TaskSettings(**{key: value for layer in layers for key, value in layer.items()})

    def configure(self, task: dsl.PipelineTask, role: Role, display_name: str) -> dsl.PipelineTask:
        """Give a task its image, display name, resources and retries on this target.

        Args:
            task: The task of one component.
            role: Image that the task runs in: `model` has TensorFlow and the client of the model registry.
            display_name: Name of the task on the platform's pages.
        """
        settings = self.task_settings(task.component_spec.name)
        task.set_display_name(display_name)
        task.set_container_image(self.image(role))
        task.set_caching_options(settings.caching)
        if settings.cpu and settings.workers == 1:
            task.set_cpu_request(settings.cpu).set_cpu_limit(settings.cpu)
        if settings.memory and settings.workers == 1:
            task.set_memory_request(settings.memory).set_memory_limit(settings.memory)
        if settings.accelerator:
            task.set_accelerator_type(settings.accelerator).set_accelerator_limit(1)
        if settings.retries:
            task.set_retry(
                num_retries=settings.retries,
                backoff_duration=settings.backoff,
                backoff_factor=settings.factor,
                # Kubeflow gives it to Argo as the deadline of all attempts, counted from the first one's start. Vertex
                # reads it as the longest wait between two, for which the default is enough.
                backoff_max_duration=f"{settings.longest_seconds}s" if self.name == "kubeflow" else None,
            )
        if self.log_format != "text":
            task.set_env_variable(FORMAT_VARIABLE, self.log_format)
        if settings.timeout_minutes:
            task.set_env_variable(TIMEOUT_VARIABLE, f"{settings.timeout_minutes:g}")
        if self.name == "kubeflow":
            self._configure_kubernetes(task)
        if settings.workers > 1 and settings.cpu and settings.memory:
            run_on_workers(
                task,
                settings.workers,
                machine_type(settings.cpu, settings.memory),
                settings.timeout_minutes and settings.timeout_minutes + START_MINUTES,
                self.vertex.labels,
                self.vertex.network_attachment,
            )
        return task

    def _configure_kubernetes(self, task: dsl.PipelineTask) -> None:
        settings = self.kubeflow
        kubernetes.use_secret_as_env(task, settings.secret, {"DATABASE_URL": "DATABASE_URL"})
        for optional in (*URL_VARIABLES[1:], *S3_VARIABLES):
            kubernetes.use_secret_as_env(task, settings.secret, {optional: optional}, optional=True)
        if settings.store_claim:
            kubernetes.mount_pvc(task, settings.store_claim, "/store")
        if settings.google_secret:
            kubernetes.use_secret_as_volume(task, settings.google_secret, GOOGLE_FOLDER)
            task.set_env_variable("GOOGLE_APPLICATION_CREDENTIALS", f"{GOOGLE_FOLDER}/credentials.json")
        for key, value in settings.node_selector.items():
            kubernetes.add_node_selector(task, key, value)
        for toleration in settings.tolerations:
            kubernetes.add_toleration(task, **toleration.model_dump())
