"""A snapshot: a manifest that lists the Parquet files of each table.

Files never change, and the manifest is written last: a folder without one is not a snapshot, so a reader never sees a
half-written one. The files are in the manifest's folder, or in a store where snapshots share files with equal rows.

Files on disk are compared with their checksums before they are read. From a bucket only some columns of a file are
fetched: each of their pages has a checksum of its own, and the columns must be those that were declared.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyarrow.fs import LocalFileSystem

from steam_recsys.data.schemas import TABLES
from steam_recsys.errors import ArtifactError, UserError
from steam_recsys.storage.folder import Folder, is_remote, open_folder
from steam_recsys.storage.manifest import MANIFEST, FileDigest, UnreadableError, seal, unseal

if TYPE_CHECKING:
    import pyarrow.dataset as ds

SNAPSHOTS_FOLDER, MANIFESTS_FOLDER, PARTS_FOLDER = "snapshots", "manifests", "parts"
"""The folder of the snapshots in a store, and its folders of manifests, named by their time, and of Parquet files."""

DATES_MODULUS = 1 << 64

FOOTER_REQUESTS = 8
"""Footers that are read from a bucket at the same time."""


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
        digest = FileDigest.from_path(path)
        return cls(str(path.relative_to(root)), rows, digest.size, digest.sha256)


@dataclass(frozen=True)
class Provenance:
    """What a later extraction compares before it reuses a snapshot's files.

    Attributes:
        database: Identity of the server, its timeline and the database. A copy of the database has another one, but a
            backup that is restored in place may keep it.
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
        return seal({"snapshot_id": self.snapshot_id, **asdict(self)})

    @classmethod
    def from_json(cls, content: bytes) -> Manifest:
        """Parse the content of a manifest's file.

        Raises:
            UnreadableError: It is damaged, or another release wrote it.
        """
        return unseal(content, cls._decode)

    @classmethod
    def _decode(cls, fields: dict[str, Any]) -> Manifest:
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
            ArtifactError: The folder does not hold a complete snapshot.
        """
        content = open_folder(root).read(MANIFEST)
        if content is None:
            raise ArtifactError(f"{root} holds no complete snapshot ({MANIFEST} is missing): extract it again.")
        try:
            return cls.from_json(content)
        except UnreadableError as error:
            raise ArtifactError(f"{root}/{MANIFEST} {error}: extract it again.") from None


@dataclass(frozen=True)
class Snapshot:
    """A complete snapshot, open for reading.

    Example:
        >>> snapshot = Snapshot.open("snapshot")
        >>> names = snapshot.table("games", ["game_id", "name"])
    """

    root: Path
    manifest: Manifest
    _verified: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    @classmethod
    def open(cls, root: str | Path) -> Snapshot:
        """Open a snapshot, and check that each of its files exists in its full size.

        Args:
            root: Folder of the manifest.

        Raises:
            UserError: The folder holds no manifest, or a file of the snapshot is missing or truncated.
        """
        return cls(Path(root), Manifest.read(root))._checked()

    @classmethod
    def from_store(cls, store: str | Path, snapshot_id: str = "") -> Snapshot:
        """Open a snapshot of a store, which consists of new files and of files of earlier snapshots.

        Args:
            store: Folder or bucket that extraction writes to. It may have been moved since.
            snapshot_id: Id of the snapshot; empty for the newest one.

        Raises:
            UserError: The store has no such snapshot, its manifest is damaged, or one of its files is missing or
                truncated.
        """
        folder = open_folder(f"{str(store).rstrip('/')}/{SNAPSHOTS_FOLDER}")
        name = newest_manifest(folder, snapshot_id)
        content = folder.read(name) if name else None
        if content is None:
            if snapshot_id and newest_manifest(folder):
                raise UserError(
                    f"The store {store} has no snapshot {snapshot_id} any more: it was removed, because a store keeps "
                    f"its newest three and those of the last two days. Use the newest one."
                )
            raise UserError(f"The store {store} has no snapshot: run the training pipeline first.")
        try:
            manifest = Manifest.from_json(content)
        except UnreadableError as error:
            raise ArtifactError(f"{folder.uri}/{name} {error}: extract it again.") from None
        return cls(Path(store), replace(manifest, files_uri=f"{folder.uri}/{PARTS_FOLDER}"))._checked()

    def _checked(self) -> Snapshot:
        found = self.folder.list_files("")
        for file in (file for files in self.manifest.files.values() for file in files):
            if file.path not in found or found[file.path].bytes != file.bytes:
                raise UserError(f"The snapshot in {self.root} lacks {self.folder.uri}/{file.path}: extract it again.")
        return self

    @cached_property
    def folder(self) -> Folder:
        """Folder of the snapshot's files."""
        return open_folder(self.manifest.files_uri or self.root)

    def dataset(self, table: str) -> ds.Dataset:
        """Return a table as an Arrow dataset, to read in batches. Only the requested columns are read.

        Raises:
            UserError: A file on disk is damaged, or a file in a bucket has other columns.
        """
        import pyarrow.dataset as ds  # imports pandas where there is one, which takes a second

        files, in_bucket = self.manifest.files[table], is_remote(self.folder.uri)
        if not in_bucket:
            self._verify(files)
        parquet, disk = ds.ParquetFileFormat(page_checksum_verification=True), LocalFileSystem()
        sources = [self.folder.arrow_source(file.path, file.bytes) for file in files]
        fragments = [parquet.make_fragment(source, filesystem=disk) for source in sources]
        if in_bucket:
            with ThreadPoolExecutor(FOOTER_REQUESTS) as pool:
                list(pool.map(self._check_columns, [table] * len(files), files, fragments))
        return ds.FileSystemDataset(fragments, TABLES[table], parquet)

    def table(self, table: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table, or some of its columns, into memory."""
        dataset = self.dataset(table)
        with self.reading(table):
            return dataset.to_table(columns=list(columns) if columns else None)

    @contextmanager
    def reading(self, table: str) -> Iterator[None]:
        """Report damage that is found while a dataset is read.

        Raises:
            UserError: A page's checksum is wrong, or a file is no longer Parquet.
        """
        try:
            yield
        except (pa.ArrowException, OSError) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise UserError(
                f"A file of the table {table} in {self.folder.uri} is damaged ({reason}): validate the snapshot, which "
                f"names the file, delete it and extract the snapshot again."
            ) from None

    def verify(self) -> None:
        """Compare every file with its checksum.

        Raises:
            UserError: A file is damaged.
        """
        for files in self.manifest.files.values():
            self._verify(files)

    def _check_columns(self, table: str, file: DataFile, fragment: ds.Fragment) -> None:
        """Check the columns that a file's footer declares. The fragment keeps the footer, which is read once."""
        try:
            intact = fragment.physical_schema.equals(TABLES[table])
        except (pa.ArrowException, OSError):
            intact = False
        if not intact:
            raise self._damaged(file)

    def _damaged(self, file: DataFile) -> UserError:
        return UserError(f"{self.folder.uri}/{file.path} is damaged: delete it and extract the snapshot again.")

    def _verify(self, files: Iterable[DataFile]) -> None:
        """Compare files with their checksums, each once."""
        for file in files:
            if file.path in self._verified:
                continue
            with self.folder.local_path(file.path) as path:
                if not path.exists() or FileDigest.from_path(path).sha256 != file.sha256:
                    raise self._damaged(file)
            self._verified.add(file.path)


def newest_manifest(folder: Folder, snapshot_id: str = "") -> str | None:
    """Return the name of the newest manifest in a store's folder of snapshots, or of a snapshot; None without one."""
    suffix = f"-{snapshot_id}.json" if snapshot_id else ".json"
    names = (name for name in folder.names(MANIFESTS_FOLDER) if name.endswith(suffix))
    return max(filter(is_complete, names), default=None)


def is_complete(name: str) -> bool:
    """Return whether a file is complete. A writer that is still at work, or was killed, leaves a temporary name."""
    return not Path(name).name.startswith(".")
