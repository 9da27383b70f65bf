"""MongoDB as a destination: a version is a pair of collections, and a pointer document names the current version.

A reader gets the version from the pointer, `publications.find_one({"_id": "current"})["version"]`, and then reads
`recommendations_<version>`, with one document per user, whose `lists` have the names of LISTS, and `popular_<version>`,
with one document per fallback list. The `_id` of a list of popular games is its genre, or the empty string for the
overall list; the others are found by their `list`. A reader may stay with a version, as the last ones are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pymongo
from pymongo import DeleteOne, InsertOne, MongoClient, ReadPreference, ReplaceOne, WriteConcern
from pymongo.database import Database
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    DuplicateKeyError,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)

from steam_recsys.data.predictions import Predictions, Shard
from steam_recsys.data.schemas import POPULAR_LIST, RELEVANCE
from steam_recsys.database.failures import UnavailableError, known_obstacle
from steam_recsys.database.urls import has_stray_separators
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.publications.lease import Lease
from steam_recsys.publications.loading import (
    SAMPLED_USERS,
    CurrentVersion,
    KnownGames,
    Loader,
    Stored,
    VersionStats,
    read_game_ids,
    read_user_ids,
)
from steam_recsys.publications.personalisation import FIRST_GAMES, Personalisation
from steam_recsys.publications.updates import VersionUpdate
from steam_recsys.publications.versions import KeptVersion, VersionInfo, find_current, find_version
from steam_recsys.secrets import resolve_secret

DATABASE = "recsys"
"""The database's name if the URL has none."""

SWITCH_SECONDS = 0.5
"""How long a switch may take: if PostgreSQL switches too, its readers wait for it."""

_POINTER_ID = "current"
"""The pointer document's `_id` in the collection `publications`."""

_REMEDIES = {
    13: "grant its user the role readWrite on the database",
    18: "correct the user or the password in {name}",
    10107: "let {name} name all members of the replica set",
    14031: "make some room on its disk, then run again",
}
"""What to do, by the server's error code (https://www.mongodb.com/docs/manual/reference/error-codes/)."""

_DOCUMENTS_PER_INSERT = 1000
_CONNECT_SECONDS = 10.0
"""Longest time until the first server is found; operations, which have more time, look for theirs as long."""

_OPERATION_MS = 300_000
"""Longest time of one operation: without a majority of the members, a write would wait for ever."""


_Document = dict[str, Any]


@contextmanager
def open_mongo(reference: str, shop: str, lease: Lease | None = None) -> Iterator[MongoDestination]:
    """Open a MongoDB database as a destination.

    Args:
        reference: Reference to its URL, such as `env:MONGODB_URL`.
        shop: Reference to the URL of the shop's PostgreSQL, which knows the users and the games.
        lease: The lease that loading and dropping need; a rollback switches without one.

    Raises:
        UserError: The URL is invalid, or the database cannot be reached or fails in the body.
    """
    name, url = reference.removeprefix("env:"), resolve_secret(reference)
    try:
        if has_stray_separators(url):
            raise ValueError
        client = MongoClient[_Document](url, timeoutMS=_OPERATION_MS, appname="steam-recsys", tz_aware=True)
        # Whatever the URL prefers: a pointer that a secondary has not received yet would be changed back.
        database = client.get_default_database(
            DATABASE, read_preference=ReadPreference.PRIMARY, write_concern=WriteConcern("majority")
        )
    except (ConfigurationError, InvalidURI, ValueError):  # their messages may show the password
        raise UserError(
            f"{name} is not the URL of a MongoDB: set it to mongodb://user@host/database; in a user name or a "
            f"password, write %2F for /, %3A for :, %40 for @."
        ) from None
    try:
        with client:
            with pymongo.timeout(_CONNECT_SECONDS):
                client.admin.command("ping")
            yield MongoDestination(database, shop, lease)
    except PyMongoError as error:
        raise _mongo_error(name, error) from None


