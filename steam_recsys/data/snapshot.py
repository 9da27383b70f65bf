"""A snapshot: a manifest that lists, table by table, the Parquet files that hold its rows.

The files never change once they are there, and the manifest is written last: what has no manifest is no snapshot, so a
reader never takes a half-written one. Files lie beside the manifest, or in a store, where snapshots of other moments
share those that hold the same rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow.fs import LocalFileSystem

from steam_recsys.data.schemas import TABLES
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import Folder, open_folder

MANIFEST = "manifest.json"
DATES_MODULUS = 1 << 64


@dataclass(frozen=True)
class File:
    """One Parquet file: its path in the folder of files, its rows, its size in bytes and its SHA-256.

    Where a later extraction may use it again, `key_range` is the number of the range of keys that it holds the rows of,
    and `dates` the sum of its reviews' `updated_at` in microseconds since 1970, modulo `DATES_MODULUS`.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    key_range: int = 0
    dates: int = 0

    @classmethod
    def describe(cls, root: Path, path: Path, rows: int) -> File:
        """Describe a file that is there."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(str(path.relative_to(root)), rows, path.stat().st_size, digest)


@dataclass(frozen=True)
class Origin:
    """What must be the same for a later extraction to build on a snapshot.

    Attributes:
        database: the server's and the database's identity, which a restored backup does not share.
        layout: a digest of everything that decides how rows become files.
        full_at: when all rows were last read, ISO 8601 in UTC.
    """

    database: str
    layout: str
    full_at: str


@dataclass(frozen=True)
class Manifest:
    """What a snapshot holds and the moment of the database that it shows.

    Attributes:
        database_snapshot: PostgreSQL's `pg_current_snapshot()`.
        extracted_at: the moment by the database's clock, ISO 8601 in UTC.
        watermark: the newest `(updated_at, review_id)`, the time as above; None without reviews.
        files: of each table, in the order of the rows.
        files_uri: the folder that holds them, as `gs://bucket/store/snapshots/parts`; empty is the manifest's own.
        origin: for extractions that build on it; None where none does.
    """

    database_snapshot: str
    extracted_at: str
    watermark: tuple[str, int] | None
    files: dict[str, list[File]]
    files_uri: str = ""
    origin: Origin | None = None

    @property
    def snapshot_id(self) -> str:
        """Twelve hexadecimal digits that name the content: equal rows, equal id, whenever they were extracted."""
        digests = [(table, file.sha256) for table in sorted(self.files) for file in self.files[table]]
        return hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:12]

    def rows(self, table: str) -> int:
        """The number of rows of a table."""
        return sum(file.rows for file in self.files[table])

    def to_json(self) -> bytes:
        """The content of the manifest's file."""
        return f"{json.dumps({'snapshot_id': self.snapshot_id, **asdict(self)}, indent=2)}\n".encode()

    @classmethod
    def from_json(cls, content: bytes) -> Manifest:
        """The opposite of `to_json`."""
        fields = json.loads(content)
        del fields["snapshot_id"]
        fields["files"] = {table: [File(**file) for file in listed] for table, listed in fields["files"].items()}
        fields["watermark"] = tuple(fields["watermark"]) if fields["watermark"] else None
        fields["origin"] = Origin(**fields["origin"]) if fields["origin"] else None
        return cls(**fields)

    def write(self, root: str | Path) -> None:
        """Make the snapshot visible in a folder: the manifest appears whole or not at all."""
        open_folder(root).write(MANIFEST, self.to_json())

    @classmethod
    def read(cls, root: str | Path) -> Manifest:
        """Read a snapshot's manifest.

        Raises:
            UserError: the folder holds no complete snapshot.
        """
        content = open_folder(root).read(MANIFEST)
        if content is None:
            raise UserError(f"{root} holds no complete snapshot ({MANIFEST} is missing): extract it again.")
        return cls.from_json(content)


@dataclass(frozen=True)
class Snapshot:
    """A complete snapshot, open for reading."""

    root: Path
    manifest: Manifest

    @classmethod
    def open(cls, root: str | Path) -> Snapshot:
        """Open the snapshot whose manifest is in a folder, and see that each of its files is there in its full size.

        Raises:
            UserError: the folder holds no manifest, or a file of the snapshot is missing or cut short.
        """
        snapshot = cls(Path(root), Manifest.read(root))
        there = snapshot.folder.listed("")
        for file in (file for files in snapshot.manifest.files.values() for file in files):
            if file.path not in there or there[file.path].bytes != file.bytes:
                raise UserError(f"The snapshot in {root} lacks {snapshot.folder.uri}/{file.path}: extract it again.")
        return snapshot

    @cached_property
    def folder(self) -> Folder:
        """The folder that holds the snapshot's files."""
        return open_folder(self.manifest.files_uri or self.root)

    def dataset(self, table: str) -> ds.Dataset:
        """A table as an Arrow dataset, for reading in batches; of a bucket's files only what is asked for is read."""
        parquet, disk = ds.ParquetFileFormat(), LocalFileSystem()
        sources = [self.folder.source(file.path, file.bytes) for file in self.manifest.files[table]]
        fragments = [parquet.make_fragment(source, filesystem=disk) for source in sources]
        return ds.FileSystemDataset(fragments, TABLES[table], parquet)

    def table(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A table in memory, or only some of its columns."""
        return self.dataset(table).to_table(columns=list(columns) if columns else None)

    def verify(self) -> None:
        """Read every file and compare it with its checksum.

        Raises:
            UserError: one is damaged.
        """
        folder = self.folder
        for file in (file for files in self.manifest.files.values() for file in files):
            if hashlib.sha256(folder.read(file.path) or b"").hexdigest() != file.sha256:
                raise UserError(
                    f"{folder.uri}/{file.path} is not what was written there: delete it and extract the snapshot again."
                )
