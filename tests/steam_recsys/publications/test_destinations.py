"""Destinations: what they keep, and rolling back to a kept version."""

from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection

from steam_recsys.errors import UserError
from steam_recsys.publications.destinations import DestinationConfig, open_destinations, rollback
from steam_recsys.publications.lease import publishing_lease
from tests.components.reverse_etl.predicted import marked, publish_version, write_predictions
from tests.components.reverse_etl.test_publication import shown, tables, tables_of
from tests.shop import add_game, add_user


@pytest.fixture
def three_versions(shop: Connection, database: str, tmp_path: Path) -> Connection:
    for number in range(1, 4):
        publish_version(database, marked(tmp_path / str(number), shop, number, users=2), f"v{number}")
    return shop


def test_a_rollback_goes_one_version_back_each_time_until_none_is_left(
    three_versions: Connection, database: str
) -> None:
    assert rollback(DestinationConfig(database)) == "v2"
    assert shown(three_versions) == ("v2", 2.0, 2)
    assert rollback(DestinationConfig(database)) == "v1"
    with pytest.raises(UserError, match="no version before v1 to roll back to: publish a new one"):
        rollback(DestinationConfig(database))
    assert shown(three_versions) == ("v1", 1.0, 2)


def test_a_rollback_can_name_its_version_even_a_newer_one(three_versions: Connection, database: str) -> None:
    assert rollback(DestinationConfig(database), "v1") == "v1"
    assert rollback(DestinationConfig(database), "v1") == "v1"
    assert rollback(DestinationConfig(database), "v3") == "v3"
    assert shown(three_versions) == ("v3", 3.0, 2)


def test_a_rollback_to_a_dropped_version_lists_the_kept_ones(three_versions: Connection, database: str) -> None:
    with pytest.raises(UserError, match=r"The version v0 is not kept: choose one of v3, v2, v1\."):
        rollback(DestinationConfig(database), "v0")


def test_publishing_the_version_rolled_back_from_does_not_undo_the_rollback(
    three_versions: Connection, database: str, tmp_path: Path
) -> None:
    rollback(DestinationConfig(database))
    assert not publish_version(database, tmp_path / "3", "v3").switched
    assert shown(three_versions) == ("v2", 2.0, 2)


def test_a_version_rolled_back_to_is_kept_and_is_the_next_rollback_target(
    three_versions: Connection, database: str, tmp_path: Path
) -> None:
    rollback(DestinationConfig(database), "v1")
    publish_version(database, marked(tmp_path / "4", three_versions, 4, users=2), "v4")
    assert tables(three_versions) == tables_of("v1", "v3", "v4")
    assert rollback(DestinationConfig(database)) == "v1"


def test_a_rollback_does_not_wait_for_a_publication_under_way(three_versions: Connection, database: str) -> None:
    with publishing_lease(database, "v4"):
        assert rollback(DestinationConfig(database)) == "v2"


def test_first_and_popular_games_are_the_same_in_both_databases(
    shop: Connection, both: DestinationConfig, tmp_path: Path
) -> None:
    games = [add_game(shop, name) for name in "ABC"]
    users = [add_user(shop, name) for name in "uv"]
    rows = [(user, games, [3.0, 2.0, 1.0], [None] * 3) for user in users]
    popular = [("", 1, games[2], 2.0), ("", 2, games[0], 1.0), ("Puzzle", 1, games[1], 1.0)]
    publish_version(both, write_predictions(tmp_path / "p", [rows], popular))
    with open_destinations(both) as destinations:
        assert [each.name for each in destinations.all] == ["PostgreSQL", "MongoDB"]
        for destination in destinations.all:
            assert destination.first_games("v1", [users[1], 99], 2) == {users[1]: games[:2]}
            assert destination.first_games("v1", [], 2) == {}
            assert destination.popular_games("v1") == [games[2], games[0]]
