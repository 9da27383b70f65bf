"""A snapshot: a manifest that lists the Parquet files of each table.

Files never change, and the manifest is written last: a folder without one is not a snapshot, so a reader never sees a
half-written one. The files are in the manifest's folder, or in a store where snapshots share files with equal rows.
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
class DataFile:
    """One Parquet file of a snapshot. A later extraction uses `key_range` and `dates` to decide whether to reuse it.

    Attributes:
        path: Path relative to the folder of files.
        rows: Number of rows.
        bytes: Size in bytes.
        sha256: Checksum, hexadecimal.
        key_range: Number of the range of keys whose rows it holds.
        dates: Sum of its reviews' `updated_at` in microseconds since 1970, modulo `DATES_MODULUS`.
    """

    path: str
    rows: int
    bytes: int
    sha256: str
    key_range: int = 0
    dates: int = 0

    @classmethod
    def from_path(cls, root: Path, path: Path, rows: int) -> DataFile:
        """Describe an existing file below `root`."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(str(path.relative_to(root)), rows, path.stat().st_size, digest)


@dataclass(frozen=True)
class Provenance:
    """What a later extraction compares before it reuses a snapshot's files.

    Attributes:
        database: Identity of the server and the database; a restored backup has another one.
        layout: Digest of everything that determines how rows become files.
        full_at: When all rows were last read, ISO 8601 in UTC.
    """

    database: str
    layout: str
    full_at: str


@dataclass(frozen=True)
class Manifest:
    """The files of a snapshot, and when it was taken of which database.

    Attributes:
        database_snapshot: PostgreSQL's `pg_current_snapshot()`.
        extracted_at: Time of the snapshot by the database's clock, ISO 8601 in UTC.
        watermark: Newest `(updated_at, review_id)`, the time in ISO 8601; None without reviews.
        files: Files of each table, in the order of the rows.
        files_uri: Folder of the files, such as `gs://bucket/store/snapshots/parts`; empty for the manifest's folder.
        origin: What a later extraction compares before it reuses files; None if it must not reuse them.
    """

    database_snapshot: str
    extracted_at: str
    watermark: tuple[str, int] | None
    files: dict[str, list[DataFile]]
    files_uri: str = ""
    origin: Provenance | None = None

    @property
    def snapshot_id(self) -> str:
        """Id of the content, twelve hexadecimal digits: equal rows have equal ids, whenever they were extracted."""
        digests = [(table, file.sha256) for table in sorted(self.files) for file in self.files[table]]
        return hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:12]

    def rows(self, table: str) -> int:
        """Return the number of rows of a table."""
        return sum(file.rows for file in self.files[table])

    def to_json(self) -> bytes:
        """Return the content of the manifest's file."""
        return f"{json.dumps({'snapshot_id': self.snapshot_id, **asdict(self)}, indent=2)}\n".encode()

    @classmethod
    def from_json(cls, content: bytes) -> Manifest:
        """Parse the content of a manifest's file."""
        fields = json.loads(content)
        del fields["snapshot_id"]
        fields["files"] = {table: [DataFile(**file) for file in files] for table, files in fields["files"].items()}
        fields["watermark"] = tuple(fields["watermark"]) if fields["watermark"] else None
        fields["origin"] = Provenance(**fields["origin"]) if fields["origin"] else None
        return cls(**fields)

    def write(self, root: str | Path) -> None:
        """Write the manifest to a folder, atomically. From then on the folder holds a snapshot."""
        open_folder(root).write(MANIFEST, self.to_json())

    @classmethod
    def read(cls, root: str | Path) -> Manifest:
        """Read a snapshot's manifest.

        Raises:
            UserError: The folder does not hold a complete snapshot.
        """
        content = open_folder(root).read(MANIFEST)
        if content is None:
            raise UserError(f"{root} holds no complete snapshot ({MANIFEST} is missing): extract it again.")
        return cls.from_json(content)


@dataclass(frozen=True)
class Snapshot:
    """A complete snapshot, open for reading.

    Example:
        >>> snapshot = Snapshot.open("snapshot")
        >>> names = snapshot.table("games", ["game_id", "name"])
    """

    root: Path
    manifest: Manifest

    @classmethod
    def open(cls, root: str | Path) -> Snapshot:
        """Open a snapshot, and check that each of its files exists in its full size.

        Args:
            root: Folder of the manifest.

        Raises:
            UserError: The folder holds no manifest, or a file of the snapshot is missing or truncated.
        """
        snapshot = cls(Path(root), Manifest.read(root))
        found = snapshot.folder.list_files("")
        for file in (file for files in snapshot.manifest.files.values() for file in files):
            if file.path not in found or found[file.path].bytes != file.bytes:
                raise UserError(f"The snapshot in {root} lacks {snapshot.folder.uri}/{file.path}: extract it again.")
        return snapshot

    @cached_property
    def folder(self) -> Folder:
        """Folder of the snapshot's files."""
        return open_folder(self.manifest.files_uri or self.root)

    def dataset(self, table: str) -> ds.Dataset:
        """Return a table as an Arrow dataset, to read in batches. Only the requested columns are read."""
        parquet, disk = ds.ParquetFileFormat(), LocalFileSystem()
        sources = [self.folder.arrow_source(file.path, file.bytes) for file in self.manifest.files[table]]
        fragments = [parquet.make_fragment(source, filesystem=disk) for source in sources]
        return ds.FileSystemDataset(fragments, TABLES[table], parquet)

    def table(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table, or some of its columns, into memory."""
        return self.dataset(table).to_table(columns=list(columns) if columns else None)

    def verify(self) -> None:
        """Compare every file with its checksum.

        Raises:
            UserError: A file is damaged.
        """
        folder = self.folder
        for file in (file for files in self.manifest.files.values() for file in files):
            if hashlib.sha256(folder.read(file.path) or b"").hexdigest() != file.sha256:
                raise UserError(
                    f"{folder.uri}/{file.path} is damaged (wrong checksum): delete it and extract the snapshot again."
                )
