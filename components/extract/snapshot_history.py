"""The snapshots that a store holds: which one an extraction builds on, and which parts nobody needs any more.

<store>/snapshots/manifests/<moment>-<snapshot_id>.json
<store>/snapshots/parts/<table>/<sha256>.parquet
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from steam_recsys.data.snapshot import File, Manifest, Origin
from steam_recsys.storage.folder import BUCKET, FileInfo, Folder, open_folder

FULL_EVERY = timedelta(days=7)
"""After which all rows are read again, so that a change which left `updated_at` alone does not stay unseen."""

KEPT = 3
IN_USE = timedelta(days=2)
"""How old something must be to be removed: a run that makes it or reads it may still be under way before."""

MANIFESTS = "manifests"
PARTS = "parts"


@dataclass(frozen=True)
class History:
    """The snapshots of a store."""

    folder: Folder

    @classmethod
    def from_store(cls, store: str | Path) -> History:
        """The history in a store, which need not be there yet."""
        uri = str(store) if str(store).startswith(BUCKET) else str(Path(store).resolve())
        return cls(open_folder(f"{uri.rstrip('/')}/snapshots"))

    @property
    def parts(self) -> Folder:
        """The folder of the parts."""
        return open_folder(f"{self.folder.uri}/{PARTS}")

    def base(self, origin: Origin) -> Manifest | None:
        """The newest snapshot, if an extraction of this origin can build on it (see `can_build_on`)."""
        names = [name for name in self.folder.names(MANIFESTS) if is_whole(name)]
        content = self.folder.read(names[-1]) if names else None
        if content is None:
            return None
        newest = Manifest.from_json(content)
        return newest if can_build_on(newest, origin) else None

    def add(self, manifest: Manifest) -> None:
        """Let later extractions know of a snapshot whose parts are all there."""
        moment = datetime.fromisoformat(manifest.extracted_at)
        name = f"{moment:%Y%m%dT%H%M%S.%f}-{manifest.snapshot_id}.json"
        self.folder.write(f"{MANIFESTS}/{name}", manifest.to_json())

    def forget(self) -> int:
        """Remove manifests and parts that are of no use any more; how many parts."""
        listed = self.folder.listed(MANIFESTS)
        manifests = {name: stored for name, stored in listed.items() if is_whole(name)}
        old = superseded(manifests, datetime.now(UTC))
        parts = self.folder.listed(PARTS)  # before the manifests are read: a part that comes later is not looked at
        parts |= {name: stored for name, stored in listed.items() if not is_whole(name)}
        contents = [self.folder.read(name) for name in manifests if name not in old]
        needed = {
            f"{PARTS}/{file.path}"
            for content in contents
            if content is not None
            for files in Manifest.from_json(content).files.values()
            for file in files
        }
        for name in old:
            self.folder.remove(name)
        unneeded = unreferenced(parts, needed, datetime.now(UTC))
        there = self.folder.listed("") if unneeded else {}
        unneeded = [name for name in unneeded if there.get(name) == parts[name]]  # not those just written once more
        for name in unneeded:
            self.folder.remove(name)
        return len(unneeded)


def is_whole(name: str) -> bool:
    """Whether a file is not what a writer that was killed, or still writes, has under a temporary name."""
    return not Path(name).name.startswith(".")


def can_build_on(base: Manifest, origin: Origin) -> bool:
    """Whether what has not changed since a snapshot can be taken from it.

    It can where database and layout are the same and all rows were read less than `FULL_EVERY` ago. A database whose
    clock was set back to before that is read as a whole.
    """
    if base.origin is None or (base.origin.database, base.origin.layout) != (origin.database, origin.layout):
        return False
    age = datetime.fromisoformat(origin.full_at) - datetime.fromisoformat(base.origin.full_at)
    return timedelta(0) <= age < FULL_EVERY


def intact(base: Manifest, table: str, there: Mapping[str, FileInfo]) -> dict[int, File]:
    """A snapshot's parts of a table by range, those that are there in their full size."""
    return {
        file.key_range: file
        for file in base.files[table]
        if file.path in there and there[file.path].bytes == file.bytes
    }


def superseded(manifests: Mapping[str, FileInfo], now: datetime) -> list[str]:
    """The manifests that are neither among the newest `KEPT` nor so young that a run may still use them."""
    by_age = sorted(manifests, key=lambda name: (manifests[name].written_at, name))
    return [name for name in by_age[:-KEPT] if now - manifests[name].written_at > IN_USE]


def unreferenced(parts: Mapping[str, FileInfo], needed: set[str], now: datetime) -> list[str]:
    """The parts that no kept snapshot needs, but those so young that a snapshot may still be about to name them."""
    return [name for name in parts if name not in needed and now - parts[name].written_at > IN_USE]
