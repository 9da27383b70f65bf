"""Runs and schedules on Kubeflow Pipelines."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kfp
from kfp_server_api.exceptions import ApiException
from urllib3.exceptions import HTTPError

from pipelines.platform import SubmittedRun, user_errors, with_retries
from pipelines.progress import Progress
from pipelines.target import Target
from steam_recsys.errors import UserError

LONGEST_RUN_SECONDS = 86_400
POLL_SECONDS = 5
LISTED = 100
ENDED = ("SUCCEEDED", "FAILED", "SKIPPED", "CANCELED")
"""States of a run that has ended; the client's own wait does not know the last one."""


class KubeflowPipelines:
    """Kubeflow Pipelines as a `pipelines.platform.Platform`."""

    def __init__(self, target: Target) -> None:
        """Connect to the API.

        Raises:
            UserError: The API does not answer, or refuses the token.
        """
        self._settings = target.kubeflow
        with self._user_errors():
            self._client = kfp.Client(
                host=self._settings.host,
                namespace=self._settings.namespace,
                existing_token=os.environ.get(self._settings.token_variable),
            )
            self._experiment = self._call(self._client.create_experiment)(
                self._settings.experiment, namespace=self._settings.namespace
            ).experiment_id

    def submit(self, pipeline: Path, parameters: Mapping[str, Any]) -> SubmittedRun:
        """See `Platform.submit`; uploads the pipeline as a version unless that version exists."""
        with self._user_errors():
            pipeline_id, version_id = self._uploaded(pipeline)
            run = self._client.run_pipeline(
                self._experiment,
                f"{pipeline.stem} {datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
                params=dict(parameters),
                pipeline_id=pipeline_id,
                version_id=version_id,
            )
        return SubmittedRun(f"{self._settings.host}/#/runs/details/{run.run_id}", lambda: self._follow(run.run_id))

    def schedule(self, pipeline: Path, parameters: Mapping[str, Any], cron: str) -> str:
        """See `Platform.schedule`."""
        with self._user_errors():
            earlier = self._schedules(pipeline.stem)
            pipeline_id, version_id = self._uploaded(pipeline)
            schedule = self._client.create_recurring_run(
                self._experiment,
                _display_name(pipeline.stem),
                cron_expression=f"0 {cron}",  # Kubeflow's cron begins with seconds
                params=dict(parameters),
                pipeline_id=pipeline_id,
                version_id=version_id,
                no_catchup=True,
            )
            for old in earlier:
                self._client.delete_recurring_run(old)
        return f"{self._settings.host}/#/recurringrun/details/{schedule.recurring_run_id}"

    def unschedule(self, name: str) -> int:
        """See `Platform.unschedule`."""
        with self._user_errors():
            found = self._schedules(name)
            for schedule in found:
                self._client.delete_recurring_run(schedule)
            return len(found)

    def _uploaded(self, pipeline: Path) -> tuple[str, str]:
        """Upload the pipeline unless its version exists, and return both ids; a version is named by its content."""
        version = hashlib.sha256(pipeline.read_bytes()).hexdigest()[:12]
        # On a Kubeflow for several users, a pipeline without a namespace is shared, and users may not upload it.
        name = _display_name(pipeline.stem)
        listed = self._call(self._client.list_pipelines)(
            namespace=self._settings.namespace, filter=_named(name)
        ).pipelines
        if listed:
            pipeline_id = listed[0].pipeline_id
        else:
            created = self._client.upload_pipeline(str(pipeline), name, namespace=self._settings.namespace)
            pipeline_id = created.pipeline_id
        known = self._call(self._client.list_pipeline_versions)(pipeline_id, filter=_named(version)).pipeline_versions
        if known:
            return pipeline_id, known[0].pipeline_version_id
        uploaded = self._client.upload_pipeline_version(str(pipeline), version, pipeline_id=pipeline_id)
        return pipeline_id, uploaded.pipeline_version_id

    def _schedules(self, name: str) -> list[str]:
        listed = self._call(self._client.list_recurring_runs)(
            experiment_id=self._experiment, page_size=LISTED, filter=_named(_display_name(name))
        )
        return [run.recurring_run_id for run in listed.recurring_runs or []]

    def _follow(self, run_id: str) -> str:
        """Wait for a run's end and return its state; prints progress per task, and what pods wait for."""
        pods = f"kubectl --namespace {self._settings.namespace} get pods --selector=pipeline/runid={run_id}"
        progress, end = Progress(pods), time.monotonic() + LONGEST_RUN_SECONDS
        while time.monotonic() < end:
            with self._user_errors():
                run = self._call(self._client.get_run)(run_id)
            tasks = run.run_details.task_details if run.run_details else None
            for line in progress.lines(tasks or [], time.monotonic()):
                print(f"compile.py: {line}", flush=True)
            if run.state in ENDED:
                return str(run.state)
            time.sleep(POLL_SECONDS)
        hours = LONGEST_RUN_SECONDS // 3600
        raise UserError(f"The run has not ended after {hours} hours: look at its pods with {pods}.")

    def _call(self, call: Any) -> Any:
        return with_retries(call, _status)

    def _user_errors(self) -> Any:
        return user_errors(f"Kubeflow Pipelines at {self._settings.host}", _status)


def _display_name(name: str) -> str:
    return f"steam-recsys-{name}"


def _named(name: str) -> str:
    """Return the API's filter for a display name."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _status(error: Exception) -> int | None:
    if isinstance(error, ApiException):
        return int(error.status) if error.status else 503
    return 503 if isinstance(error, HTTPError | ConnectionError) else None
