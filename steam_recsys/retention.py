"""Retention: how long what runs leave behind is kept, and its removal.

The pipelines remove what has expired where a run ends, `recsys clean` does so on request. Old snapshots, publications
and figures of quality are not listed here: extraction, publishing and monitoring remove those themselves.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tempfile
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from steam_recsys.database.connection import Cursor, connect, require_schema
from steam_recsys.database.event_partitions import drop_event_partition, expired_partitions
from steam_recsys.errors import UserError
from steam_recsys.logging import log, log_warning
from steam_recsys.model.game_counts import COUNTS_FOLDER
from steam_recsys.stage import JOURNALS
from steam_recsys.storage.folder import FileInfo, Folder, open_folder
from steam_recsys.storage.manifest import clean_up
from steam_recsys.storage.model_store import BASELINES_FOLDER, CHECKPOINTS_FOLDER, POINTER, PROMOTED, current_champion

MIN_DAYS = 2
"""Days that everything is kept: younger files may belong to a run that still writes or reads them."""

BASELINE_DAYS = 30
"""Days that the tuned settings of the baselines are kept; without them, the next evaluation tunes again."""

CHECKPOINT_DAYS = 7
"""Days that the checkpoints of a training are kept; one that ends removes its own."""

COUNTS_DAYS = 30
"""Days that the counts of a version are kept after the last refresh that changed them."""

MIN_EVENT_DAYS = 42
"""Days that events are kept at least: monitoring reads those of the last four weeks, and partitions have one week."""

TEMPORARY_PREFIX = "steam-recsys-run-"
"""Start of the names of local runs' temporary folders."""

LOCK = "lock"
"""The file of a temporary folder that is locked as long as its run lives."""

_TEMPORARY = re.compile(rf"({re.escape(TEMPORARY_PREFIX)}|steam-recsys-)[a-z0-9_]{{8}}")
"""A local run's temporary folder, or files of a bucket that were downloaded outside a run."""

# The newest run of each outcome stays, for the freshness check and the explorer, and the newest measurement of each
# model.
_EXPIRED_ROWS = {
    "recsys.pipeline_runs": """
        coalesce(finished_at, started_at) < now() - make_interval(days => %(days)s) AND EXISTS (
            SELECT FROM recsys.pipeline_runs AS newer WHERE newer.finished_at > expired.finished_at
            AND (newer.pipeline, newer.state) = (expired.pipeline, expired.state))""",
    "recsys.monitoring": """
        measured_at < now() - make_interval(days => %(days)s) AND EXISTS (
            SELECT FROM recsys.monitoring AS newer WHERE newer.measured_at > expired.measured_at
            AND newer.model_version IS NOT DISTINCT FROM expired.model_version)""",
}