def _mongo_error(name: str, error: PyMongoError) -> UserError:
    """Return the error to raise instead of the driver's, whose text may show a part of the URL."""
    if isinstance(error, ConnectionFailure):
        reason = known_obstacle(str(error)) or "the connection was lost"
        return UnavailableError(f"The MongoDB in {name} failed ({reason}): check that it is up, then run again.")
    if not isinstance(error, OperationFailure):
        return UserError(f"The MongoDB in {name} failed ({type(error).__name__}): see its log, then run again.")
    remedy = _REMEDIES.get(error.code or 0, "see its log, then run again")
    return UserError(f"The MongoDB in {name} failed (error {error.code}): {remedy.format(name=name)}.")


class MongoDestination:
    """See `steam_recsys.publications.destinations.Destination`."""

    name = "MongoDB"

    def __init__(self, database: Database[_Document], shop: str, lease: Lease | None = None) -> None:
        self._database = database
        self._shop_reference = shop
        self._lease = lease

    def kept_versions(self) -> list[KeptVersion]:
        """See `Destination.kept_versions`."""
        return sorted(self._pointer().kept, key=lambda each: -each.first_switch)

    def current_version(self) -> CurrentVersion | None:
        """See `Destination.current_version`."""
        current = find_current(self.kept_versions())
        if current is None:
            return None
        first_games = {"$slice": [f"$lists.{RELEVANCE}.game_ids", FIRST_GAMES]}
        found = self._recommendations(current.version).aggregate(
            [{"$sample": {"size": SAMPLED_USERS}}, {"$project": {"game_ids": first_games}}]
        )
        sample = {each["_id"]: each["game_ids"] for each in found}
        return CurrentVersion.sampled(current, sample)

    def first_games(self, version: str, users: Sequence[int], k: int) -> dict[int, list[int]]:
        """See `Destination.first_games`."""
        wanted: list[_Document] = [
            {"$match": {"_id": {"$in": list(users)}}},
            {"$project": {"game_ids": {"$slice": [f"$lists.{RELEVANCE}.game_ids", k]}, "published": 1}},
        ]
        found = self._recommendations(version).aggregate(wanted)
        games: dict[int, list[int]] = {}
        for each in found:
            published: list[int] = each["published"] if "published" in each else each["game_ids"]
            if published:  # none were published for a user who came later
                games[each["_id"]] = published[:k]
        return games

    def popular_games(self, version: str) -> list[int]:
        """See `Destination.popular_games`."""
        found = self._database[f"popular_{version}"].find_one({"_id": ""})
        if found is None:
            return []
        games: list[int] = found["published"] if "published" in found else found["game_ids"]
        return games

    def load(
        self, info: VersionInfo, predictions: Predictions, current: CurrentVersion | None
    ) -> tuple[VersionStats, Stored]:
        """See `Destination.load`. The version is registered first: if this run dies, the next one drops it."""
        with self._lease_held():
            self._change(lambda pointer: pointer.with_unpublished(info))
        games = read_game_ids(self._shop_reference)
        fallback_lists = predictions.popular(games)
        self._fill_popular(info.version, fallback_lists)
        known = KnownGames.from_fallback_lists(games, fallback_lists)
        loader = Loader(predictions, known, current.sample if current else {})
        collection = self._recommendations(info.version)

        def load_part(number: int, part: list[Shard]) -> int:
            for shard in part:
                users = read_user_ids(self._shop_reference, shard.first, shard.last)
                for batch in loader.batches(shard, users):
                    documents = list(_documents(batch).values())
                    for start in range(0, len(documents), _DOCUMENTS_PER_INSERT):
                        collection.insert_many(documents[start : start + _DOCUMENTS_PER_INSERT], ordered=False)
            return 0

        stats, _ = loader.run(load_part)
        loaded = UnpublishedVersion(info, stats.users, stats.rows, stats.personalisation.measure(games))
        with self._lease_held():
            self._change(lambda pointer: pointer.with_loaded(loaded))
        return stats, Stored("users", self._count_users(info.version), stats.users)

    def update(self, update: VersionUpdate, keep_out: Callable[[], None]) -> None:
        """Update a version, one user after the other: readers see a user's old lists or the new ones.

        An update that is interrupted is repeated by the next refresh, as the pointer document names the new snapshot
        last. If it ends between a batch and its count, the numbers of users and rows lack that batch.

        Args:
            update: The update.
            keep_out: Raises unless this process still keeps other switches and refreshes out.

        Raises:
            UserError: The version is missing.
        """
        if not find_version(self.kept_versions(), update.version):
            raise UserError(f"MongoDB does not keep {update.version}, which PostgreSQL shows: publish to both again.")
        collection, documents = self._recommendations(update.version), _documents(update.recommendations)
        for start in range(0, len(update.users), _DOCUMENTS_PER_INSERT):
            keep_out()
            ids = update.users[start : start + _DOCUMENTS_PER_INSERT].tolist()
            before = {each["_id"]: each for each in collection.find({"_id": {"$in": ids}})}
            writes: list[ReplaceOne[_Document] | DeleteOne] = []
            users = rows = 0
            for user in ids:
                old, new = before.get(user), documents.get(user)
                users += bool(new) - bool(old)
                rows += _count_games(new) - _count_games(old)
                if new:
                    new["published"] = _published_games(old)
                    writes.append(ReplaceOne({"_id": user}, new, upsert=True))
                elif old:
                    writes.append(DeleteOne({"_id": user}))
            if writes:
                collection.bulk_write(writes, ordered=False)
                self._change(partial(PointerDocument.with_counted, version=update.version, users=users, rows=rows))
        if update.popular is not None:
            keep_out()
            self._update_popular(update.version, update.popular)
        keep_out()
        self._change(lambda pointer: pointer.with_refreshed(update))

    def point_to(self, version: str) -> None:
        """Make a version current, unless it already is.

        Raises:
            UserError: The version is missing.
        """
        with pymongo.timeout(SWITCH_SECONDS):
            self._change(lambda pointer: pointer.with_current(version, datetime.now(UTC)))

    def drop_unfinished(self) -> None:
        """See `Destination.drop_unfinished`."""
        with self._lease_held():
            self._drop_retired()
            unfinished = [each.info.version for each in self._pointer().loading]
            for version in unfinished:
                self._drop_collections(version)
                log("reverse_etl", f"dropped the unfinished version {version} of MongoDB")
            self._change(lambda pointer: pointer.without(unfinished))

    def drop(self, versions: Sequence[str]) -> None:
        """See `Destination.drop`. Readers hold no locks, so every collection can be dropped at once."""
        with self._lease_held():
            self._change(lambda pointer: pointer.with_retired(versions))
            self._drop_retired()

    def _lease_held(self) -> AbstractContextManager[None]:
        return nullcontext() if self._lease is None else self._lease.held()

    def _drop_retired(self) -> None:
        retired = self._pointer().retired  # not the versions to drop: someone may have rolled back to one meanwhile
        for version in retired:
            self._drop_collections(version)
            log("reverse_etl", f"dropped version {version} of MongoDB")
        self._change(lambda pointer: pointer.without(retired))

    def _pointer(self) -> PointerDocument:
        return PointerDocument.from_document(self._database["publications"].find_one({"_id": _POINTER_ID}))

    def _change(self, change: Callable[[PointerDocument], PointerDocument]) -> None:
        """Replace the pointer document; try again if another process changed it meanwhile."""
        publications = self._database["publications"]
        while True:
            before = self._pointer()
            after = change(before)
            if after == before:
                return
            if before.revision:
                found = publications.replace_one({"_id": _POINTER_ID, "revision": before.revision}, after.document())
                if found.matched_count:
                    return
            else:
                try:
                    publications.insert_one(after.document())
                    return
                except DuplicateKeyError:
                    continue

    def _fill_popular(self, version: str, popular: pa.Table) -> None:
        collection = self._database[f"popular_{version}"]
        collection.insert_many(_popular_documents(popular), ordered=False)
        collection.create_index([("list", 1), ("folded", 1)])  # for readers that ignore case

    def _update_popular(self, version: str, popular: pa.Table) -> None:
        """Replace each fallback list as a whole, and remove those of genres that no game has any more."""
        published = self.popular_games(version)
        collection, documents = self._database[f"popular_{version}"], _popular_documents(popular)
        next(each for each in documents if each.get("_id") == "")["published"] = published
        before = {(each["list"], each["genre"]): each["_id"] for each in collection.find({}, {"list": 1, "genre": 1})}
        replaced = [
            ReplaceOne({"_id": before.pop(key)}, document) if (key := (document["list"], document["genre"])) in before
            else InsertOne(document)
            for document in documents
        ]  # fmt: skip
        collection.bulk_write([*replaced, *(DeleteOne({"_id": each}) for each in before.values())], ordered=False)

    def _recommendations(self, version: str) -> pymongo.collection.Collection[_Document]:
        return self._database[f"recommendations_{version}"]

    def _count_users(self, version: str) -> int:
        """Count the users of a version by the index: without the hint, MongoDB reads all documents."""
        return self._recommendations(version).count_documents({}, hint="_id_")

    def _drop_collections(self, version: str) -> None:
        for kind in ("recommendations", "popular"):
            self._database.drop_collection(f"{kind}_{version}")


