"""A stage's frame: it announces itself, is measured, leaves a record in the run's journal, and fails in one sentence.

The journal is a folder in the store, `runs/<run>/`, with one JSON file a stage. Stages have nothing else in common:
some reach no database, and each runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import re
import resource
import select
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from steam_recsys.errors import UserError
from steam_recsys.logging import log, log_error, say_in_each_line
from steam_recsys.storage.folder import open_folder

TIMEOUT_VARIABLE = "STAGE_TIMEOUT_MINUTES"
"""How long a stage may take; as long as it likes where this is not set."""

READER_VARIABLE = "STAGE_ENDS_WITH_READER"
"""Set where a stage ends when nobody reads any more what it says: its run on this machine was killed."""


@dataclass
class StageRecord:
    """What one stage did: start (ISO 8601, UTC), wall time in seconds, peak resident memory in MB, its own facts, and
    why it failed. A stage that is spread over several tasks leaves one record a `part`.
    """

    stage: str
    started_at: str
    part: str = ""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


@contextmanager
def stage(name: str, store: str, run: str, part: str = "") -> Iterator[StageRecord]:
    """Run the body as a stage; the body may add to the record's facts.

    A `UserError` ends the process with exit code 1 and its one sentence. Any other exception is a bug: it is recorded
    and goes on, with its stack trace.
    """
    record = StageRecord(name, datetime.now(UTC).isoformat(), part)
    started = time.perf_counter()
    title = f"{name} {part}".rstrip()
    say_in_each_line(run)
    log(title, "started")
    watch = _time_out(record, title, store, run)
    if os.environ.get(READER_VARIABLE):
        threading.Thread(target=_end_with_reader, daemon=True).start()
    try:
        yield record
    except UserError as error:
        record.error = str(error)
        log_error(title, str(error))
        raise SystemExit(1) from None
    except Exception as error:
        record.error = f"{type(error).__name__}: {error}"
        log_error(title, record.error)
        raise
    finally:
        watch.cancel()
        record.seconds = round(time.perf_counter() - started, 3)
        record.peak_memory_mb = _peak_memory_mb()
        _write(record, store, run)
    log(title, f"done in {record.seconds:.1f} s, peak memory {record.peak_memory_mb:,.0f} MB")


def read_journal(store: str, run: str) -> list[StageRecord]:
    """The records of a run's stages, in the order in which they started."""
    journal = open_folder(store)
    contents = [journal.read(name) for name in journal.names(f"runs/{run}") if name.endswith(".json")]
    records = [StageRecord(**json.loads(content)) for content in contents if content]
    return sorted(records, key=lambda record: (record.started_at, record.part))


def _time_out(record: StageRecord, title: str, store: str, run: str) -> threading.Timer:
    """End the process where the stage takes longer than its environment allows, whatever it waits for."""
    minutes = float(os.environ.get(TIMEOUT_VARIABLE, "inf"))

    def give_up() -> None:
        record.seconds, record.peak_memory_mb = round(minutes * 60, 3), _peak_memory_mb()
        record.error = f"It took longer than {minutes:g} minutes: give it more resources, or raise timeout_minutes."
        log_error(title, record.error)
        try:
            _write(record, store, run)
        finally:
            os._exit(1)  # the stage may hang where no exception reaches it

    watch = threading.Timer(min(minutes * 60, threading.TIMEOUT_MAX), give_up)
    watch.daemon = True
    watch.start()
    return watch


def _end_with_reader() -> None:
    """Wait until the reader of this process' output is gone, which may never be, and end it then."""
    output = select.poll()
    output.register(1, 0)  # that a pipe's other end is closed is told unasked
    output.poll()
    os._exit(1)


def _write(record: StageRecord, store: str, run: str) -> None:
    name = f"{record.stage}-{record.part}" if record.part else record.stage
    try:
        open_folder(store).write(f"runs/{run}/{name}.json", f"{json.dumps(asdict(record), indent=2)}\n".encode())
    except UserError as error:
        log_error(record.stage, str(error))
        raise SystemExit(1) from None


def _peak_memory_mb() -> float:
    """This program's own peak: on Linux, getrusage may count that of the program which started it as well."""
    with suppress(OSError):
        if own := re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE):
            return round(int(own[1]) / 1024, 1)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":  # counts bytes
        kilobytes //= 1024
    return round(kilobytes / 1024, 1)
