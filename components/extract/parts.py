"""The parts of a snapshot: one Parquet file for the rows of each range of keys, and the store that keeps them.

The bounds of a range do not depend on the rows in the table, and files are named by their content: equal rows always
make the same files. So an extraction can reuse the parts of an earlier snapshot:

<store>/snapshots/manifests/<time>-<snapshot_id>.json
<store>/snapshots/parts/<table>/<sha256>.parquet
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Container, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from psycopg2 import sql

from steam_recsys.data.schemas import TABLES
from steam_recsys.data.snapshot import (
    DATES_MODULUS,
    MANIFESTS_FOLDER,
    PARTS_FOLDER,
    SNAPSHOTS_FOLDER,
    DataFile,
    Manifest,
    Provenance,
    is_complete,
    newest_manifest,
)
from steam_recsys.database.connection import COPY_BUFFER, Cursor, snapshot_queries
from steam_recsys.database.copy import has_fixed_width, read_binary_copy
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.storage.folder import FileInfo, Folder, is_remote, open_folder
from steam_recsys.storage.manifest import UnreadableError

LOOK_BACK = timedelta(days=1)
"""How long before an extraction a change that it missed may be dated: longer than any transaction takes from its
`now()` to its commit, and longer than the clock that dates rows is ever set back."""

FULL_EVERY = timedelta(days=7)
"""Age after which all rows are read again, in case a change did not set `updated_at`."""

KEPT_SNAPSHOTS = 3
"""Snapshots that a store keeps, however old they are."""

IN_USE_PERIOD = timedelta(days=2)
"""Minimum age of files to remove: younger ones may belong to a run that is still writing or reading them."""

MANIFEST_READERS = 8
"""Manifests that are read from a bucket at the same time: refreshes leave two hundred within `IN_USE_PERIOD`."""

MANY_MANIFESTS = 400
"""With more of them, parts are only looked for if a tenth of the manifests can be removed."""

DELTA_COLUMNS = ("review_id", "user_id", "updated_at")
"""Integer columns with few repeats: as differences they take half the time and space of a dictionary."""

COMPRESSION_LEVEL = 1
"""Level of zstd: higher ones take longer and save 1 %."""

SHOWN_BYTES = 20
"""Bytes of a text before and after an invalid one that an error message shows."""

PAGE_CHECKSUMS = True
"""Whether pages have checksums, for readers that fetch only some columns."""

_OCCUPIED_RANGES = sql.SQL("""
WITH RECURSIVE occupied (number) AS (
    SELECT min({key})::bigint >> {bits} FROM {table}
    UNION ALL
    SELECT (SELECT min({key})::bigint >> {bits} FROM {table} WHERE {key} >= (number + 1) << {bits})
    FROM occupied WHERE number < 9223372036854775807 >> {bits}  -- the last range has no next one
)
SELECT number FROM occupied WHERE number IS NOT NULL
""")

_RANGES_DATED_SINCE = "SELECT DISTINCT review_id >> %s FROM steam.reviews WHERE updated_at >= %s"
_COUNT = "SELECT count(*), 0 FROM steam.reviews WHERE review_id >= %(first)s AND review_id < %(end)s"
# A date that a bigint of microseconds cannot hold counts as 0: its part is read again, and validation reports it.
_COUNT_AND_DATES = """
SELECT count(*), sum(CASE WHEN updated_at BETWEEN '0001-01-01' AND '9999-12-31'
                     THEN (date_part('epoch', updated_at) * 1000000)::bigint ELSE 0 END)
