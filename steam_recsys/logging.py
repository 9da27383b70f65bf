"""What a stage says while it works: lines that begin with its name, on a terminal as in a log, or JSON if asked for."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from datetime import UTC, datetime
from typing import TextIO

from steam_recsys.code_version import code_version

FORMAT_VARIABLE = "STAGE_LOG_FORMAT"
"""`json` has each line be an object, with the names of Cloud Logging; anything else, or nothing, leaves it text."""

_STAGE_LINE = re.compile(r"^\s*(\[[a-z_]+(?: [^\]]*)?\] .*)$")
_PROGRESS = re.compile(r"^\[[^\]]*\] … ")
_CLEAR = "\r\x1b[2K"
_RUN: dict[str, str] = {}


def say_in_each_line(run: str) -> None:
    """Have each line in JSON name the run from now on, whichever thread says it: a process works for one run."""
    _RUN["run"] = run


def log(name: str, message: str) -> None:
    """Say something that stays."""
    _say(name, message, "INFO")


def log_error(name: str, message: str) -> None:
    """Say why the stage fails."""
    _say(name, f"failed: {message}", "ERROR")


def progress(name: str, message: str) -> None:
    """Say how far the work has come: on a terminal the next line takes its place, elsewhere it is a line like any."""
    _say(name, f"… {message}", "DEBUG")


def _say(name: str, message: str, severity: str) -> None:
    if os.environ.get(FORMAT_VARIABLE) != "json":
        show(sys.stdout, f"[{name}] {message}")
        return
    now = datetime.now(UTC).isoformat()
    line = {"time": now, "severity": severity, **_RUN, "stage": name, "version": code_version(), "message": message}
    show(sys.stdout, json.dumps(line, ensure_ascii=False))


def show(stream: TextIO, line: str) -> None:
    """Write a stage's line to a stream, at once."""
    if not stream.isatty():
        stream.write(f"{line}\n")
    elif _PROGRESS.match(line):
        stream.write(_CLEAR + line[: shutil.get_terminal_size().columns - 1])
    else:
        stream.write(f"{_CLEAR}{line}\n")
    stream.flush()


def stage_line(line: str) -> str | None:
    """What a stage said, as text, of a line in the midst of what others print; None where it is not a stage's."""
    if match := _STAGE_LINE.match(line):
        return match[1]
    if (text := line.strip()).startswith('{"time": ') and '"stage": ' in text:
        try:
            said = json.loads(text)
            return f"[{said['stage']}] {said['message']}"
        except (ValueError, KeyError):
            return None
    return None
