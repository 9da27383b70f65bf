import os
import re

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from demo.containers import Comparison, _database_copy, compare
from steam_recsys.database.connection import create_schema
from steam_recsys.errors import UserError
from tests.databases import drop_database, execute

UNREACHABLE = "postgresql://ann@127.0.0.1:1/shop"
FIRST, SECOND, THIRD = (1, "relevance"), (2, "relevance"), (2, "discovery")
ONE = {FIRST: ([7, 8], [0.5, 0.25]), SECOND: ([9], [1.0])}


def test_equal_recommendations_are_the_same():
    assert compare(ONE, ONE) == Comparison(lists=2, differing=0, largest_difference=0.0)
    assert compare(ONE, ONE).same


@pytest.mark.parametrize(
    "other",
    [
        {FIRST: ([8, 7], [0.5, 0.25]), SECOND: ([9], [1.0])},
        {FIRST: ([7], [0.5]), SECOND: ([9], [1.0])},
        {FIRST: ([7, 8], [0.5, 0.25])},
        {**ONE, THIRD: ([7], [0.5])},
        {FIRST: ([7, 8], [0.5, 0.2498]), SECOND: ([9], [1.0])},
    ],
)
def test_different_orders_games_lists_or_scores_are_not_the_same(other):
    assert not compare(ONE, other).same
    assert not compare(other, ONE).same


def test_empty_publications_are_not_the_same():
    assert not compare({}, {}).same


def test_scores_may_differ_by_rounding():
    assert compare(ONE, {FIRST: ([7, 8], [0.50001, 0.25]), SECOND: ([9], [1.0])}).same


@pytest.mark.parametrize(
    ("games", "scores", "same"),
    [
        ([8, 7], [0.500004, 0.5], True),
        ([7, 9], [0.5, 0.499998], True),
        ([8, 7], [0.5, 0.49], False),
        ([9, 8], [0.5, 0.499996], False),
    ],
)
def test_games_may_swap_ranks_only_if_rounding_decides(games, scores, same):
    tie = {FIRST: ([7, 8], [0.5, 0.499996])} if same else {FIRST: ([7, 8], [0.5, 0.49])}
    assert compare(tie, {FIRST: (games, scores)}).same == same
    assert compare({FIRST: (games, scores)}, tie).same == same


def test_a_database_is_copied_without_publications_and_the_copy_is_dropped(postgres, connection, database):
    url = os.environ["DATABASE_URL"]
    create_schema(connection, "steam")
    create_schema(connection, "recsys")
    connection.close()
    with _database_copy(url) as copy:
        inside = psycopg2.connect(copy)
        with inside.cursor() as cursor:
            cursor.execute("SELECT to_regnamespace('steam') IS NOT NULL, to_regnamespace('recsys') IS NULL")
            assert cursor.fetchone() == (True, True)
        inside.close()
    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        psycopg2.connect(copy)


def test_a_database_in_use_cannot_be_copied(connection, database):
    sentence = r"The database test_\w+ cannot be copied \(.*being accessed by other users.*\): close its connections\."
    with pytest.raises(UserError, match=sentence), _database_copy(os.environ["DATABASE_URL"]):
        pass


def test_a_database_of_the_same_name_that_is_not_the_demos_is_kept(postgres, connection, database):
    url = os.environ["DATABASE_URL"]
    connection.close()
    name = f"{parse_dsn(url)['dbname']}_containers"
    execute(postgres, "CREATE DATABASE {}", name)
    sentence = f"The server has a database {name} that is not the demo's: rename it, or drop it."
    with pytest.raises(UserError, match=re.escape(sentence)), _database_copy(url):
        pass
    psycopg2.connect(postgres.url(name)).close()
    drop_database(postgres, name)


def test_a_server_that_refuses_the_connection_is_one_sentence():
    with pytest.raises(UserError, match="The database shop cannot be copied"), _database_copy(UNREACHABLE):
        pass


def test_a_url_without_a_database_is_one_sentence():
    with (
        pytest.raises(UserError, match="DATABASE_URL names no database: add its name"),
        _database_copy("postgresql://ann@127.0.0.1:1"),
    ):
        pass