FROM steam.reviews WHERE review_id >= %(first)s AND review_id < %(end)s
"""


@dataclass(frozen=True)
class KeyRanges:
    """How a table is divided: a range holds `2 ** bits` consecutive values of a key."""

    key: str
    bits: int

    def bounds(self, number: int) -> dict[str, int]:
        """Return the first key of a range, and the first key after it."""
        return {"first": number << self.bits, "end": (number + 1) << self.bits}


KEY_RANGES = {
    "reviews": KeyRanges("review_id", 17),  # 2 MB of Parquet, 12 MB over the network
    "users": KeyRanges("user_id", 20),
    "games": KeyRanges("game_id", 12),
    "rankings": KeyRanges("game_id", 14),
}


def layout() -> str:
    """Return a digest of everything that determines the bytes of a range's file."""
    schemas = {table: TABLES[table].to_string() for table in sorted(TABLES)}
    ranges = sorted((table, astuple(key_ranges)) for table, key_ranges in KEY_RANGES.items())
    writing = (DELTA_COLUMNS, COMPRESSION_LEVEL, PAGE_CHECKSUMS)
    settings = (pa.__version__, schemas, sorted(snapshot_queries().items()), ranges, writing)
    return hashlib.sha256(repr(settings).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class SnapshotStore:
    """The snapshots of a store."""

    folder: Folder

    @classmethod
    def from_store(cls, store: str | Path) -> SnapshotStore:
        """Open the snapshots of a store, which need not exist yet."""
        uri = str(store) if is_remote(store) else str(Path(store).resolve())
        return cls(open_folder(f"{uri.rstrip('/')}/{SNAPSHOTS_FOLDER}"))

    @property
    def parts(self) -> Folder:
        """Folder of the Parquet files."""
        return open_folder(f"{self.folder.uri}/{PARTS_FOLDER}")

    def reusable_snapshot(self, origin: Provenance) -> Manifest | None:
        """Return the newest snapshot, or None if an extraction of this origin cannot reuse it (see `can_reuse`).

        A manifest that cannot be read, because it is damaged or of another release, is no base either.
        """
        name = newest_manifest(self.folder)
        content = self.folder.read(name) if name else None
        if content is None:
            return None
        try:
            newest = Manifest.from_json(content)
        except UnreadableError as error:
            log("extract", f"{self.folder.uri}/{name} {error}: all rows are read")
            return None
        return newest if can_reuse(newest, origin) else None

    def add(self, manifest: Manifest) -> None:
        """Record a snapshot whose files are all written, for later extractions."""
        extracted_at = datetime.fromisoformat(manifest.extracted_at)
        name = f"{extracted_at:%Y%m%dT%H%M%S.%f}-{manifest.snapshot_id}.json"
        self.folder.write(f"{MANIFESTS_FOLDER}/{name}", manifest.to_json())

    def remove_old(self) -> int:
        """Remove manifests and parts that are no longer needed, and return the number of removed parts."""
        files = self.folder.list_files(MANIFESTS_FOLDER)
        manifests = {name: info for name, info in files.items() if is_complete(name)}
        old = superseded(manifests, datetime.now(UTC))
        if len(manifests) > MANY_MANIFESTS and 10 * len(old) < len(manifests):
            return 0
        # Listed before the manifests are read, so that later parts are not considered.
        parts = self.folder.list_files(PARTS_FOLDER)
        parts |= {name: info for name, info in files.items() if not is_complete(name)}
        needed = set[str]()
        unreadable = []
        kept = sorted(manifests.keys() - set(old))
        with ThreadPoolExecutor(MANIFEST_READERS) as pool:
            contents = list(pool.map(self.folder.read, kept))
        for name, content in zip(kept, contents, strict=True):
            try:
                needed |= _parts_of(Manifest.from_json(content)) if content is not None else set()
            except UnreadableError:
                unreadable.append(name)
        expired = [name for name in unreadable if datetime.now(UTC) - manifests[name].written_at > IN_USE_PERIOD]
        for name in (*old, *expired):
            self.folder.remove(name)
        if len(unreadable) > len(expired):  # a run of another release may be reading parts that only its manifest names
            return 0
        unneeded = unreferenced(parts, needed, datetime.now(UTC))
        current = self.folder.list_files("") if unneeded else {}
        unneeded = [name for name in unneeded if current.get(name) == parts[name]]  # not if it was written again
        for name in unneeded:
            self.folder.remove(name)
        return len(unneeded)


def _parts_of(manifest: Manifest) -> set[str]:
    """Return the names of a snapshot's files, relative to the folder of the snapshots."""
    return {f"{PARTS_FOLDER}/{file.path}" for files in manifest.files.values() for file in files}


def can_reuse(base: Manifest, origin: Provenance) -> bool:
    """Return whether an extraction can reuse the files of a snapshot whose rows are unchanged.

    Database and layout must be the same, and all rows must have been read less than `FULL_EVERY` ago. If the database's
    clock was set back to before that time, all rows are read again.
    """
    if base.origin is None or (base.origin.database, base.origin.layout) != (origin.database, origin.layout):
        return False
    age = datetime.fromisoformat(origin.full_at) - datetime.fromisoformat(base.origin.full_at)
    return timedelta(0) <= age < FULL_EVERY


def intact_files(base: Manifest, table: str, found: Mapping[str, FileInfo]) -> dict[int, DataFile]:
    """Return a snapshot's files of a table by range, without files that are missing or truncated in the store."""
    return {
        file.key_range: file
        for file in base.files[table]
        if file.path in found and found[file.path].bytes == file.bytes
    }


def superseded(manifests: Mapping[str, FileInfo], now: datetime) -> list[str]:
    """Return the manifests to remove: all except the newest `KEPT_SNAPSHOTS`, and those that a run may still use."""
    by_age = sorted(manifests, key=lambda name: (manifests[name].written_at, name))
    return [name for name in by_age[:-KEPT_SNAPSHOTS] if now - manifests[name].written_at > IN_USE_PERIOD]


def unreferenced(parts: Mapping[str, FileInfo], needed: set[str], now: datetime) -> list[str]:
    """Return the parts to remove: all except those of kept snapshots, and those that a run may still add to one."""
    return [name for name in parts if name not in needed and now - parts[name].written_at > IN_USE_PERIOD]


def occupied_ranges(cursor: Cursor, table: str) -> list[int]:
    """Return the numbers of a table's ranges that have rows, in order, with one index lookup per range."""
    key_ranges = KEY_RANGES[table]
    names = {"key": sql.Identifier(key_ranges.key), "table": sql.Identifier("steam", table)}
    cursor.execute(_OCCUPIED_RANGES.format(bits=sql.Literal(key_ranges.bits), **names))
    return [number for (number,) in cursor]


def recent_ranges(cursor: Cursor, times: Iterable[datetime]) -> set[int]:
    """Return the numbers of the review ranges with rows that an earlier extraction may have missed.

    Args:
        cursor: Cursor that sees the snapshot.
        times: The earlier extraction's time and watermark. The earlier of the two counts, less `LOOK_BACK`, because a
            row may be dated ahead of the clock.
    """
    cursor.execute(_RANGES_DATED_SINCE, [KEY_RANGES["reviews"].bits, min(times) - LOOK_BACK])
    return {number for (number,) in cursor}


def is_unchanged(cursor: Cursor, earlier: DataFile, *, recent: bool) -> bool:
    """Return whether a range of reviews still holds the rows of an earlier file.

    Without recent dates, an equal number of rows is enough, which the index of the primary key gives. With recent
    dates, the sum of the dates must be equal too: every change dates its row later than before, and a row that replaces
    a deleted one is dated later still.
    """
    query = _COUNT_AND_DATES if recent else _COUNT
    cursor.execute(query, KEY_RANGES["reviews"].bounds(earlier.key_range))
    row = cursor.fetchone()
    assert row is not None
    rows, dates = int(row[0]), int(row[1] or 0)
    return rows == earlier.rows and (not recent or dates % DATES_MODULUS == earlier.dates)


def lacks_keys(folder: Folder, table: str, earlier: DataFile, current: DataFile | None) -> bool:
    """Return whether rows of an earlier part have no row with the same key in the current part of the same range.

    The number of rows does not tell: a deleted row and a new one leave it as it was.

    Args:
        folder: Folder of the parts.
        table: Name of the table, whose key is unique.
        earlier: The earlier part.
        current: The current part; None if the range has no rows.
    """
    if current is None or current.rows < earlier.rows:
        return True
    if current.path == earlier.path:
        return False
    try:
        before = _keys(folder, table, earlier)
    except (OSError, pa.ArrowInvalid):  # damaged: nothing is known of its rows
        return True
    return not pc.all(pc.is_in(before, value_set=_keys(folder, table, current))).as_py()


def _keys(folder: Folder, table: str, file: DataFile) -> pa.ChunkedArray:
    with folder.local_path(file.path) as path:
        return pq.read_table(path, columns=[KEY_RANGES[table].key]).column(0)


def write_part(cursor: Cursor, folder: Folder, table: str, key_range: int, known: Container[str]) -> DataFile:
    """Read the rows of a range and write them to the store as one file with one row group.

    Equal rows make equal bytes, and so an equal name. A part is made in memory, not on the local disk.

    Args:
        cursor: Cursor of a connection that sees the snapshot.
        folder: Folder of the parts.
        table: Name of the table.
        key_range: Number of the range.
        known: Paths of existing parts, which are not written again.
    """
    rows = _read(cursor, table, key_range)
    content = _to_parquet(rows)
    digest = hashlib.sha256(content).hexdigest()
    path = f"{table}/{digest}.parquet"
    if path not in known:
        folder.write(path, content)
    return DataFile(path, rows.num_rows, len(content), digest, key_range, _sum_of_dates(rows))


def _read(cursor: Cursor, table: str, key_range: int) -> pa.Table:
    query = cursor.mogrify(snapshot_queries()[table], KEY_RANGES[table].bounds(key_range)).decode()
    schema = TABLES[table]
    if has_fixed_width(schema):
        content = io.BytesIO()
        cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT binary)", content, size=COPY_BUFFER)
        try:
            return read_binary_copy(content.getbuffer(), schema)
        except ValueError:  # a null makes a row shorter: the types are those of the contract
            _check_nulls(cursor, table, query)
            raise
    rows = _fetch(cursor, table, query)
    columns = [pa.array([row[index] for row in rows], field.type) for index, field in enumerate(schema)]
    if any(column.null_count for column, field in zip(columns, schema, strict=True) if not field.nullable):
        _check_nulls(cursor, table, query)
    return pa.table(columns, schema=schema)


