import os

import psycopg2
import pytest

from demo.containers import Comparison, _copied, compare
from steam_recsys.database.connection import create_schema
from steam_recsys.errors import UserError

ONE = {1: ([7, 8], [0.5, 0.25]), 2: ([9], [1.0])}


def test_equal_recommendations_are_the_same():
    assert compare(ONE, ONE) == Comparison(users=2, differing=0, largest_difference=0.0)
    assert compare(ONE, ONE).same


@pytest.mark.parametrize(
    "other",
    [
        {1: ([8, 7], [0.5, 0.25]), 2: ([9], [1.0])},
        {1: ([7], [0.5]), 2: ([9], [1.0])},
        {1: ([7, 8], [0.5, 0.25])},
        {**ONE, 3: ([7], [0.5])},
        {1: ([7, 8], [0.5, 0.2498]), 2: ([9], [1.0])},
    ],
)
def test_another_order_game_user_or_score_is_not_the_same(other):
    assert not compare(ONE, other).same
    assert not compare(other, ONE).same


def test_nothing_is_not_the_same_as_nothing():
    assert not compare({}, {}).same


def test_a_score_may_differ_by_a_rounding():
    assert compare(ONE, {1: ([7, 8], [0.50001, 0.25]), 2: ([9], [1.0])}).same


@pytest.mark.parametrize(
    ("games", "scores", "same"),
    [
        ([8, 7], [0.500004, 0.5], True),
        ([7, 9], [0.5, 0.499998], True),
        ([8, 7], [0.5, 0.49], False),
        ([9, 8], [0.5, 0.499996], False),
    ],
)
def test_games_may_change_places_only_where_rounding_decides(games, scores, same):
    tie = {1: ([7, 8], [0.5, 0.499996])} if same else {1: ([7, 8], [0.5, 0.49])}
    assert compare(tie, {1: (games, scores)}).same == same
    assert compare({1: (games, scores)}, tie).same == same


def test_a_database_is_copied_without_what_was_published_and_the_copy_goes(postgres, connection, database):
    url = os.environ["DATABASE_URL"]
    create_schema(connection, "steam")
    create_schema(connection, "recsys")
    connection.close()
    with _copied(url) as copy:
        inside = psycopg2.connect(copy)
        with inside.cursor() as cursor:
            cursor.execute("SELECT to_regnamespace('steam') IS NOT NULL, to_regnamespace('recsys') IS NULL")
            assert cursor.fetchone() == (True, True)
        inside.close()
    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        psycopg2.connect(copy)


def test_a_database_that_is_in_use_gets_one_sentence(connection, database):
    sentence = r"The database test_\w+ cannot be copied \(.*being accessed by other users.*\): end what uses it\."
    with pytest.raises(UserError, match=sentence), _copied(os.environ["DATABASE_URL"]):
        pass
