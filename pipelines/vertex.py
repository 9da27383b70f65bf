"""Runs and schedules on Vertex AI Pipelines."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import requests
from google.api_core.exceptions import Conflict, GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from google.cloud import aiplatform

from pipelines.platform import SubmittedRun, user_errors, with_retries
from pipelines.target import ENVIRONMENT, Target
from steam_recsys.errors import UserError

_PREFIX = "PIPELINE_STATE_"


class VertexPipelines:
    """Vertex AI Pipelines as a `pipelines.platform.Platform`."""

    def __init__(self, target: Target) -> None:
        """Set up the client.

        Raises:
            UserError: A required setting is missing, or the region does not exist.
        """
        self._settings = target.vertex
        for key in ("project", "region", "staging_bucket"):
            if not getattr(self._settings, key):
                raise UserError(f"The target vertex has no {key}: set {ENVIRONMENT}VERTEX__{key.upper()}.")
        self._names = {"project": self._settings.project, "location": self._settings.region}
        try:
            aiplatform.init(**self._names, staging_bucket=self._settings.staging_bucket)
        except ValueError:  # the client's error for an unknown region
            raise UserError(
                f"Vertex AI has no region {self._settings.region}: correct {ENVIRONMENT}VERTEX__REGION."
            ) from None

    def submit(self, pipeline: Path, parameters: Mapping[str, Any]) -> SubmittedRun:
        """See `Platform.submit`."""
        with user_errors("Vertex AI", _status):
            job = self._job(pipeline, parameters)
            try:
                with_retries(job.submit, _status)(
                    service_account=self._settings.service_account, network=self._settings.network
                )
            except Conflict:  # the id is new, so an earlier attempt started the run, and its answer was lost
                job = aiplatform.PipelineJob.get(job.job_id, **self._names)
        return SubmittedRun(job._dashboard_uri(), lambda: _follow(job))

    def schedule(self, pipeline: Path, parameters: Mapping[str, Any], cron: str) -> str:
        """See `Platform.schedule`."""
        with user_errors("Vertex AI", _status):
            job = self._job(pipeline, parameters)
            schedule = aiplatform.PipelineJobSchedule(pipeline_job=job, display_name=_display_name(pipeline.stem))
            self._attach(schedule._gca_resource.create_pipeline_job_request.pipeline_job)
            with_retries(schedule.create, _status)(
                cron=f"TZ=UTC {cron}",
                service_account=self._settings.service_account,
                network=self._settings.network,
            )
            for other in self._schedules(pipeline.stem):  # earlier ones, and one of an attempt whose answer was lost
                if other.resource_name != schedule.resource_name:
                    other.delete()
            return str(schedule._dashboard_uri())

    def unschedule(self, name: str) -> int:
        """See `Platform.unschedule`."""
        with user_errors("Vertex AI", _status):
            found = self._schedules(name)
            for schedule in found:
                schedule.delete()
            return len(found)

    def _job(self, pipeline: Path, parameters: Mapping[str, Any]) -> aiplatform.PipelineJob:
        job = aiplatform.PipelineJob(
            display_name=pipeline.stem,
            template_path=str(pipeline),
            job_id=f"{pipeline.stem}-{datetime.now(UTC):%Y%m%d%H%M%S%f}",  # a retry must not start a second run
            pipeline_root=f"{str(self._settings.staging_bucket).rstrip('/')}/pipeline-root",
            parameter_values=dict(parameters),
            encryption_spec_key_name=self._settings.encryption_key,
            labels=dict(self._settings.labels),
            failure_policy=self._settings.failure_policy,
            **self._names,
        )
        self._attach(job._gca_resource)
        return job

    def _attach(self, resource: Any) -> None:
        """Attach a run to the network; the client has no argument for this, but its message has a field."""
        if self._settings.network_attachment:
            resource.psc_interface_config = {"network_attachment": self._settings.network_attachment}

    def _schedules(self, name: str) -> list[aiplatform.PipelineJobSchedule]:
        listed = aiplatform.PipelineJobSchedule.list(filter=f'display_name="{_display_name(name)}"', **self._names)
        return [schedule for schedule in listed if schedule.display_name == _display_name(name)]


def _display_name(name: str) -> str:
    return f"steam-recsys {name}"


def _follow(job: aiplatform.PipelineJob) -> str:
    with user_errors("Vertex AI", _status):
        with contextlib.suppress(RuntimeError):  # the client's error for a failed run; the state says so too
            job.wait()
        return str(job.state.name).removeprefix(_PREFIX)


def _status(error: Exception) -> int | None:
    if isinstance(error, GoogleAPICallError):
        return int(error.code) if error.code else None
    if isinstance(error, GoogleAuthError):
        return 401
    return 503 if isinstance(error, requests.ConnectionError) else None
