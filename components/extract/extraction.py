"""The extraction stage: write a snapshot of the operational schema. Only parts that have changed are read."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.extract.database_snapshot import DatabaseSnapshot, open_database_snapshot
from components.extract.parts import (
    SnapshotStore,
    intact_files,
    is_unchanged,
    lacks_keys,
    layout,
    occupied_ranges,
    recent_ranges,
    write_part,
)
from steam_recsys.data.schemas import TABLES
from steam_recsys.data.snapshot import DataFile, Manifest, Provenance
from steam_recsys.database.connection import Cursor
from steam_recsys.logging import log, progress
from steam_recsys.storage.manifest import clean_up

CONNECTIONS = 4

# Without dates that Python cannot hold, which validation reports.
_WATERMARK = """
SELECT updated_at, review_id FROM steam.reviews WHERE updated_at BETWEEN '0001-01-02' AND '9999-12-30'
ORDER BY updated_at DESC, review_id DESC LIMIT 1
"""
PROGRESS_ROWS = 1_000_000

READING_ORDER = ["users", *(table for table in TABLES if table != "users")]
"""Users first: deleting a user removes the author from reviews and may leave the dates of those reviews unchanged."""


@dataclass(frozen=True)
class ExtractionSummary:
    """A written snapshot.

    Attributes:
        snapshot_id: Id of its content.
        rows: Rows per table.
        parts: Number of its files.
        reused: Number of files that the store already held.
    """

    snapshot_id: str
    rows: dict[str, int]
    parts: int
    reused: int

    @property
    def reviews(self) -> int:
        """Number of reviews."""
        return self.rows["reviews"]

    def facts(self) -> dict[str, Any]:
        """Return the summary as plain values for the journal and artifacts."""
        return {"snapshot_id": self.snapshot_id, "rows": self.rows, "parts": self.parts, "reused": self.reused}


def write_snapshot(
    source: str, snapshot: str | Path, store: str | Path, *, connections: int = CONNECTIONS
) -> ExtractionSummary:
    """Write a consistent snapshot of the schema `steam`: its files to the store, its manifest to a folder.

    A file of reviews is reused from the newest snapshot in the store if its range of ids still has the same number of
    rows and, if rows are dated after that snapshot (less `LOOK_BACK`, for late commits), the same sum of dates. So
    `updated_at` reveals inserts and updates, and the count reveals deletes: it reads only an index, in a tenth of the
    time that reading the rows takes. Tombstones would need every writer to leave them; a delete that an insert
    compensates is revealed by the date of the insert. Two changes go unnoticed until all rows are read again after a
    week: one that does not set `updated_at`, and one that is dated more than a day before the earlier extraction but
    committed after it. The other tables have no dates and are always read.

    Equal rows make equal files, so the snapshot id does not depend on what was reused. A killed extraction leaves files
    that no manifest names; a later one overwrites or removes them. Memory holds one part per connection, whatever the
    number of rows.

    Args:
        source: Reference to the database's URL, such as `env:DATABASE_URL`, or a replica's.
        snapshot: Folder for the manifest; an existing one is replaced.
        store: Folder or bucket that keeps the files.
        connections: Number of connections that read at the same time, besides the one that holds the snapshot.

    Raises:
        UserError: The database cannot be reached, has no schema `steam` of this version, has other columns or types in
            it, holds a value that a snapshot cannot hold, or fails part-way; or the store cannot be written to.

    Example:
        >>> write_snapshot("env:DATABASE_URL", "snapshot", "store")
        >>> Snapshot.open("snapshot").table("games")
    """
    snapshots = SnapshotStore.from_store(store)

    # 1. Read the database at one point in time, and reuse the parts that have not changed.
    with open_database_snapshot(source) as database:
        origin = Provenance(database.database, layout(), _iso(database.taken_at))
        base = snapshots.reusable_snapshot(origin)
        writer = _PartWriter(database, snapshots, base)
        files = {table: writer.write(table, connections) for table in READING_ORDER}
        watermark = _watermark(database.cursor)

    # 2. Publish the snapshot by writing its manifest.
    manifest = Manifest(
        database.current_snapshot,
        _iso(database.taken_at),
        watermark,
        files,
        snapshots.parts.uri,
        base.origin if base else origin,
    )
    snapshots.add(manifest)
    manifest.write(snapshot)

    # 3. Remove old snapshots from the store.
    removed = 0
    with clean_up("extract", f"old snapshots in {snapshots.folder.uri}"):
        removed = snapshots.remove_old()
    rows = {table: manifest.rows(table) for table in TABLES}
    summary = ExtractionSummary(manifest.snapshot_id, rows, sum(map(len, files.values())), writer.reused)
    counts = ", ".join(f"{number:,} {table}" for table, number in rows.items())
    log("extract", f"snapshot {summary.snapshot_id}: {counts}")
    log("extract", f"{summary.parts} parts, {summary.reused} reused; {removed} old parts removed")
    return summary


class _PartWriter:
    """Writes the parts of a snapshot, or reuses those of an earlier one that hold the same rows."""

    def __init__(self, database: DatabaseSnapshot, snapshots: SnapshotStore, base: Manifest | None) -> None:
        self._database, self._base, self._folder = database, base, snapshots.parts
        self._stored = self._folder.list_files("") if base else {}
        self._lock, self._rows, self._users_deleted = threading.Lock(), 0, False
        self.reused = 0
        """Number of parts so far that the earlier snapshot already had."""

    def write(self, table: str, connections: int) -> list[DataFile]:
        """Return the parts of a table, in the order of the keys."""
        earlier = intact_files(self._base, table, self._stored) if self._base else {}
        known = {file.path for file in earlier.values()}
        if table == "reviews" and self._users_deleted:
            earlier = {}
        recent = self._recent_ranges() if table == "reviews" and earlier else set()
        self._rows = 0

        def part(cursor: Cursor, number: int) -> DataFile:
            file = earlier.get(number) if table == "reviews" else None
            if file is None or not is_unchanged(cursor, file, recent=number in recent):
                file = write_part(cursor, self._folder, table, number, known)
            self._count(table, file, file.path in known)
            return file

        files = self._database.map(part, occupied_ranges(self._database.cursor, table), connections)
        if table == "users":
            current = {file.key_range: file for file in files}
            # The users of a missing or truncated part are unknown, so some of them may have been deleted.
            lost = self._base is not None and len(earlier) < len(self._base.files[table])
            self._users_deleted = lost or any(
                lacks_keys(self._folder, table, file, current.get(number)) for number, file in earlier.items()
            )
        return files

    def _recent_ranges(self) -> set[int]:
        assert self._base is not None
        times = [self._base.extracted_at, *(self._base.watermark or ())[:1]]
        return recent_ranges(self._database.cursor, (datetime.fromisoformat(str(time)) for time in times))

    def _count(self, table: str, file: DataFile, reused: bool) -> None:
        with self._lock:
            self.reused += reused
            before, self._rows = self._rows, self._rows + file.rows
            if self._rows // PROGRESS_ROWS > before // PROGRESS_ROWS:
                progress("extract", f"{table}: {self._rows:,} rows")


def _watermark(cursor: Cursor) -> tuple[str, int] | None:
    cursor.execute(_WATERMARK)
    row = cursor.fetchone()
    return (_iso(row[0]), row[1]) if row else None


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()
