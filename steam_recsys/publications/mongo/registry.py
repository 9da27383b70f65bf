"""The pointer document: which version a MongoDB database shows, and which it keeps. It is the one thing that switches.

Everything that is known of versions stands in one document, because MongoDB changes a document whole or not at all on
every kind of server. It is replaced only where its revision is still the one that was read.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from typing import Any

from steam_recsys.errors import UserError
from steam_recsys.publications.versions import KeptVersion, VersionInfo

KEY = "current"
"""The document's `_id` in the collection `publications`."""


@dataclass(frozen=True)
class Registry:
    """The pointer document.

    Attributes:
        revision: how often it was changed.
        version: the version that readers see; None before the first publication.
        kept: those that can be made current.
        loading: those that never were current, with what they are made from and their size.
        retired: the names of those that were kept and are being dropped.
    """

    revision: int = 0
    version: str | None = None
    kept: tuple[KeptVersion, ...] = ()
    loading: tuple[Unpublished, ...] = ()
    retired: tuple[str, ...] = ()

    def registered(self, made: VersionInfo) -> Registry:
        """With a version that is to be loaded."""
        return replace(self, loading=(*self.loading, Unpublished(made, 0, 0)))

    def counted(self, version: str, users: int, rows: int) -> Registry:
        """With the size of a version that has been loaded."""
        counted = (
            Unpublished(each.made, users, rows) if each.made.version == version else each for each in self.loading
        )
        return replace(self, loading=tuple(counted))

    def switched(self, version: str, now: datetime) -> Registry:
        """With another version current.

        Raises:
            UserError: it is neither kept nor loaded to the end.
        """
        if version == self.version:
            return self
        number = max((each.last_switch for each in self.kept), default=0) + 1
        kept = [replace(each, current=False) for each in self.kept]
        for place, each in enumerate(kept):
            if each.version == version:
                kept[place] = replace(each, last_switch=number, current=True)
                return replace(self, version=version, kept=tuple(kept))
        for loaded in self.loading:
            if loaded.made.version == version and loaded.users:
                new = KeptVersion(
                    **asdict(loaded.made),
                    users=loaded.users,
                    rows=loaded.rows,
                    published_at=now,
                    first_switch=number,
                    last_switch=number,
                    current=True,
                )
                rest = tuple(other for other in self.loading if other is not loaded)
                return replace(self, version=version, kept=(*kept, new), loading=rest)
        raise UserError(f"The version {version} is not in MongoDB, or not whole: publish it again.")

    def retiring(self, versions: Collection[str]) -> Registry:
        """With some kept versions no longer so, but for one that is current by now: they are to be dropped."""
        old = [each for each in self.kept if each.version in versions and not each.current]
        return replace(
            self,
            kept=tuple(each for each in self.kept if each not in old),
            retired=(*self.retired, *(each.version for each in old)),
        )

    def without(self, versions: Collection[str]) -> Registry:
        """Without some versions that are not kept."""
        return replace(
            self,
            loading=tuple(each for each in self.loading if each.made.version not in versions),
            retired=tuple(version for version in self.retired if version not in versions),
        )

    def document(self) -> dict[str, Any]:
        """As it is stored, under the next revision; days as ISO dates, as MongoDB knows only moments."""
        return {
            "_id": KEY,
            "revision": self.revision + 1,
            "version": self.version,
            "kept": [{**asdict(each), "as_of": each.as_of.isoformat()} for each in self.kept],
            "loading": [
                {**asdict(each.made), "as_of": each.made.as_of.isoformat(), "users": each.users, "rows": each.rows}
                for each in self.loading
            ],
            "retired": list(self.retired),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> Registry:
        """From what is stored; None where nothing is."""
        if document is None:
            return cls()
        return cls(
            document["revision"],
            document["version"],
            tuple(KeptVersion(**_dated(each)) for each in document["kept"]),
            tuple(Unpublished.from_document(_dated(each)) for each in document["loading"]),
            tuple(document["retired"]),
        )


@dataclass(frozen=True)
class Unpublished:
    """A version that never was current: what it is made from, and its size, 0 until it is complete."""

    made: VersionInfo
    users: int
    rows: int

    @classmethod
    def from_document(cls, stored: dict[str, Any]) -> Unpublished:
        """From what is stored."""
        users, rows = stored.pop("users"), stored.pop("rows")
        return cls(VersionInfo(**stored), users, rows)


def _dated(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {**stored, "as_of": date.fromisoformat(stored["as_of"])}
