"""The snapshots of a store: the one that an extraction can reuse files of, and the files that can be removed.

<store>/snapshots/manifests/<time>-<snapshot_id>.json
<store>/snapshots/parts/<table>/<sha256>.parquet
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from steam_recsys.data.snapshot import DataFile, Manifest, Provenance
from steam_recsys.storage.folder import BUCKET_SCHEME, FileInfo, Folder, open_folder

FULL_EVERY = timedelta(days=7)
"""Age after which all rows are read again, in case a change did not set `updated_at`."""

KEPT = 3
IN_USE = timedelta(days=2)
"""Minimum age of files to remove: younger ones may belong to a run that is still writing or reading them."""

MANIFESTS = "manifests"
PARTS = "parts"


@dataclass(frozen=True)
class SnapshotStore:
    """The snapshots of a store."""

    folder: Folder

    @classmethod
    def from_store(cls, store: str | Path) -> SnapshotStore:
        """Open the snapshots of a store, which need not exist yet."""
        uri = str(store) if str(store).startswith(BUCKET_SCHEME) else str(Path(store).resolve())
        return cls(open_folder(f"{uri.rstrip('/')}/snapshots"))

    @property
    def parts(self) -> Folder:
        """Folder of the Parquet files."""
        return open_folder(f"{self.folder.uri}/{PARTS}")

    def reusable_snapshot(self, origin: Provenance) -> Manifest | None:
        """Return the newest snapshot, or None if an extraction of this origin cannot reuse it (see `can_reuse`)."""
        names = [name for name in self.folder.names(MANIFESTS) if is_complete(name)]
        content = self.folder.read(names[-1]) if names else None
        if content is None:
            return None
        newest = Manifest.from_json(content)
        return newest if can_reuse(newest, origin) else None

    def add(self, manifest: Manifest) -> None:
        """Record a snapshot whose files are all written, for later extractions."""
        extracted_at = datetime.fromisoformat(manifest.extracted_at)
        name = f"{extracted_at:%Y%m%dT%H%M%S.%f}-{manifest.snapshot_id}.json"
        self.folder.write(f"{MANIFESTS}/{name}", manifest.to_json())

    def remove_old(self) -> int:
        """Remove manifests and parts that are no longer needed, and return the number of removed parts."""
        files = self.folder.list_files(MANIFESTS)
        manifests = {name: info for name, info in files.items() if is_complete(name)}
        old = superseded(manifests, datetime.now(UTC))
        parts = self.folder.list_files(PARTS)  # before reading the manifests, so that later parts are not considered
        parts |= {name: info for name, info in files.items() if not is_complete(name)}
        contents = [self.folder.read(name) for name in manifests if name not in old]
        needed = {
            f"{PARTS}/{file.path}"
            for content in contents
            if content is not None
            for files_of_table in Manifest.from_json(content).files.values()
            for file in files_of_table
        }
        for name in old:
            self.folder.remove(name)
        unneeded = unreferenced(parts, needed, datetime.now(UTC))
        current = self.folder.list_files("") if unneeded else {}
        unneeded = [name for name in unneeded if current.get(name) == parts[name]]  # not if it was written again
        for name in unneeded:
            self.folder.remove(name)
        return len(unneeded)


def is_complete(name: str) -> bool:
    """Return whether a file is complete. A writer that is still at work, or was killed, leaves a temporary name."""
    return not Path(name).name.startswith(".")


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
    """Return the manifests to remove: all except the newest `KEPT`, and those that a run may still use."""
    by_age = sorted(manifests, key=lambda name: (manifests[name].written_at, name))
    return [name for name in by_age[:-KEPT] if now - manifests[name].written_at > IN_USE]


def unreferenced(parts: Mapping[str, FileInfo], needed: set[str], now: datetime) -> list[str]:
    """Return the parts to remove: all except those of kept snapshots, and those that a run may still add to one."""
    return [name for name in parts if name not in needed and now - parts[name].written_at > IN_USE]
