"""Runs on KFP's local runner: one process or container per task on this machine."""

from __future__ import annotations

import builtins
import contextlib
import fcntl
import io
import os
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import docker
import yaml
from kfp import components, local

from pipelines.target import ENVIRONMENT, URL_VARIABLES
from steam_recsys.errors import UserError
from steam_recsys.logging import log_warning, stage_line, write_line
from steam_recsys.retention import DEFAULT, LOCK, TEMPORARY_PREFIX, Retention, clean_local
from steam_recsys.secrets import mask, register_environment, register_secret
from steam_recsys.stage import READER_VARIABLE
from steam_recsys.storage.folder import S3_VARIABLES
from steam_recsys.storage.manifest import clean_up

OUTCOME = re.compile(r"^\[notify\] \w+ run \S+: ([A-Z]+)(?:, (.*))?$")
CONTAINER_VARIABLES = (
    *URL_VARIABLES, "STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT", *S3_VARIABLES
)  # fmt: skip
"""Environment variables that containers inherit from this machine."""

RUN_LABEL = "steam-recsys-run"
"""Label of a run's containers; its value is the run's id."""

STOP_SECONDS = 10
"""How long a container has to end by itself before it is killed."""

FAILURE = re.compile(r"^\[([a-z_]+)[^\]]*\] failed: (.*)$")


def run_locally(
    pipeline: Path,
    parameters: dict[str, Any],
    root: Path = Path("local"),
    *,
    containers: bool = False,
    retention: Retention = DEFAULT,
    show: Callable[[str], None] | None = None,
) -> None:
    """Run a compiled pipeline and show its stages' lines; KFP's whole output goes to a log file.

    In the end, what has expired of earlier local runs is removed.

    Args:
        pipeline: Compiled YAML.
        parameters: Arguments of the pipeline.
        root: Folder for the run's artifacts and log.
        containers: Whether each task runs in a container of its image instead of a process.
        retention: How long artifacts and logs are kept.
        show: Receives each line of a stage; None prints them.

    Raises:
        UserError: The run failed; the message is the failed stage's, if there is one.
    """
    root = root.resolve()
    register_environment()
    for value in parameters.values():
        if isinstance(value, str) and value.startswith("env:"):
            register_secret(os.environ.get(value.removeprefix("env:"), "").strip())
    started = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    path = root / "logs" / f"{pipeline.stem}-{started}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    artifacts, workspace = root / "artifacts", root / "workspace"
    workspace.mkdir(exist_ok=True)
    run_id = f"{pipeline.stem}-{started}"
    local.init(
        _docker(pipeline, artifacts, run_id) if containers else local.SubprocessRunner(use_venv=False),
        pipeline_root=str(artifacts),
        workspace_root=str(workspace),  # the default is a new temporary folder per run
    )
    run = components.load_component_from_file(str(pipeline))
    with (
        _removing_expired(root, retention),
        path.open("w", encoding="utf-8") as file,
        _this_python(),
        _temporary_folder(),
        _restored_print(),
        _stopping_containers(run_id) if containers else contextlib.nullcontext(),
    ):
        log = RunLog(file, show or partial(write_line, sys.stdout))
        try:
            with contextlib.redirect_stdout(log), warnings.catch_warnings():
                # Display names and other settings for the other targets.
                warnings.filterwarnings("ignore", message=".* have no effect in the current local runner")
                run(**parameters)
        except Exception:  # KFP's for a failed run, Docker's for its engine, and those of both for what they assume
            log.write(f"{traceback.format_exc()}\n")
            raise UserError(f"{log.failure or f'The {pipeline.stem} run failed.'} The full log is {path}.") from None
        finally:
            log.finish()
    if not log.succeeded:  # KFP takes a container that dies at once for a success
        raise UserError(f"{log.failure or f'The {pipeline.stem} run left no outcome.'} The full log is {path}.")


