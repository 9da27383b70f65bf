"""MongoDB as a destination: a version is a pair of collections, and a pointer document names the one to read.

A reader takes the version from the pointer, `publications.find_one({"_id": "current"})["version"]`, and then reads
`recommendations_<version>`, a document a user, and `popular_<version>`, a document a genre, whose `_id` is the genre or
the empty string for the overall list. It keeps to one version for as long as it likes: the last versions are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pymongo
from pymongo import MongoClient, WriteConcern
from pymongo.database import Database
from pymongo.errors import ConfigurationError, DuplicateKeyError, InvalidURI, PyMongoError

from steam_recsys.data.predictions import POPULAR_FILE
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.publications.known_ids import known_games, known_users
from steam_recsys.publications.loading import Loading, Part
from steam_recsys.publications.mongo.registry import KEY, Registry
from steam_recsys.publications.predictions import Predictions, read_popular
from steam_recsys.publications.version_stats import FIRST_GAMES, SAMPLED_USERS, Shown, VersionStats
from steam_recsys.publications.versions import KeptVersion, VersionInfo, current
from steam_recsys.secrets import resolve_secret

DATABASE = "recsys"
"""The database's name where the URL has none."""

SWITCH_SECONDS = 0.5
"""How long a switch may take: where PostgreSQL switches too, its readers wait for that."""

_CHUNK_DOCUMENTS = 1000
_SELECTION_MS = 10_000

_Document = dict[str, Any]


@contextmanager
def open_mongo(reference: str, shop: str) -> Iterator[MongoDestination]:
    """The database that a reference such as `env:MONGODB_URL` names.

    Args:
        reference: names the URL, `mongodb://user@host/database`.
        shop: reference to the URL of the shop's PostgreSQL, which says what users and games there are.

    Raises:
        UserError: the URL is none, or the database cannot be reached or gives up in the body.
    """
    name, url = reference.removeprefix("env:"), resolve_secret(reference)
    try:
        client = MongoClient[_Document](
            url, serverSelectionTimeoutMS=_SELECTION_MS, appname="steam-recsys", tz_aware=True
        )
        database = client.get_default_database(DATABASE, write_concern=WriteConcern("majority"))
    except (ConfigurationError, InvalidURI, ValueError):  # whose words may hold the password
        raise UserError(f"{name} is not the URL of a MongoDB: set it to mongodb://user@host/database.") from None
    try:
        with client:
            yield MongoDestination(database, shop)
    except PyMongoError as error:
        reason = re.sub(r"\s+", " ", str(error)).partition(", Timeout:")[0].strip().rstrip(".")
        raise UserError(f"The MongoDB in {name} gave up ({reason}): see that it is up, then run again.") from None


