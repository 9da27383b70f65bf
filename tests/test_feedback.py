"""docs/feedback.md: every statement on the page runs, those of the website with the rights that the page gives it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from steam_recsys.database.connection import SQL_FOLDER
from steam_recsys.publications.control_group import in_control_group
from tests.components.reverse_etl.predicted import lists_of, overall, publish_version, write_predictions
from tests.shop import add_game, add_review, add_user

PAGE = (Path(__file__).parents[1] / "docs" / "feedback.md").read_text()
STATEMENTS = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
OWNERS = ("recsys.monitoring", "recsys.events", "recsys.in_control_group", "recsys.experiment_users")


@contextmanager
def as_role(connection: Connection, role: str) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"SET ROLE {role}")
        yield
        cursor.execute("RESET ROLE")


def rows(connection: Connection, statement: str) -> list[tuple]:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


@pytest.fixture
def website(shop: Connection, database: str, tmp_path: Path) -> Connection:
    """A published shop with one user, whose connection has the website's role."""
    games = [add_game(shop, f"Game {number}", genres=["Action"]) for number in range(1, 9)]
    user = add_user(shop, "player")
    add_review(shop, user, games[7])
    publish_version(database, write_predictions(tmp_path / "p", [lists_of(user, relevance=games[:4])], overall(games)))
    with shop.cursor() as cursor:
        cursor.execute((SQL_FOLDER / "shop_role.sql").read_text())
    return shop


def test_every_statement_of_the_page_runs_with_the_rights_of_its_section(website: Connection) -> None:
    assert len(STATEMENTS) == 9
    for statement in STATEMENTS:
        with as_role(website, "none" if any(name in statement for name in OWNERS) else "recsys_shop"):
            website.cursor().execute(statement)
    assert rows(website, "SELECT count(*) FROM recsys.events UNION ALL SELECT count(*) FROM recsys.dismissals") == [
        (0,), (0,)
    ]  # fmt: skip


def test_a_page_is_recorded_as_it_is_shown(website: Connection) -> None:
    with as_role(website, "recsys_shop"):
        shown = rows(website, STATEMENTS[0])
    assert len(shown) == 7
    assert {row[-1] for row in shown} == {"v1"}
    recorded = rows(website, "SELECT user_id, game_id, kind, version, shelf FROM recsys.events ORDER BY game_id")
    assert recorded == sorted((1, row[3], "shown", "v1", row[7]) for row in shown)


def test_the_website_cannot_read_events_and_others_cannot_record_them(website: Connection) -> None:
    with as_role(website, "recsys_shop"), pytest.raises(psycopg2.errors.InsufficientPrivilege):
        rows(website, "SELECT FROM recsys.events")
    website.cursor().execute("RESET ROLE")
    with website.cursor() as cursor:
        cursor.execute((Path(__file__).parents[1] / "explorer" / "reader.sql").read_text())
    with as_role(website, "recsys_reader"):
        for refused in ("SELECT recsys.record_event(1, 2, 'shown')", "SELECT FROM recsys.events"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                rows(website, refused)
        assert rows(website, "SELECT name FROM recsys.recommended_games(1, p_limit => 1)") == [("Game 1",)]


def test_a_dismissed_game_disappears_at_once_until_the_dismissal_is_undone(website: Connection) -> None:
    def shown() -> list[set[str]]:
        return [
            {name for (name,) in rows(website, f"SELECT name FROM recsys.{call}")}
            for call in ("recommended_games(1, p_limit => 50)", "recommended_games(1, 'sales')", "shelves(1)")
        ]

    everything = {f"Game {number}" for number in range(1, 8)}
    with as_role(website, "recsys_shop"):
        assert shown() == [everything] * 3
        rows(website, "SELECT recsys.record_event(1, g, 'dismissed') FROM unnest(ARRAY[3, 6, 6]) AS g")  # 6 is popular
        assert shown() == [everything - {"Game 3", "Game 6"}] * 3
        website.cursor().execute(STATEMENTS[3])
        assert shown() == [everything - {"Game 6"}] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("1, 2, 'seen'", "p_kind is 'seen': it must be shown, clicked, dismissed or bought."),
        ("1, 2, NULL", "p_kind is null: it must be shown, clicked, dismissed or bought."),
        ("NULL, 2, 'shown'", "p_user_id is null: record only events of users and games that have an id."),
        ("1, NULL, 'shown'", "p_game_id is null: record only events of users and games that have an id."),
        ("1, 2, 'shown', 'v1', repeat('x', 61)", "p_shelf is longer than 60 characters"),
    ],
)
def test_an_invalid_event_is_refused_in_a_sentence(website: Connection, arguments: str, message: str) -> None:
    with pytest.raises(psycopg2.errors.InvalidParameterValue) as refused:
        rows(website, f"SELECT recsys.record_event({arguments})")
    assert refused.value.diag.message_primary.startswith(message)


def test_an_event_without_a_version_is_of_the_current_one(website: Connection) -> None:
    rows(website, "SELECT recsys.record_event(1, 2, 'clicked')")
    assert rows(website, "SELECT version, shelf FROM recsys.events") == [("v1", "")]


def test_users_of_the_control_group_get_popular_games_that_they_have_not_reviewed(
    website: Connection, database: str, tmp_path: Path
) -> None:
    games = list(range(1, 9))
    users = [add_user(website, f"user {number}") for number in range(2, 30)]
    add_review(website, users[0], games[0])
    (control, *_), (other, *_) = (
        [user for (user,) in rows(website, f"SELECT user_id FROM steam.users WHERE {condition} ORDER BY user_id")]
        for condition in ("recsys.in_control_group(user_id, 0.4)", "NOT recsys.in_control_group(user_id, 0.4)")
    )
    add_review(website, control, games[0])
    popular = [*overall(games), *(("Action", rank, game, 1.0) for rank, game in enumerate(games, start=1))]
    folder = write_predictions(tmp_path / "control", [lists_of(other, relevance=games[::-1][:4])], popular)
    publish_version(database, folder, "v2", control_share=0.4)
    assert rows(website, f"SELECT name, list, version FROM recsys.recommended_games({control}, p_limit => 2)") == [
        ("Game 2", "popular", "v2"), ("Game 3", "popular", "v2")
    ]  # fmt: skip
    page = rows(website, f"SELECT name, list FROM recsys.shelves({control})")
    assert "Game 1" not in {name for name, _ in page}
    assert {name for _, name in page} <= {"popular", "genre", "new_releases", "discovery"}
    assert rows(website, "SELECT control_share FROM recsys.publications WHERE current") == [(0.4,)]


def test_the_group_is_the_same_in_python_and_in_the_database(website: Connection) -> None:
    users = np.array([-(2**63), -1, 0, 1, 2, 41, 2**31, 2**62, *range(1_000, 3_000)])
    for share in (0.0, 0.05, 0.1, 0.5):
        found = rows(
            website,
            f"SELECT recsys.in_control_group(u, {share}) FROM unnest(ARRAY{users.tolist()}::bigint[]) WITH ORDINALITY "
            "AS e (u, n) ORDER BY n",
        )
        assert in_control_group(users, share).tolist() == [each for (each,) in found]
    assert in_control_group(users, 0.1).mean() == pytest.approx(0.1, abs=0.02)
    assert (in_control_group(users, 0.1) <= in_control_group(users, 0.2)).all()