_EXPIRED_EVENTS = "occurred_at < clock_timestamp() - make_interval(days => %(days)s)"


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Days for which things are kept after they were last written to.

    Attributes:
        journal_days: Journals of runs, `<store>/runs`.
        prediction_days: Predictions that were not published; a run can be started again and continue them.
        model_days: Models in the store that never were champion.
        record_days: Rows of `recsys.pipeline_runs` and `recsys.monitoring`.
        event_days: Rows of `recsys.events`, which are removed a week at a time.
        local_days: Artifacts and logs of local runs.
    """

    journal_days: int = 90
    prediction_days: int = MIN_DAYS
    model_days: int = 90
    record_days: int = 400
    event_days: int = 90
    local_days: int = 30

    def __post_init__(self) -> None:
        for name, days in asdict(self).items():
            if days < MIN_DAYS:
                raise ValueError(f"{name} is {days}, but at least {MIN_DAYS} days must be kept for runs under way")
        if self.event_days < MIN_EVENT_DAYS:
            raise ValueError(
                f"event_days is {self.event_days}, but at least {MIN_EVENT_DAYS} days must be kept for monitoring"
            )
        if self.record_days <= self.journal_days:  # a run with a journal and no record counts as lost
            raise ValueError(
                f"record_days is {self.record_days}, but a run's record must be kept longer than its journal, which is "
                f"kept for {self.journal_days} days"
            )


DEFAULT = Retention()
"""The defaults of the settings."""


@dataclass(frozen=True)
class Expired:
    """Something that has expired.

    Attributes:
        name: Name of a folder or file, or a number of rows with the table's name.
        bytes: Its size.
        written_at: When it was last written to; None for rows.
    """

    name: str
    bytes: int
    written_at: datetime | None = None


def expired(
    files: Mapping[str, FileInfo], days: int, now: datetime, needed: Container[str] = ()
) -> dict[str, FileInfo]:
    """Return the entries of a listed folder to which nothing was written for some days, the oldest first.

    Args:
        files: The files of the folder and its subfolders. A subfolder is one entry, of the size of its files and as
            old as the newest of them.
        days: Days for which an entry is kept.
        now: The current time.
        needed: Names of entries that are kept, however old they are.
    """
    entries: dict[str, FileInfo] = {}
    for name, file in files.items():
        entry = name.partition("/")[0]
        before = entries.get(entry, FileInfo(0, file.written_at))
        entries[entry] = FileInfo(before.bytes + file.bytes, max(before.written_at, file.written_at))
    kept = timedelta(days=max(days, MIN_DAYS))
    old = {name: entry for name, entry in entries.items() if name not in needed and now - entry.written_at > kept}
    return dict(sorted(old.items(), key=lambda item: (item[1].written_at, item[0])))


def clean_after_run(store: str, database: str, retention: Retention) -> None:
    """Remove what has expired in a store and in the schema `recsys`. A failure is logged, and fails nothing."""
    try:
        removed = clean_store(store, database, retention)
    except Exception as error:
        reason = str(error) if isinstance(error, UserError) else type(error).__name__
        log_warning("notify", f"what has expired could not be removed ({reason}): run recsys clean")
    else:
        if removed:
            log("notify", f"removed {describe(removed)}")


def clean_store(store: str, database: str, retention: Retention, *, dry_run: bool = False) -> list[Expired]:
    """Remove what has expired in a store and in the schema `recsys`, and return it.

    Args:
        store: The store.
        database: Reference to the URL of the database that the store's runs are recorded in.
        retention: How long things are kept.
        dry_run: Only return what would be removed.

    Raises:
        UserError: The store or the database cannot be reached, or the champion's pointer cannot be read.
    """
    with connect(database, application="steam-recsys clean") as connection, connection.cursor() as cursor:
        require_schema(connection, "recsys")
        removed = list(_clean_tables(cursor, retention.record_days, dry_run=dry_run))
        removed += _clean_events(cursor, retention.event_days, dry_run=dry_run)
    folder = open_folder(store)
    removed += _clean_folder(folder, JOURNALS, retention.journal_days, dry_run=dry_run)
    removed += _clean_folder(folder, BASELINES_FOLDER, BASELINE_DAYS, dry_run=dry_run)
    removed += _clean_folder(folder, COUNTS_FOLDER, COUNTS_DAYS, dry_run=dry_run)
    removed += _clean_folder(folder, CHECKPOINTS_FOLDER, CHECKPOINT_DAYS, dry_run=dry_run)
    with clean_up("clean", "predictions that have expired"):
        in_use = _planned_versions(folder)
        removed += _clean_folder(folder, "predictions", retention.prediction_days, needed=in_use, dry_run=dry_run)
    with clean_up("clean", "models that have expired"):
        removed += _clean_models(store, folder, retention.model_days, dry_run=dry_run)
    return removed


def clean_local(root: str | Path, retention: Retention, *, dry_run: bool = False) -> list[Expired]:
    """Remove what has expired of local runs, and the temporary folders that killed ones left, and return it.

    Args:
        root: Folder of the runs' artifacts and logs, such as `local`.
        retention: How long things are kept.
        dry_run: Only return what would be removed.
    """
    folder = open_folder(root)
    removed = [
        each
        for name in ("artifacts", "logs")
        for each in _clean_folder(folder, name, retention.local_days, dry_run=dry_run)
    ]
    temporary = Path(tempfile.gettempdir())
    listed = _list_temporary(temporary)
    for name, info in expired(listed, MIN_DAYS, datetime.now(UTC)).items():
        removed.append(Expired(str(temporary / name), info.bytes, info.written_at))
        if not dry_run:
            open_folder(temporary).remove(name)
    return removed


def describe(removed: Iterable[Expired]) -> str:
    """Return what was removed as text, such as `12 expired items of 3.4 MB`."""
    sizes = [each.bytes for each in removed]
    return f"{len(sizes)} expired {'item' if len(sizes) == 1 else 'items'} of {format_size(sum(sizes))}"


def format_size(size: int) -> str:
    """Return a number of bytes as text."""
    return f"{size / 1e6:,.1f} MB" if size >= 100_000 else f"{size / 1e3:,.1f} KB"


def _clean_folder(root: Folder, name: str, days: int, *, needed: Container[str] = (), dry_run: bool) -> list[Expired]:
    """Remove the expired entries of a folder.

    The JSON files of an entry go first: they say that the rest is there, and a removal may be interrupted.
    """
    folder = open_folder(f"{root.uri.rstrip('/')}/{name}")
    listed = folder.list_files("")
    removed = []
    for entry, info in expired(listed, days, datetime.now(UTC), needed).items():
        if not dry_run:
            before = {file: each for file, each in listed.items() if file.partition("/")[0] == entry}
            if folder.list_files(entry) != before:
                continue  # a run has written to it in the meantime
            for described in (file for file in before if re.fullmatch(r"[^/]+/[^/]+\.json", file)):
                folder.remove(described)
            folder.remove(entry)
        removed.append(Expired(f"{folder.uri}/{entry}", info.bytes, info.written_at))
    return removed


def _planned_versions(root: Folder) -> set[str]:
    """Return the versions that runs of the last days have planned: one that continues an old plan may use its files.

    Raises:
        UserError: A record cannot be read.
    """
    since = datetime.now(UTC) - timedelta(days=MIN_DAYS)
    planned = set()
    for name, file in root.list_files("runs").items():
        if not name.endswith("/plan.json") or file.written_at <= since:
            continue
        try:
            planned.add(str(json.loads(root.read(name) or b"{}").get("facts", {}).get("version")))
        except (ValueError, AttributeError):
            raise UserError(f"{root.uri}/{name} cannot be read, so it is unknown which are needed") from None
    return planned


def _clean_models(store: str, root: Folder, days: int, *, dry_run: bool) -> list[Expired]:
    """Remove the models that never were champion: their promotion was overtaken or killed.

    Without a pointer there is nothing to tell them by, and all are kept.
    """
    pointer = current_champion(store)
    if pointer is None:
        return []
    champions = {name.split("/")[1] for name in root.list_files("models") if name.endswith(f"/{PROMOTED}")}
    needed = {Path(POINTER).name, f"{Path(POINTER).name}.lock", pointer.version, *champions}
    return _clean_folder(root, "models", days, needed=needed, dry_run=dry_run)


def _clean_tables(cursor: Cursor, days: int, *, dry_run: bool) -> Iterable[Expired]:
    for table, condition in _EXPIRED_ROWS.items():
        yield from _clean_rows(cursor, table, condition, days, dry_run=dry_run)


def _clean_events(cursor: Cursor, days: int, *, dry_run: bool) -> Iterable[Expired]:
    yield from _clean_rows(cursor, "recsys.events_default", _EXPIRED_EVENTS, days, dry_run=dry_run)
    for partition in expired_partitions(cursor, days):
        dropped = dry_run or drop_event_partition(cursor, partition)
        cursor.connection.commit()  # so that events wait for one drop at a time
        if dropped and partition.has_events:
            yield Expired(f"recsys.{partition.name}", partition.bytes)


def _clean_rows(cursor: Cursor, table: str, condition: str, days: int, *, dry_run: bool) -> Iterable[Expired]:
    source = f"FROM {table} AS expired WHERE {condition}"
    cursor.execute(f"SELECT count(*), coalesce(sum(pg_column_size(expired.*)), 0) {source}", {"days": days})
    ((rows, size),) = cursor.fetchall()
    if rows and not dry_run:
        cursor.execute(f"DELETE {source}", {"days": days})
    if rows:
        yield Expired(f"{rows:,} rows of {table}", int(size))


def _list_temporary(root: Path) -> dict[str, FileInfo]:
    """List the temporary folders of this user that no run has locked, and their files.

    The time is that of the last change to a file or its attributes: downloaded files have the times of their bucket.
    """
    found = {}
    for folder in root.glob("steam-recsys-*"):
        with suppress(OSError):  # removed in the meantime
            if not _TEMPORARY.fullmatch(folder.name) or folder.is_symlink() or not folder.is_dir():
                continue
            if folder.stat().st_uid != os.getuid() or _is_locked(folder / LOCK):
                continue
            for path in [folder, *folder.rglob("*")]:
                status = path.lstat()
                size = status.st_size if path.is_file() else 0
                found[f"{path.relative_to(root)}"] = FileInfo(size, datetime.fromtimestamp(status.st_ctime, UTC))
    return found


def _is_locked(lock: Path) -> bool:
    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