class MongoDestination:
    """See `steam_recsys.publications.destinations.Destination`."""

    name = "MongoDB"

    def __init__(self, database: Database[_Document], shop: str) -> None:
        self._database = database
        self._shop = shop

    def kept(self) -> list[KeptVersion]:
        """See `Destination.kept`."""
        return sorted(self._registry().kept, key=lambda each: -each.first_switch)

    def shown(self) -> Shown | None:
        """See `Destination.shown`."""
        now = current(self.kept())
        if now is None:
            return None
        found = self._recommendations(now.version).aggregate(
            [{"$sample": {"size": SAMPLED_USERS}}, {"$project": {"game_ids": {"$slice": ["$game_ids", FIRST_GAMES]}}}]
        )
        return Shown(now.version, now.users, now.rows, {each["_id"]: each["game_ids"] for each in found})

    def first_games(self, version: str, users: Sequence[int], k: int) -> dict[int, list[int]]:
        """See `Destination.first_games`."""
        found = self._recommendations(version).find({"_id": {"$in": list(users)}}, {"game_ids": {"$slice": k}})
        return {each["_id"]: each["game_ids"] for each in found}

    def popular_games(self, version: str) -> list[int]:
        """See `Destination.popular_games`."""
        found = self._database[f"popular_{version}"].find_one({"_id": ""})
        return found["game_ids"] if found else []

    def load(self, made: VersionInfo, predictions: Predictions, shown: Shown | None) -> tuple[VersionStats, int]:
        """See `Destination.load`: the version is registered first, so that a later run finds what a dead one left."""
        self._change(lambda registry: registry.registered(made))
        games = known_games(self._shop)
        with predictions.folder.local_path(POPULAR_FILE) as path:
            self._fill_popular(made.version, read_popular(path, games))
        loading = Loading(predictions, games, shown.sample if shown else {})
        collection = self._recommendations(made.version)

        def load(number: int, part: Part) -> int:
            for shard in part:
                known = known_users(self._shop, shard.first, shard.last)
                for batch in loading.batches(shard, known):
                    for start in range(0, len(batch), _CHUNK_DOCUMENTS):
                        collection.insert_many(_documents(batch.slice(start, _CHUNK_DOCUMENTS)), ordered=False)
            return 0

        census, _ = loading.run(load)
        self._change(lambda registry: registry.counted(made.version, census.users, census.rows))
        return census, collection.count_documents({})

    def point_to(self, version: str) -> None:
        """Make a version current, where it is not already.

        Raises:
            UserError: it is not there.
        """
        with pymongo.timeout(SWITCH_SECONDS):
            self._change(lambda registry: registry.switched(version, datetime.now(UTC)))

    def drop_unfinished(self) -> None:
        """See `Destination.drop_unfinished`."""
        self._drop_retired()
        unfinished = [each.made.version for each in self._registry().loading]
        for version in unfinished:
            self._drop_collections(version)
            log("reverse_etl", f"dropped version {version} of MongoDB, which was left unfinished")
        self._change(lambda registry: registry.without(unfinished))

    def drop(self, versions: Sequence[str]) -> None:
        """See `Destination.drop`: no reader is asked, as none holds a lock."""
        self._change(lambda registry: registry.retiring(versions))
        self._drop_retired()

    def _drop_retired(self) -> None:
        retired = self._registry().retired  # not what was to be: another may have gone back to it in between
        for version in retired:
            self._drop_collections(version)
            log("reverse_etl", f"dropped version {version} of MongoDB")
        self._change(lambda registry: registry.without(retired))

    def _registry(self) -> Registry:
        return Registry.from_document(self._database["publications"].find_one({"_id": KEY}))

    def _change(self, change: Callable[[Registry], Registry]) -> None:
        """Replace the pointer document; again where another changed it in between."""
        publications = self._database["publications"]
        while True:
            before = self._registry()
            after = change(before)
            if after == before:
                return
            if before.revision:
                found = publications.replace_one({"_id": KEY, "revision": before.revision}, after.document())
                if found.matched_count:
                    return
            else:
                try:
                    publications.insert_one(after.document())
                    return
                except DuplicateKeyError:
                    continue

    def _fill_popular(self, version: str, popular: pa.Table) -> None:
        lists: dict[str, _Document] = {}
        for row in popular.sort_by([("genre", "ascending"), ("rank", "ascending")]).to_pylist():
            genre = row["genre"]
            empty: _Document = {"_id": genre, "folded": genre.lower(), "game_ids": [], "scores": []}
            found = lists.setdefault(genre, empty)
            found["game_ids"].append(row["game_id"])
            found["scores"].append(row["score"])
        collection = self._database[f"popular_{version}"]
        collection.insert_many(lists.values(), ordered=False)
        collection.create_index("folded")  # for readers to whom case does not matter

    def _recommendations(self, version: str) -> pymongo.collection.Collection[_Document]:
        return self._database[f"recommendations_{version}"]

    def _drop_collections(self, version: str) -> None:
        for kind in ("recommendations", "popular"):
            self._database.drop_collection(f"{kind}_{version}")


def _documents(batch: pa.RecordBatch) -> list[_Document]:
    columns = (batch.column(name).to_pylist() for name in ("user_id", "game_ids", "scores", "because"))
    return [
        {"_id": user, "game_ids": games, "scores": scores, "because": because}
        for user, games, scores, because in zip(*columns, strict=True)
    ]
