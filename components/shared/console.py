"""What a stage says while it works: lines that begin with its name, on a terminal as in a log."""

from __future__ import annotations

import re
import shutil
import sys
from typing import TextIO

STAGE_LINE = re.compile(r"^\s*(\[[a-z_]+(?: [^\]]*)?\] .*)$")
"""A line that a stage said, in the midst of what others print; group 1 is the line."""

_PROGRESS = re.compile(r"^\[[^\]]*\] … ")
_CLEAR = "\r\x1b[2K"


def log(name: str, message: str) -> None:
    """Say something that stays."""
    show(sys.stdout, f"[{name}] {message}")


def progress(name: str, message: str) -> None:
    """Say how far the work has come: on a terminal the next line takes its place, elsewhere it is a line like any."""
    show(sys.stdout, f"[{name}] … {message}")


def show(stream: TextIO, line: str) -> None:
    """Write a stage's line to a stream, at once."""
    if not stream.isatty():
        stream.write(f"{line}\n")
    elif _PROGRESS.match(line):
        stream.write(_CLEAR + line[: shutil.get_terminal_size().columns - 1])
    else:
        stream.write(f"{_CLEAR}{line}\n")
    stream.flush()
