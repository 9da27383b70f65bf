"""Publishing to MongoDB, alone and together with PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pymongo
import pytest
from psycopg2.extensions import connection as Connection

from steam_recsys.errors import UserError
from steam_recsys.publications import mongo as module
from steam_recsys.publications.destinations import DestinationConfig, Destinations, kept_versions, reconcile, rollback
from steam_recsys.publications.mongo import MongoDestination
from steam_recsys.publications.personalisation import FIRST_GAMES
from tests.components.reverse_etl.predicted import ListRow, marked, overall, publish_version, write_predictions
from tests.components.reverse_etl.test_publication import die, kept, shown, tables, tables_of
from tests.shop import add_game, add_user

Mongo = pymongo.database.Database


def shown_in_mongo(mongo: Mongo) -> tuple[str | None, float | None, int]:
    """The version, the mark and the number of users that a reader of MongoDB sees."""
    pointer = mongo.publications.find_one({"_id": "current"})
    if pointer is None or pointer["version"] is None:
        return None, None, 0
    rows = list(mongo[f"recommendations_{pointer['version']}"].find())
    return pointer["version"], max(row["lists"]["relevance"]["taste"][0] for row in rows), len(rows)


def collections(mongo: Mongo) -> set[str]:
    return set(mongo.list_collection_names()) - {"publications"}


@pytest.fixture
def mongo_only(database: str, mongodb: str) -> DestinationConfig:
    return DestinationConfig(database, "mongodb", mongodb)


def test_a_publication_in_mongodb_equals_the_shards(
    shop: Connection, mongo_only: DestinationConfig, mongo: Mongo, tmp_path: Path
) -> None:
    hostile = 'it\'s $where "quoted".\\\n\u202e<b>'
    games = [add_game(shop, name) for name in ("A", "B")]
    users = [add_user(shop, name) for name in ("u", "v")]
    interests: ListRow = (users[0], "interests", games[:1], [0.25], [0.125], [games[1]])
    shards = [
        [(users[0], games, [0.5, 0.25], [None, games[0]]), interests],
        [(users[1], games[:1], [-1.5], [games[1]])],
    ]
    popular = [*overall(games), (hostile, 1, games[1], 3.0), ("discovery", "", 1, games[1], 2.0)]
    done = publish_version(mongo_only, write_predictions(tmp_path / "p", shards, popular))
    assert (done.users, done.rows, done.switched, list(done.acceptance)) == (2, 4, True, ["MongoDB"])
    relevance = {"game_ids": games, "taste": [0.5, 0.25], "popularity": [0.0, 0.0], "because": [None, games[0]]}
    pool = {"game_ids": games[:1], "taste": [0.25], "popularity": [0.125], "because": [games[1]]}
    last = {"game_ids": games[:1], "taste": [-1.5], "popularity": [0.0], "because": [games[1]]}
    assert list(mongo.recommendations_v1.find().sort("_id")) == [
        {"_id": users[0], "lists": {"relevance": relevance, "interests": pool}},
        {"_id": users[1], "lists": {"relevance": last}},
    ]
    assert mongo.popular_v1.find_one({"list": "popular", "folded": hostile.lower()})["game_ids"] == [games[1]]
    assert mongo.popular_v1.find_one({"_id": ""})["game_ids"] == games
    assert mongo.popular_v1.find_one({"list": "discovery", "genre": ""})["scores"] == [2.0]
    assert "list_1_folded_1" in mongo.popular_v1.index_information()
    assert tables(shop) == set()


def test_users_are_sampled_for_any_range_of_ids(
    shop: Connection, mongo_only: DestinationConfig, mongo: Mongo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_version(mongo_only, marked(tmp_path / "1", shop, 1.0, users=40), "v1")
    monkeypatch.setattr(module, "SAMPLED_USERS", 7)
    sampled = MongoDestination(mongo, mongo_only.database).current_version()
    assert sampled is not None
    assert len(sampled.sample) == 7
    games = {
        user["_id"]: user["lists"]["relevance"]["game_ids"][:FIRST_GAMES] for user in mongo.recommendations_v1.find()
    }
    assert all(games[user] == sample for user, sample in sampled.sample.items())


def test_versions_in_mongodb_are_kept_rolled_back_to_and_dropped(
    shop: Connection, mongo_only: DestinationConfig, mongo: Mongo, tmp_path: Path
) -> None:
    for number in range(1, 5):
        publish_version(mongo_only, marked(tmp_path / str(number), shop, number, users=2), f"v{number}")
    assert collections(mongo) == tables_of("v2", "v3", "v4")
    assert rollback(mongo_only) == "v3"
    assert shown_in_mongo(mongo) == ("v3", 3.0, 2)
    assert not publish_version(mongo_only, tmp_path / "4", "v4", [(1, 2)]).switched
    versions = kept_versions(mongo_only)["MongoDB"]
    assert [(each.version, each.current) for each in versions] == [("v4", False), ("v3", True), ("v2", False)]
    with pytest.raises(UserError, match=r"v1 is not kept: choose one of v4, v3, v2\."):
        rollback(mongo_only, "v1")


def test_a_version_rolled_back_to_in_the_meantime_is_not_dropped(
    shop: Connection, mongo_only: DestinationConfig, mongo: Mongo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        publish_version(mongo_only, marked(tmp_path / str(number), shop, number, users=2), f"v{number}")
    drop = MongoDestination.drop

    def after_a_rollback(destination: MongoDestination, versions: list[str]) -> None:
        destination.point_to("v1")
        drop(destination, versions)

    monkeypatch.setattr(MongoDestination, "drop", after_a_rollback)
    publish_version(mongo_only, marked(tmp_path / "4", shop, 4.0, users=2), "v4")
    assert shown_in_mongo(mongo) == ("v1", 1.0, 2)
    assert collections(mongo) == tables_of("v1", "v2", "v3", "v4")


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://shop:pass/word@127.0.0.1/recsys",
        "mongodb://shop:pass@word@127.0.0.1/recsys",
        "mongodb://shop:12/word@127.0.0.1/recsys",  # a host `shop` and its port, to the driver
        "mongodb+srv://shop:12/word@127.0.0.1/recsys",
    ],
)
def test_an_invalid_url_is_reported_without_the_password(
    shop: Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("WRONG_URL", url)
    with pytest.raises(UserError, match=r"^WRONG_URL is not the URL of a MongoDB: set it to mongodb://") as raised:
        publish_version(
            DestinationConfig(database, "mongodb", "env:WRONG_URL"), marked(tmp_path / "1", shop, 1.0, users=2)
        )
    assert "%2F for /" in str(raised.value)
    assert "word@" not in str(raised.value)
    assert "12" not in str(raised.value)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            pymongo.errors.OperationFailure("S3cr3t", 18),
            r"\(error 18\): correct the user or the password in",
        ),
        (pymongo.errors.OperationFailure("S3cr3t", 13), r"\(error 13\): grant its user the role readWrite"),
        (pymongo.errors.OperationFailure("S3cr3t", 7), r"\(error 7\): see its log"),
        (pymongo.errors.ServerSelectionTimeoutError("S3cr3t: timed out"), r"\(no answer\): check that it is up"),
        (pymongo.errors.InvalidOperation("S3cr3t"), r"\(InvalidOperation\): see its log"),
    ],
)
def test_errors_of_mongodb_are_told_without_the_drivers_words(mongodb: str, error: Exception, expected: str) -> None:
    failed = pytest.raises(UserError, match=rf"The MongoDB in MONGODB_URL failed {expected}")
    with failed as raised, module.open_mongo(mongodb, "env:DATABASE_URL"):
        raise error
    assert "S3cr3t" not in str(raised.value)


def test_leftovers_of_a_killed_run_in_mongodb_are_dropped_by_the_next_run(
    shop: Connection, mongo_only: DestinationConfig, mongo: Mongo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_version(mongo_only, marked(tmp_path / "1", shop, 1.0, users=2), "v1")
    with monkeypatch.context() as patch:
        patch.setattr(Destinations, "switch", die)
        with pytest.raises(MemoryError):
            publish_version(mongo_only, marked(tmp_path / "2", shop, 2.0, users=2), "v2")
    assert (shown_in_mongo(mongo), collections(mongo)) == (("v1", 1.0, 2), tables_of("v1", "v2"))
    publish_version(mongo_only, marked(tmp_path / "3", shop, 3.0, users=2), "v3")
    assert (shown_in_mongo(mongo), collections(mongo)) == (("v3", 3.0, 2), tables_of("v1", "v3"))


def test_mongodb_refuses_what_postgresql_refuses(
    shop: Connection, both: DestinationConfig, mongo_only: DestinationConfig, mongo: Mongo, tmp_path: Path
) -> None:
    publish_version(both, marked(tmp_path / "1", shop, 1.0, users=2), "v1")
    wrong = write_predictions(tmp_path / "wrong", [[(1, [1], [float("nan")], [None])]], overall([1]))
    for config in (both, mongo_only):
        with pytest.raises(
            UserError, match=r"Version v2 is not accepted\. Tastes and popularities that are null or not finite: 1"
        ):
            publish_version(config, wrong, "v2")
    assert (shown(shop), shown_in_mongo(mongo)) == (("v1", 1.0, 2), ("v1", 1.0, 2))
    assert (tables(shop), collections(mongo)) == (tables_of("v1"), tables_of("v1"))


def test_both_switch_and_roll_back_together(
    shop: Connection, both: DestinationConfig, mongo: Mongo, tmp_path: Path
) -> None:
    for number in (1, 2):
        done = publish_version(both, marked(tmp_path / str(number), shop, number, users=2), f"v{number}")
        assert list(done.acceptance) == ["PostgreSQL", "MongoDB"]
    assert shown(shop) == shown_in_mongo(mongo) == ("v2", 2.0, 2)
    assert rollback(both) == "v1"
    assert shown(shop) == shown_in_mongo(mongo) == ("v1", 1.0, 2)


def test_a_failed_switch_of_mongodb_switches_neither(
    shop: Connection, both: DestinationConfig, mongo: Mongo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_version(both, marked(tmp_path / "1", shop, 1.0, users=2), "v1")
    predictions = marked(tmp_path / "2", shop, 2.0, users=2)
    switch = MongoDestination.point_to

    def fail_afterwards(self: MongoDestination, version: str) -> None:
        switch(self, version)
        if version == "v2":
            raise pymongo.errors.AutoReconnect("the answer was lost")

    with monkeypatch.context() as patch:
        patch.setattr(MongoDestination, "point_to", fail_afterwards)
        with pytest.raises(UserError, match=r"The MongoDB in MONGODB_URL failed \(the connection was lost\): check"):
            publish_version(both, predictions, "v2")
    assert shown(shop) == shown_in_mongo(mongo) == ("v1", 1.0, 2)
    publish_version(both, predictions, "v2")
    assert shown(shop) == shown_in_mongo(mongo) == ("v2", 2.0, 2)


def test_a_rollback_to_a_version_missing_in_mongodb_changes_neither(
    shop: Connection, both: DestinationConfig, database: str, mongo: Mongo, tmp_path: Path
) -> None:
    publish_version(database, marked(tmp_path / "1", shop, 1.0, users=2), "v1")
    publish_version(both, marked(tmp_path / "2", shop, 2.0, users=2), "v2")
    with pytest.raises(UserError, match="The version v1 is not in MongoDB"):
        rollback(both)
    assert shown(shop) == shown_in_mongo(mongo) == ("v2", 2.0, 2)


def test_a_version_in_only_one_of_two_databases_is_completed(
    shop: Connection, both: DestinationConfig, database: str, mongo: Mongo, tmp_path: Path
) -> None:
    predictions = marked(tmp_path / "1", shop, 1.0, users=2)
    publish_version(database, predictions, "v1")
    marked(tmp_path / "1", shop, 1.0, users=2)
    assert list(publish_version(both, predictions, "v1").acceptance) == ["MongoDB"]
    assert shown(shop) == shown_in_mongo(mongo) == ("v1", 1.0, 2)
    assert len(kept(database)) == 1


def test_reconciling_changes_nothing_if_both_agree_and_refuses_a_version_kept_in_one(
    shop: Connection, both: DestinationConfig, database: str, mongo: Mongo, tmp_path: Path
) -> None:
    publish_version(database, marked(tmp_path / "1", shop, 1.0, users=2), "v1")
    with pytest.raises(UserError, match="MongoDB does not keep v1, which PostgreSQL shows: publish to both again"):
        reconcile(both)
    assert shown_in_mongo(mongo) == (None, None, 0)
    publish_version(both, marked(tmp_path / "2", shop, 2.0, users=2), "v2")
    assert reconcile(both) == "v2"
    assert shown_in_mongo(mongo) == ("v2", 2.0, 2)


def test_an_unresponsive_mongodb_is_reported(
    shop: Connection, both: DestinationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictions = marked(tmp_path / "1", shop, 1.0, users=2)
    monkeypatch.setattr("steam_recsys.publications.mongo._CONNECT_SECONDS", 0.1)
    for url in ("mongodb://ann:hush@127.0.0.1:1/shop", "nonsense"):
        monkeypatch.setenv("MONGODB_URL", url)
        with pytest.raises(UserError, match=r"The MongoDB in MONGODB_URL failed \(.*\): check") as raised:
            publish_version(both, predictions)
        assert "hush" not in str(raised.value)
        assert "\n" not in str(raised.value)
    assert tables(shop) == set()


def test_two_publishers_to_both_databases_take_turns(
    shop: Connection, both: DestinationConfig, mongo: Mongo, tmp_path: Path, database: str
) -> None:
    folders = [marked(tmp_path / str(number), shop, number, users=3) for number in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(publish_version, [both] * 2, folders, ["v1", "v2"]))
    assert all(each.switched for each in done)
    assert shown(shop) == shown_in_mongo(mongo)
    assert tables(shop) == collections(mongo) == tables_of("v1", "v2")


def test_an_unknown_destination_is_refused(shop: Connection, database: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="publish_to is 'oracle': choose one of postgresql, mongodb, both"):
        publish_version(DestinationConfig(database, "oracle"), marked(tmp_path / "1", shop, 1.0, users=2))
