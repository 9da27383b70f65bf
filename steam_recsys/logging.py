"""Log lines of the stages: text that begins with the stage's name, or JSON when it is requested."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import sys
import threading
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import TextIO

from steam_recsys import code_version
from steam_recsys.secrets import mask

FORMAT_VARIABLE = "STAGE_LOG_FORMAT"
"""The environment variable for the format: `json` for JSON objects with the field names of Cloud Logging, else text."""

_STAGE_LINE = re.compile(r"^\s*(\[[a-z_]+(?: [^\]]*)?\] .*)$")
_PROGRESS = re.compile(r"^\[[^\]]*\] … ")
_CLEAR = "\r\x1b[2K"
_RUN: dict[str, str] = {}


def set_run(run: str) -> None:
    """Add the run to every JSON line from now on, in all threads. A process works for one run."""
    _RUN["run"] = run


def current_run() -> str:
    """Return the run that this process works for; empty if there is none."""
    return _RUN.get("run", "")


def log(name: str, message: str) -> None:
    """Log a message."""
    _log(name, message, "INFO")


def log_warning(name: str, message: str) -> None:
    """Log a failure that the stage goes on after."""
    _log(name, f"warning: {message}", "WARNING")


def log_error(name: str, message: str) -> None:
    """Log why the stage fails."""
    _log(name, f"failed: {message}", "ERROR")


def progress(name: str, message: str) -> None:
    """Log progress. On a terminal, the next line overwrites it."""
    _log(name, f"… {message}", "DEBUG")


def _log(name: str, message: str, severity: str) -> None:
    message = mask(message)
    if os.environ.get(FORMAT_VARIABLE) != "json":
        write_line(sys.stdout, f"[{name}] {message}")
        return
    now = datetime.now(UTC).isoformat()
    line = {"time": now, "severity": severity, **_RUN, "stage": name, "version": code_version(), "message": message}
    write_line(sys.stdout, json.dumps(line, ensure_ascii=False))


def mask_output() -> None:
    """Mask secrets in what this program does not write itself: stack traces, and the log records of libraries.

    Hooks that a debugger or a test runner has set stay.
    """
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _print_masked
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = lambda failed: _print_masked(failed.exc_type, failed.exc_value, failed.exc_traceback)
    for handler in (*logging.root.handlers, logging.lastResort):
        if handler is not None:
            handler.addFilter(mask_record)


def mask_record(record: logging.LogRecord) -> bool:
    """Mask secrets in a record of the standard library's logging, and in its stack trace; a filter of handlers."""
    record.msg, record.args = mask(record.getMessage()), None
    if record.exc_info:
        record.exc_text = mask("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
    return True


def _print_masked(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    sys.stderr.write(mask("".join(traceback.format_exception(kind, error, trace))))


def write_line(stream: TextIO, line: str) -> None:
    """Write a stage's line to a stream and flush it. Characters that its encoding lacks are written as escapes."""
    encoding = stream.encoding or "utf-8"
    line = line.encode(encoding, "backslashreplace").decode(encoding)
    if not stream.isatty():
        stream.write(f"{line}\n")
    elif _PROGRESS.match(line):
        stream.write(_CLEAR + line[: shutil.get_terminal_size().columns - 1])
    else:
        stream.write(f"{_CLEAR}{line}\n")
    stream.flush()


def stage_line(line: str) -> str | None:
    """Return a stage's log line as text, or None if another program printed the line."""
    if match := _STAGE_LINE.match(line):
        return match[1]
    if (text := line.strip()).startswith('{"time": ') and '"stage": ' in text:
        try:
            fields = json.loads(text)
            return f"[{fields['stage']}] {fields['message']}"
        except (ValueError, KeyError):
            return None
    return None