def _documents(rows: pa.RecordBatch | pa.Table) -> dict[int, _Document]:
    """Return the document of each user."""
    documents: dict[int, _Document] = {}
    for row in rows.to_pylist():
        user, name = row.pop("user_id"), row.pop("list")
        documents.setdefault(user, {"_id": user, "lists": {}})["lists"][name] = row
    return documents


def _count_games(document: _Document | None) -> int:
    return sum(len(each["game_ids"]) for each in document["lists"].values()) if document else 0


def _published_games(document: _Document | None) -> list[int]:
    """Return the first relevant games that were published for a user, which stay for monitoring."""
    if document is None:
        return []
    games: list[int] = document.get("published", document["lists"][RELEVANCE]["game_ids"])
    return games[:FIRST_GAMES]


def _popular_documents(popular: pa.Table) -> list[_Document]:
    """Return the document of each fallback list."""
    lists: dict[tuple[str, str], _Document] = {}
    for row in popular.sort_by([(key, "ascending") for key in ("list", "genre", "rank")]).to_pylist():
        name, genre = row["list"], row["genre"]
        empty: _Document = {"list": name, "genre": genre, "folded": genre.lower(), "game_ids": [], "scores": []}
        if name == POPULAR_LIST:
            empty["_id"] = genre
        document = lists.setdefault((name, genre), empty)
        document["game_ids"].append(row["game_id"])
        document["scores"].append(row["score"])
    return list(lists.values())


