"""Runs on KFP's local runner: each task a process on this machine."""

from __future__ import annotations

import builtins
import contextlib
import io
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import docker
import yaml
from kfp import components, local

from steam_recsys.errors import UserError
from steam_recsys.logging import stage_line, write_line
from steam_recsys.stage import READER_VARIABLE

OUTCOME = re.compile(r"^\[notify\] \w+ run \S+: ([A-Z]+)(?:, (.*))?$")
PASSED_ON = ("DATABASE_URL", "MONGODB_URL", "ALERTS_URL", "STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT")
"""The variables of this machine's environment that containers get."""

FAILURE = re.compile(r"^\[([a-z_]+)[^\]]*\] failed: (.*)$")


def run_locally(
    pipeline: Path, parameters: dict[str, Any], root: Path = Path("local"), *, containers: bool = False
) -> None:
    """Run a compiled pipeline and show its stages' own lines; everything that KFP prints goes to a log file.

    Args:
        pipeline: the compiled YAML.
        parameters: its arguments.
        root: the folder for the run's artifacts and its log.
        containers: whether each task runs in a container of its image, rather than as a process.

    Raises:
        UserError: the run failed, with the failed stage's own sentence where it left one.
    """
    root = root.resolve()
    started = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    path = root / "logs" / f"{pipeline.stem}-{started}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    artifacts, workspace = root / "artifacts", root / "workspace"
    workspace.mkdir(exist_ok=True)
    local.init(
        _docker(pipeline, artifacts) if containers else local.SubprocessRunner(use_venv=False),
        pipeline_root=str(artifacts),
        workspace_root=str(workspace),  # a new folder of the machine's temporary ones for each run, otherwise
    )
    run = components.load_component_from_file(str(pipeline))
    with path.open("w", encoding="utf-8") as file, _this_python(), _leaving_nothing(), _own_print():
        log = RunLog(file, sys.stdout)
        try:
            with contextlib.redirect_stdout(log), warnings.catch_warnings():
                # Display names and the like, which are there for the other targets.
                warnings.filterwarnings("ignore", message=".* have no effect in the current local runner")
                run(**parameters)
        except (RuntimeError, ValueError):  # KFP's words for a failed run, and for one whose container died unnoticed
            raise UserError(f"{log.failure or f'The {pipeline.stem} run failed.'} The whole log is {path}.") from None
    if not log.succeeded:  # a container that dies at once can pass for one that did its work
        raise UserError(f"{log.failure or f'The {pipeline.stem} run left no outcome.'} The whole log is {path}.")


def _docker(pipeline: Path, artifacts: Path) -> local.DockerRunner:
    """Containers that reach this machine's servers, and share the folder of the run's artifacts.

    Raises:
        UserError: there is no engine, or it lacks an image.
    """
    spec = next(yaml.safe_load_all(pipeline.read_text()))
    images = {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}
    try:
        with contextlib.closing(docker.from_env()) as engine:
            missing = images.difference(*(image.tags for image in engine.images.list()))
    except docker.errors.DockerException:
        raise UserError("No Docker engine answers: start it, or use --target local.") from None
    if missing:
        raise UserError(f"The image {min(missing)} is not on this machine: run make images.")
    artifacts.mkdir(parents=True, exist_ok=True)
    environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    options = {"network_mode": "host", "environment": environment}
    if os.getuid() == 0:
        artifacts.chmod(0o777)  # the images' own user writes there
    else:
        options["user"] = f"{os.getuid()}:{os.getgid()}"
    return local.DockerRunner(**options)


@contextlib.contextmanager
def _this_python() -> Iterator[None]:
    """Let tasks run on this very Python, found by its plain name.

    KFP puts `sys.executable` in place of each `python3` in a task's shell command and arguments, unquoted: a path with
    a space, or with `python3` in it, would break the command or what the task is told.
    """
    executable = sys.executable
    sys.executable = "python3"
    try:
        with _environment(PATH=f"{Path(executable).parent}{os.pathsep}{os.environ['PATH']}"):
            yield
    finally:
        sys.executable = executable


@contextlib.contextmanager
def _leaving_nothing() -> Iterator[None]:
    """Let tasks end with this process, and put what is temporary where it goes with the run: KFP itself keeps it."""
    with (
        tempfile.TemporaryDirectory(prefix="steam-recsys-run-") as folder,
        _environment(TMPDIR=folder, **{READER_VARIABLE: "1"}),
    ):
        yield


@contextlib.contextmanager
def _own_print() -> Iterator[None]:
    """Put `print` back: KFP replaces it to indent what a task says, and of two tasks at once one may leave it so."""
    own = builtins.print
    try:
        yield
    finally:
        builtins.print = own


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
    """Where a local run prints to: all of it goes to a file, the stages' own lines are shown as well."""

    def __init__(self, file: TextIO, shown: TextIO) -> None:
        self._file = file
        self._shown = shown
        self._line = ""
        self.failure = ""
        """The sentence of the first stage that failed."""
        self.succeeded = False
        """Whether the exit handler recorded a success."""

    def write(self, text: str) -> int:
        """Take text as it comes, and show what of it is a stage's whole line."""
        self._file.write(text)
        self._line += text
        while "\n" in self._line:
            line, _, self._line = self._line.partition("\n")
            if said := stage_line(line):
                self._show(said)
        return len(text)

    def flush(self) -> None:
        """Pass on what there is."""
        self._file.flush()
        self._shown.flush()

    def _show(self, line: str) -> None:
        if (failed := FAILURE.match(line)) and not self.failure:
            self.failure = failed[2]
        if outcome := OUTCOME.match(line):
            self.succeeded = outcome[1] == "SUCCEEDED"
            self.failure = self.failure or outcome[2]
        write_line(self._shown, line)