def _fetch(cursor: Cursor, table: str, query: str) -> list[tuple[Any, ...]]:
    """Run a query and return its rows.

    Raises:
        UserError: A row has text that is not UTF-8; a database in SQL_ASCII holds whatever bytes it was sent.
    """
    rows: list[tuple[Any, ...]] = []
    cursor.execute(query)
    try:
        rows.extend(cursor)
    except UnicodeDecodeError as error:
        key = KEY_RANGES[table].key
        cursor.execute(f"SELECT {key} FROM ({query} OFFSET {len(rows)} LIMIT 1) AS failed")  # noqa: S608 - own names
        failed = cursor.fetchone()
        shown = error.object[max(0, error.start - SHOWN_BYTES) : error.end + SHOWN_BYTES]
        raise UserError(
            f"steam.{table} has text that is not UTF-8 ({shown!r}, {key} {failed[0] if failed else 'unknown'}): "
            f"correct it."
        ) from None
    return rows


def _check_nulls(cursor: Cursor, table: str, query: str) -> None:
    """Check that the rows of a query have a value wherever the snapshot needs one.

    Raises:
        UserError: A row has none, as when the shop dropped a NOT NULL.
    """
    key = KEY_RANGES[table].key
    for column in (field.name for field in TABLES[table] if not field.nullable):
        cursor.execute(f"SELECT {key} FROM ({query}) AS rows WHERE {column} IS NULL LIMIT 1")  # noqa: S608 - own names
        if row := cursor.fetchone():
            raise UserError(f"steam.{table} has no {column} in the row with {key} {row[0]}: give it one.")


def _sum_of_dates(rows: pa.Table) -> int:
    if "updated_at" not in rows.schema.names:
        return 0
    dates = rows["updated_at"].cast(pa.int64()).to_numpy()
    return int(dates.astype(np.uint64).sum(dtype=np.uint64))  # overflows at DATES_MODULUS


def _to_parquet(rows: pa.Table) -> bytes:
    delta = [name for name in DELTA_COLUMNS if name in rows.schema.names]
    content = pa.BufferOutputStream()
    pq.write_table(
        rows,
        content,
        row_group_size=max(1, rows.num_rows),
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        write_page_checksum=PAGE_CHECKSUMS,
        use_dictionary=[name for name in rows.schema.names if name not in delta] if delta else True,
        column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED") or None,
    )
    return bytes(content.getvalue())
