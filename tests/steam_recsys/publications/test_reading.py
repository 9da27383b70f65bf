"""Reading a kept version from its destination."""

from pathlib import Path

from psycopg2.extensions import connection as Connection

from steam_recsys.publications.destinations import DestinationConfig, open_destinations
from tests.components.reverse_etl.predicted import publish_version, write_predictions
from tests.shop import add_game, add_user


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
