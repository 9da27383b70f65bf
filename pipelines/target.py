"""A target: where a pipeline is to run, and what each of its tasks gets there."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Literal

from kfp import dsl
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.shared.errors import UserError

TARGETS = ("local", "docker", "kubeflow", "vertex")
SETTINGS = Path(__file__).parent / "targets"

Role = Literal["data", "model"]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Resources(_Settings):
    """What a task of one role may use, in Kubernetes' units; None leaves it to the platform."""

    cpu: str | None = None
    memory: str | None = None


class Retries(_Settings):
    """How often a failed task is tried again, and how long to wait: `backoff`, then `factor` times as long each time.

    Every task may be retried, because every task is idempotent.
    """

    count: int = Field(default=0, ge=0)
    backoff: str = "30s"
    factor: float = Field(default=2.0, ge=1)


class Target(_Settings):
    """A target's settings, read from `pipelines/targets/<name>.toml`.

    Attributes:
        name: the target.
        images: the image of each role.
        resources: the resources of each role.
        retries: of every task.
        parallelism: shards that are predicted at the same time.
    """

    name: Literal["local", "docker", "kubeflow", "vertex"]
    images: dict[Role, str]
    resources: dict[Role, Resources] = {}
    retries: Retries = Retries()
    parallelism: int = Field(default=2, ge=1)

    @classmethod
    def load(cls, name: str) -> Target:
        """Read a target's settings.

        Raises:
            UserError: the target is unknown, or a setting is unknown or of the wrong type.
        """
        if name not in TARGETS:
            raise UserError(f"There is no target {name}: choose one of {', '.join(TARGETS)}.")
        path = SETTINGS / f"{name}.toml"
        try:
            return cls.model_validate({"name": name, **tomllib.loads(path.read_text())})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise UserError(f"{path} has a wrong setting {where} ({first['msg']}): correct it.") from None

    def data(self, task: dsl.PipelineTask, title: str) -> dsl.PipelineTask:
        """Fit a task that moves or checks data into this target."""
        return self._fit(task, "data", title)

    def model(self, task: dsl.PipelineTask, title: str) -> dsl.PipelineTask:
        """Fit a task that needs TensorFlow into this target."""
        return self._fit(task, "model", title)

    def _fit(self, task: dsl.PipelineTask, role: Role, title: str) -> dsl.PipelineTask:
        task.set_display_name(title)
        task.set_container_image(self.images[role])
        # Never: what a task reads and writes, in databases and in the store, changes while its arguments stay the same.
        task.set_caching_options(False)
        resources = self.resources.get(role, Resources())
        if resources.cpu:
            task.set_cpu_request(resources.cpu).set_cpu_limit(resources.cpu)
        if resources.memory:
            task.set_memory_request(resources.memory).set_memory_limit(resources.memory)
        if self.retries.count:
            task.set_retry(
                num_retries=self.retries.count,
                backoff_duration=self.retries.backoff,
                backoff_factor=self.retries.factor,
            )
        return task
