"""The context that every stage runs in: log lines, a timeout, time and memory, and a record in the run's journal.

The journal is the folder `runs/<run>/` of the store, with one JSON file per stage. It is all that stages share: each
runs in its own process, and some reach no database.
"""

from __future__ import annotations

import os
import re
import resource
import select
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from steam_recsys.errors import UserError
from steam_recsys.logging import log, log_error, mask_output, set_run
from steam_recsys.secrets import mask, mask_values, register_environment
from steam_recsys.storage.folder import FULL_DISK, no_space_error, open_folder
from steam_recsys.storage.manifest import UnreadableError, seal, unseal

JOURNALS = "runs"
"""Folder of the journals in the store."""

LOOKED_UP = frozenset({"pipeline", "version", "model_version", "snapshot_id"})
"""Facts that name something which this project itself has named."""

TIMEOUT_VARIABLE = "STAGE_TIMEOUT_MINUTES"
"""The environment variable for the time limit of a stage, in minutes. No limit if it is not set."""

READER_VARIABLE = "STAGE_ENDS_WITH_READER"
"""The environment variable that ends a stage once no process reads its output: its local run was killed."""


@dataclass
class StageRecord:
    """What one stage did.

    Attributes:
        stage: Name of the stage.
        started_at: Start of the stage, ISO 8601 in UTC.
        part: Number of the task if several tasks share the stage; each task has its own record.
        seconds: Wall time.
        peak_memory_mb: Peak resident memory in MB.
        facts: The stage's own figures by name.
        error: Why the stage failed; None if it did not.
    """

    stage: str
    started_at: str
    part: str = ""
    seconds: float = 0.0
    peak_memory_mb: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)
    error: str | None = None

    def masked(self) -> dict[str, Any]:
        """Return the record as plain values, with secrets masked in the facts and in the error.

        Names that later runs look up stay, should a password be a part of one.
        """
        facts = {name: value if name in LOOKED_UP else mask_values(value) for name, value in self.facts.items()}
        return {**asdict(self), "facts": facts, "error": self.error and mask(self.error)}


@contextmanager
def stage(name: str, store: str, run: str, part: str = "") -> Iterator[StageRecord]:
    """Run the body as a stage. The body may add facts to the record.

    A `UserError` ends the process with exit code 1 and prints its one sentence, and so does a full temporary disk. Any
    other exception is a bug: it is recorded and raised again, with its stack trace. Secrets are masked in the record,
    the log and the stack trace.

    Args:
        name: Name of the stage.
        store: Folder or bucket that holds the journal.
        run: Id of the run.
        part: Number of the task if several tasks share the stage.

    Example:
        >>> with stage("extract", "store", "run-1") as record:
        ...     record.facts["reviews"] = 3
    """
    record = StageRecord(name, datetime.now(UTC).isoformat(), part)
    started = time.perf_counter()
    title = f"{name} {part}".rstrip()
    set_run(run)
    register_environment()
    mask_output()
    log(title, "started")
    timer = _start_timeout(record, title, store, run)
    if os.environ.get(READER_VARIABLE):
        threading.Thread(target=_end_with_reader, daemon=True).start()
    try:
        with _full_disk_errors():
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
        timer.cancel()
        record.seconds = round(time.perf_counter() - started, 3)
        record.peak_memory_mb = _peak_memory_mb()
        _write(record, store, run)
    log(title, f"done in {record.seconds:.1f} s, peak memory {record.peak_memory_mb:,.0f} MB")


def read_journal(store: str, run: str) -> list[StageRecord]:
    """Return the records of a run's stages, ordered by start; a record that cannot be read counts as missing."""
    journal, records = open_folder(store), []
    for name in journal.names(f"{JOURNALS}/{run}"):
        content = journal.read(name) if name.endswith(".json") else None
        if content is None:
            continue
        try:
            records.append(unseal(content, lambda fields: StageRecord(**fields)))
        except UnreadableError as error:
            log("journal", f"{store}/{name} {error}: it counts as missing")
    return sorted(records, key=lambda record: (record.started_at, record.part))


@contextmanager
def _full_disk_errors() -> Iterator[None]:
    """Convert the error of a full temporary disk to `UserError`; the folders of a store convert their own."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL_DISK:
            raise no_space_error(tempfile.gettempdir()) from None
        raise


def _start_timeout(record: StageRecord, title: str, store: str, run: str) -> threading.Timer:
    """Start a timer that ends the process when the stage exceeds its time limit, whatever it waits for."""
    minutes = float(os.environ.get(TIMEOUT_VARIABLE, "inf"))

    def give_up() -> None:
        record.seconds, record.peak_memory_mb = round(minutes * 60, 3), _peak_memory_mb()
        record.error = f"It took longer than {minutes:g} minutes: give it more resources, or raise timeout_minutes."
        log_error(title, record.error)
        try:
            _write(record, store, run)
        finally:
            os._exit(1)  # no exception reaches a stage that hangs in C code

    timer = threading.Timer(min(minutes * 60, threading.TIMEOUT_MAX), give_up)
    timer.daemon = True
    timer.start()
    return timer


def _end_with_reader() -> None:
    """Wait until the reader of this process's output is gone, then end the process."""
    if sys.platform == "darwin":  # its poll does not report a closed pipe to the writer
        queue, changes = (
            select.kqueue(),
            [select.kevent(1, select.KQ_FILTER_WRITE, select.KQ_EV_ADD | select.KQ_EV_CLEAR)],
        )
        while not any(event.flags & select.KQ_EV_EOF for event in queue.control(changes, 1)):
            changes = []
    else:
        output = select.poll()
        output.register(1, 0)  # poll always reports a pipe whose other end is closed
        output.poll()
    os._exit(1)


def _write(record: StageRecord, store: str, run: str) -> None:
    name = f"{record.stage}-{record.part}" if record.part else record.stage
    try:
        open_folder(store).write(f"{JOURNALS}/{run}/{name}.json", seal(record.masked()))
    except UserError as error:
        log_error(record.stage, str(error))
        raise SystemExit(1) from None


def _peak_memory_mb() -> float:
    """Return this process's own peak. On Linux, getrusage may include the peak of the process that started it."""
    with suppress(OSError):
        if own := re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE):
            return round(int(own[1]) / 1024, 1)
    return round(max_rss_mb(), 1)


def max_rss_mb(processes: int = resource.RUSAGE_SELF) -> float:
    """Return what getrusage gives as the peak memory of this process, or of those that it waited for, in MB."""
    peak = resource.getrusage(processes).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)  # there in bytes, elsewhere in kilobytes
