"""A snapshot on disk: one folder of Parquet files a table, and `manifest.json`, written last.

A folder without a manifest is not a snapshot, so a reader never takes a half-written one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds

from components.shared.errors import UserError
from components.shared.schemas import TABLES

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class File:
    """One Parquet file: its path inside the snapshot, its rows, its size in bytes and its SHA-256."""

    path: str
    rows: int
    bytes: int
    sha256: str

    @classmethod
    def of(cls, root: Path, path: Path, rows: int) -> File:
        """Describe a file that is there."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(str(path.relative_to(root)), rows, path.stat().st_size, digest)


@dataclass(frozen=True)
class Manifest:
    """What a snapshot holds and the moment of the database that it shows.

    `database_snapshot` is PostgreSQL's `pg_current_snapshot()`, `watermark` the newest `(updated_at, review_id)`,
    `extracted_at` an ISO 8601 time in UTC.
    """

    database_snapshot: str
    extracted_at: str
    watermark: tuple[str, int] | None
    files: dict[str, list[File]]

    @property
    def snapshot_id(self) -> str:
        """Twelve hexadecimal digits that name the content: equal rows, equal id, whenever they were extracted."""
        digests = [(table, file.sha256) for table in sorted(self.files) for file in self.files[table]]
        return hashlib.sha256(json.dumps(digests).encode()).hexdigest()[:12]

    def rows(self, table: str) -> int:
        """The number of rows of a table."""
        return sum(file.rows for file in self.files[table])

    def write(self, root: Path) -> None:
        """Make the snapshot visible: the manifest appears whole or not at all."""
        temporary = root / f".{MANIFEST}"
        temporary.write_text(json.dumps({"snapshot_id": self.snapshot_id, **asdict(self)}, indent=2) + "\n")
        temporary.replace(root / MANIFEST)

    @classmethod
    def read(cls, root: Path) -> Manifest:
        """Read a snapshot's manifest.

        Raises:
            UserError: the folder holds no complete snapshot.
        """
        try:
            content = json.loads((root / MANIFEST).read_text())
        except FileNotFoundError:
            raise UserError(f"{root} holds no complete snapshot ({MANIFEST} is missing): extract it again.") from None
        files = {table: [File(**file) for file in listed] for table, listed in content["files"].items()}
        watermark = (content["watermark"][0], content["watermark"][1]) if content["watermark"] else None
        return cls(content["database_snapshot"], content["extracted_at"], watermark, files)


@dataclass(frozen=True)
class Snapshot:
    """A complete snapshot, open for reading."""

    root: Path
    manifest: Manifest

    @classmethod
    def open(cls, root: str | Path) -> Snapshot:
        """Open the snapshot in a folder.

        Raises:
            UserError: the folder holds no complete snapshot.
        """
        return cls(Path(root), Manifest.read(Path(root)))

    def dataset(self, table: str) -> ds.Dataset:
        """A table as an Arrow dataset, for reading in batches."""
        files = [str(self.root / file.path) for file in self.manifest.files[table]]
        return ds.dataset(files, schema=TABLES[table], format="parquet")

    def table(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """A table in memory, or only some of its columns."""
        return self.dataset(table).to_table(columns=list(columns) if columns else None)
