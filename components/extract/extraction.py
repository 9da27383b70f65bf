"""The stage: the operational schema → a snapshot of one moment, of which only what has changed is read."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.extract.parts import layout, write_part
from components.extract.ranges import as_before, dated_from, look_from, occupied
from components.extract.snapshot_history import History, intact
from components.extract.source import Moment, moment_of
from steam_recsys.data.schemas import TABLES
from steam_recsys.data.snapshot import File, Manifest, Origin
from steam_recsys.database.connection import Cursor
from steam_recsys.logging import log, progress

CONNECTIONS = 4
PROGRESS_ROWS = 1_000_000

READ_FIRST_TO_LAST = ["users", *(table for table in TABLES if table != "users")]
"""The users first: who deletes one must first take the user from the reviews, and may leave their dates as they are."""


@dataclass(frozen=True)
class Extracted:
    """A snapshot that was written: its id, its rows a table, its parts, and those that an earlier one had already."""

    snapshot_id: str
    rows: dict[str, int]
    parts: int
    reused: int

    @property
    def reviews(self) -> int:
        """The number of reviews."""
        return self.rows["reviews"]

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for the journal and artifacts."""
        return {"snapshot_id": self.snapshot_id, "rows": self.rows, "parts": self.parts, "reused": self.reused}


def write_snapshot(
    source: str, snapshot: str | Path, store: str | Path, *, connections: int = CONNECTIONS
) -> Extracted:
    """Put all of the schema `steam` as it is at one moment into the store, and the manifest into a folder as well.

    A range of reviews is taken over from the store's newest snapshot if it holds as many rows as then and, where rows
    are dated after that snapshot's watermark (less `LOOK_BACK`, for what was committed late), if the sum of their dates
    is the same. So inserts and updates are seen by their `updated_at`, and deletes by the count, which reads an index
    alone, in a tenth of the time that reading the rows takes. Tombstones would have to be left by every writer, and a
    deletion that an insertion makes up for is seen by the insertion's date. What stays unseen until the next whole
    reading, a week after the last, is a change that leaves `updated_at` as it is, or that is dated more than a day
    before the earlier extraction and committed after it. The other tables, of which nothing says what has changed, are
    read whole each time.

    Equal rows make equal files, so the same moment makes the same snapshot id, whatever it builds on. An extraction
    that was killed leaves parts that no manifest names: a later one writes them again or removes them. Memory is that
    of one part a connection, whatever the number of rows.

    Args:
        source: a reference such as `env:DATABASE_URL`; a replica will do.
        snapshot: the folder to write the manifest to, in place of what is there.
        store: where the parts are kept.
        connections: how many read the reviews at once, beside the one that holds the moment.

    Raises:
        UserError: the database cannot be reached, has no schema `steam` of this version or breaks off, or the store
            cannot be written to.
    """
    history = History.from_store(store)
    with moment_of(source) as moment:
        origin = Origin(moment.database, layout(), _iso(moment.at))
        base = history.base(origin)
        parts = _Parts(moment, history, base)
        files = {table: parts.of(table, connections) for table in READ_FIRST_TO_LAST}
        manifest = Manifest(
            moment.database_snapshot,
            _iso(moment.at),
            _watermark(moment.cursor),
            files,
            history.parts.uri,
            base.origin if base else origin,
        )
    history.add(manifest)
    manifest.write(snapshot)
    removed = history.forget()
    rows = {table: manifest.rows(table) for table in TABLES}
    extracted = Extracted(manifest.snapshot_id, rows, sum(map(len, files.values())), parts.reused)
    counts = ", ".join(f"{number:,} {table}" for table, number in rows.items())
    log("extract", f"snapshot {extracted.snapshot_id}: {counts}")
    log("extract", f"{extracted.parts} parts, {parts.reused} of them as they were; {removed} old ones removed")
    return extracted


class _Parts:
    """The parts of a snapshot: those of an earlier one where they hold the same rows, new ones elsewhere."""

    def __init__(self, moment: Moment, history: History, base: Manifest | None) -> None:
        self._moment, self._base, self._folder = moment, base, history.parts
        self._there = self._folder.listed("") if base else {}
        self._lock, self._rows, self._users_lost = threading.Lock(), 0, False
        self.reused = 0
        """Parts so far that the earlier snapshot had already."""

    def of(self, table: str, connections: int) -> list[File]:
        """The parts of a table, in the order of the keys."""
        earlier = intact(self._base, table, self._there) if self._base else {}
        known = {file.path for file in earlier.values()}
        if table == "reviews" and self._users_lost:
            earlier = {}
        recent = self._recent() if table == "reviews" and earlier else set()
        self._rows = 0

        def part(cursor: Cursor, number: int) -> File:
            file = earlier.get(number) if table == "reviews" else None
            if file is None or not as_before(cursor, file, recent=number in recent):
                file = write_part(cursor, self._folder, table, number, known)
            self._count(table, file, file.path in known)
            return file

        files = self._moment.map(part, occupied(self._moment.cursor, table), connections)
        if table == "users":
            rows = {file.key_range: file.rows for file in files}
            self._users_lost = any(rows.get(number, 0) < file.rows for number, file in earlier.items())
        return files

    def _recent(self) -> set[int]:
        """The ranges of the reviews of which a row may have changed, and be dated so, since the earlier snapshot."""
        assert self._base is not None
        times = [self._base.extracted_at, *(self._base.watermark or ())[:1]]
        return dated_from(self._moment.cursor, look_from(datetime.fromisoformat(str(time)) for time in times))

    def _count(self, table: str, file: File, reused: bool) -> None:
        with self._lock:
            self.reused += reused
            before, self._rows = self._rows, self._rows + file.rows
            if self._rows // PROGRESS_ROWS > before // PROGRESS_ROWS:
                progress("extract", f"{table}: {self._rows:,} rows")


def _watermark(cursor: Cursor) -> tuple[str, int] | None:
    cursor.execute("SELECT updated_at, review_id FROM steam.reviews ORDER BY updated_at DESC, review_id DESC LIMIT 1")
    row = cursor.fetchone()
    return (_iso(row[0]), row[1]) if row else None


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()