def _docker(pipeline: Path, artifacts: Path, run_id: str) -> local.DockerRunner:
    """Build a runner whose containers reach this machine's servers, share the artifacts' folder and bear the run's id.

    Raises:
        UserError: No engine answers, or an image is missing.
    """
    spec = next(yaml.safe_load_all(pipeline.read_text()))
    images = {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}
    try:
        with contextlib.closing(docker.from_env()) as engine:
            missing = images.difference(
                *(image.tags + (image.attrs.get("RepoDigests") or []) for image in engine.images.list())
            )
    except docker.errors.DockerException:
        raise UserError("The Docker engine does not answer: start it, or use --target local.") from None
    if missing:
        raise UserError(
            f"The image {min(missing)} is not on this machine: run make images without {ENVIRONMENT}REGISTRY and "
            f"compile without it too, or pull the image."
        )
    artifacts.mkdir(parents=True, exist_ok=True)
    environment = {name: os.environ[name] for name in CONTAINER_VARIABLES if name in os.environ}
    options = {"network_mode": "host", "environment": environment, "labels": {RUN_LABEL: run_id}}
    if os.getuid() == 0:
        artifacts.chmod(0o777)  # the images' user writes there
    else:
        options["user"] = f"{os.getuid()}:{os.getgid()}"
    return local.DockerRunner(**options)


@contextlib.contextmanager
def _stopping_containers(run_id: str) -> Iterator[None]:
    """In the end, stop the run's containers: after Ctrl-C, those of tasks would run on; KFP stops none."""
    try:
        yield
    finally:
        try:
            with contextlib.closing(docker.from_env()) as engine:
                label = f"{RUN_LABEL}={run_id}"
                for container in engine.containers.list(filters={"label": label}, ignore_removed=True):
                    with contextlib.suppress(docker.errors.NotFound):  # it has just ended
                        container.stop(timeout=STOP_SECONDS)
        except docker.errors.DockerException as error:
            log_warning("clean", f"containers with the label {RUN_LABEL}={run_id} may still run, stop them: {error}")


@contextlib.contextmanager
def _removing_expired(root: Path, retention: Retention) -> Iterator[None]:
    """In the end, remove what has expired of earlier runs, however this one ends."""
    try:
        yield
    finally:
        with clean_up("clean", f"what has expired in {root}"):
            clean_local(root, retention)


@contextlib.contextmanager
def _this_python() -> Iterator[None]:
    """Run tasks with this Python, found on the PATH as `python3`.

    KFP replaces each `python3` in a task's command and arguments with `sys.executable`, unquoted. A path that contains
    a space or `python3` would break them.
    """
    executable = sys.executable
    sys.executable = "python3"
    try:
        with _environment(PATH=f"{Path(executable).parent}{os.pathsep}{os.environ['PATH']}"):
            yield
    finally:
        sys.executable = executable


@contextlib.contextmanager
def _temporary_folder() -> Iterator[None]:
    """Give tasks a temporary folder that is removed after the run, and end them with this process; KFP does neither.

    It is locked as long as this process lives, so that `clean_local` knows those that killed runs left.
    """
    with (
        tempfile.TemporaryDirectory(prefix=TEMPORARY_PREFIX) as folder,
        (Path(folder) / LOCK).open("w") as lock,
        _environment(TMPDIR=folder, **{READER_VARIABLE: "1"}),
    ):
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _restored_print() -> Iterator[None]:
    """Restore `print`: KFP replaces it to indent a task's output, and parallel tasks may not restore it."""
    original = builtins.print
    try:
        yield
    finally:
        builtins.print = original


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


class RunLog(io.TextIOBase):
    """The output of a local run: all of it goes to a file, and the stages' lines are shown as well.

    Secrets are masked in both, also in the stack traces of tasks.
    """

    def __init__(self, file: TextIO, show: Callable[[str], None]) -> None:
        self._file = file
        self._show = show
        self._line = ""
        self.failure = ""
        """The message of the first failed stage."""
        self.succeeded = False
        """Whether the exit handler recorded a success."""

    def write(self, text: str) -> int:
        """Write each complete line to the file, and show it if it is a stage's."""
        if self._file.closed:  # KFP's logger keeps the output of an earlier run
            return len(text)
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._file.write(f"{mask(line)}\n")
            if stage := stage_line(line):
                self._take(stage)
        return len(text)

    def finish(self) -> None:
        """Write what remains without the end of a line."""
        self._file.write(mask(self._line))
        self._line = ""

    def flush(self) -> None:
        """Flush the file."""
        if not self._file.closed:
            self._file.flush()

    def _take(self, line: str) -> None:
        if (failed := FAILURE.match(line)) and not self.failure:
            self.failure = mask(failed[2])
        if outcome := OUTCOME.match(line):
            self.succeeded = outcome[1] == "SUCCEEDED"
            self.failure = self.failure or (outcome[2] and mask(outcome[2]))
        self._show(mask(line))