@dataclass(frozen=True)
class PointerDocument:
    """The pointer document: the current version and all others. Changing it is the switch.

    Everything about versions is in one document, because every kind of MongoDB server changes a document as a whole or
    not at all. It is replaced only if its revision is still the one that was read.

    Attributes:
        revision: Number of changes so far.
        version: Version that readers see; None before the first publication.
        kept: Versions that can be made current.
        loading: Versions that never were current.
        retired: Names of versions that were kept and are being dropped.
    """

    revision: int = 0
    version: str | None = None
    kept: tuple[KeptVersion, ...] = ()
    loading: tuple[UnpublishedVersion, ...] = ()
    retired: tuple[str, ...] = ()

    def with_unpublished(self, info: VersionInfo) -> PointerDocument:
        """Add a version that is going to be loaded."""
        return replace(self, loading=(*self.loading, UnpublishedVersion(info)))

    def with_loaded(self, loaded: UnpublishedVersion) -> PointerDocument:
        """Set the figures of a version that has been loaded."""
        loading = (loaded if each.info.version == loaded.info.version else each for each in self.loading)
        return replace(self, loading=tuple(loading))

    def with_current(self, version: str, now: datetime) -> PointerDocument:
        """Make a version current.

        Raises:
            UserError: The version is neither kept nor completely loaded.
        """
        if version == self.version:
            return self
        number = max((each.last_switch for each in self.kept), default=0) + 1
        kept = [replace(each, current=False) for each in self.kept]
        for index, each in enumerate(kept):
            if each.version == version:
                kept[index] = replace(each, last_switch=number, current=True)
                return replace(self, version=version, kept=tuple(kept))
        for loaded in self.loading:
            if loaded.info.version == version and loaded.users:
                new = KeptVersion(
                    **asdict(loaded.info),
                    users=loaded.users,
                    rows=loaded.rows,
                    **asdict(loaded.personalisation),
                    published_at=now,
                    first_switch=number,
                    last_switch=number,
                    current=True,
                )
                others = tuple(other for other in self.loading if other is not loaded)
                return replace(self, version=version, kept=(*kept, new), loading=others)
        raise UserError(f"The version {version} is not in MongoDB, or not complete: publish it again.")

    def with_counted(self, version: str, users: int, rows: int) -> PointerDocument:
        """Count users and recommended games that an update added to a version."""
        return self._with_kept(version, lambda kept: replace(kept, users=kept.users + users, rows=kept.rows + rows))

    def with_refreshed(self, update: VersionUpdate) -> PointerDocument:
        """Name the snapshot of an update."""
        return self._with_kept(update.version, lambda kept: replace(kept, refreshed_snapshot_id=update.snapshot_id))

    def _with_kept(self, version: str, change: Callable[[KeptVersion], KeptVersion]) -> PointerDocument:
        kept = (change(each) if each.version == version else each for each in self.kept)
        return replace(self, kept=tuple(kept))

    def with_retired(self, versions: Collection[str]) -> PointerDocument:
        """Mark kept versions as to be dropped, except one that has become current."""
        old = [each for each in self.kept if each.version in versions and not each.current]
        return replace(
            self,
            kept=tuple(each for each in self.kept if each not in old),
            retired=(*self.retired, *(each.version for each in old)),
        )

    def without(self, versions: Collection[str]) -> PointerDocument:
        """Remove versions that are not kept."""
        return replace(
            self,
            loading=tuple(each for each in self.loading if each.info.version not in versions),
            retired=tuple(version for version in self.retired if version not in versions),
        )

    def document(self) -> dict[str, Any]:
        """The document to store, with the next revision; dates as ISO strings, as MongoDB has only timestamps."""
        return {
            "_id": _POINTER_ID,
            "revision": self.revision + 1,
            "version": self.version,
            "kept": [{**asdict(each), "as_of": each.as_of.isoformat()} for each in self.kept],
            "loading": [each.document() for each in self.loading],
            "retired": list(self.retired),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> PointerDocument:
        """Read the stored document, None if it does not exist."""
        if document is None:
            return cls()
        return cls(
            document["revision"],
            document["version"],
            tuple(KeptVersion(**_with_date(each)) for each in document["kept"]),
            tuple(UnpublishedVersion.from_document(_with_date(each)) for each in document["loading"]),
            tuple(document["retired"]),
        )


@dataclass(frozen=True)
class UnpublishedVersion:
    """A version that never was current, its size, which is 0 until it is complete, and how personal it is."""

    info: VersionInfo
    users: int = 0
    rows: int = 0
    personalisation: Personalisation = field(default_factory=Personalisation)

    def document(self) -> dict[str, Any]:
        """A part of the document to store."""
        figures = {"users": self.users, "rows": self.rows, "personalisation": asdict(self.personalisation)}
        return {**asdict(self.info), "as_of": self.info.as_of.isoformat(), **figures}

    @classmethod
    def from_document(cls, stored: dict[str, Any]) -> UnpublishedVersion:
        """Read a part of the stored document."""
        users, rows, personalisation = (stored.pop(name) for name in ("users", "rows", "personalisation"))
        return cls(VersionInfo(**stored), users, rows, Personalisation(**personalisation))


def _with_date(stored: Mapping[str, Any]) -> dict[str, Any]:
    return {**stored, "as_of": date.fromisoformat(stored["as_of"])}
