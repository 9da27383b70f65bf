"""What `recsys user` prints."""

import argparse
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection

from commands.user import run, show_user
from steam_recsys.errors import UserError
from tests.components.reverse_etl.predicted import overall, publish_version, write_predictions
from tests.shop import add_game, add_ranking, add_user

ROOT = Path(__file__).parents[2]


@pytest.fixture
def published(shop: Connection, database: str, tmp_path: Path) -> str:
    """The reference to a database with recommendations of three games for the user ann."""
    games = [add_game(shop, "Alpha", released_on=date(2021, 5, 1)), add_game(shop, "[Beta]"), add_game(shop, "Gamma")]
    for rank, game in enumerate(reversed(games[:2]), start=4):
        add_ranking(shop, game, "Action", "Sales", rank)
        add_ranking(shop, game, "Puzzle", "Sales", rank - 3)
    ann = add_user(shop, "ann")
    publish_version(
        database, write_predictions(tmp_path, [[(ann, games, [3.0, 2.0, 1.0], [None] * 3)]], overall(games))
    )
    return database


def shown(printed: str) -> list[list[str]]:
    """The cells of the printed table."""
    rows = [line.replace("┃", "│").strip("│ ").split("│") for line in printed.splitlines() if line[:1] in "│┃" and line]
    return [[cell.strip() for cell in row] for row in rows]


@pytest.mark.parametrize(
    ("rank_by", "genre", "heading", "games"),
    [
        ("newest", None, "Released", [("Alpha", "2021-05-01"), ("[Beta]", "unknown"), ("Gamma", "unknown")]),
        ("sales", None, "Rank by sales", [("[Beta]", "1"), ("Alpha", "2"), ("Gamma", "unknown")]),
        ("sales", "action", "Rank by sales", [("[Beta]", "4"), ("Alpha", "5")]),
        ("revenue", None, "Rank by revenue", [("Alpha", "unknown"), ("[Beta]", "unknown"), ("Gamma", "unknown")]),
    ],
)
def test_an_order_shows_the_value_it_orders_by(
    rank_by: str, genre: str | None, heading: str, games: list[tuple[str, str]], published: str, capsys
) -> None:
    show_user(published, "ann", rank_by, genre)
    printed = capsys.readouterr().out
    head, *rows = shown(printed)
    assert head == ["Game", heading, "Why"]
    assert [tuple(row[1:3]) for row in rows] == games


def test_an_unknown_genre_lists_the_existing_ones(published: str, shop: Connection) -> None:
    with pytest.raises(UserError, match=r"^There is no genre Nonsense: the genres are Action, Puzzle\.$"):
        show_user(published, "ann", genre="Nonsense")
    for number in range(30):
        add_game(shop, f"Game {number}", genres=["Puzzle", f"Tag {number:02}"])
    with pytest.raises(UserError, match=r": the genres are Puzzle, Action, Tag 00, Tag 01, .*, Tag 17 and 12 more\.$"):
        show_user(published, "ann", genre="Nonsense")


def test_without_an_order_three_lists_are_shown_under_their_titles(published: str, capsys) -> None:
    show_user(published, "ann")
    printed = capsys.readouterr().out
    assert printed.count("User ann") == 1
    positions = [printed.index(title) for title in ("For you", "Hidden gems", "New releases")]
    assert positions == sorted(positions)
    assert "Alpha" in printed[positions[0] : positions[1]]


def test_shelves_are_shown_one_table_per_shelf_as_the_function_returns_them(
    published: str, shop: Connection, capsys
) -> None:
    show_user(published, "ann", shelves=True)
    printed = capsys.readouterr().out
    with shop.cursor() as cursor:
        cursor.execute(
            "SELECT title, rank, name, reason FROM recsys.shelves("
            "(SELECT user_id FROM steam.users WHERE username = 'ann'), 8, 5) ORDER BY shelf, rank"
        )
        rows = cursor.fetchall()
    assert rows
    assert all(title in printed for title, _, _, _ in rows)
    cells = [row for row in shown(printed) if row[0] != ""]
    assert [tuple(row) for row in cells if row[0].isdecimal()] == [(str(rank), *rest) for _, rank, *rest in rows]


def test_shelves_have_neither_an_order_nor_a_genre(published: str) -> None:
    with pytest.raises(UserError, match="leave out --shelves"):
        run(argparse.Namespace(database=published, user="ann", rank_by="sales", genre=None, shelves=True))


def test_the_order_by_relevance_shows_ranks_and_reasons_only(published: str, capsys) -> None:
    show_user(published, "ann", "relevance")
    head, *rows = shown(capsys.readouterr().out)
    assert head == ["Game", "Why"]
    assert [row[:2] for row in rows] == [["1", "Alpha"], ["2", "[Beta]"], ["3", "Gamma"]]


def test_a_user_must_be_named() -> None:
    with pytest.raises(UserError, match="make user USER=1"):
        show_user("env:DATABASE_URL", "")


def test_the_command_imports_nothing_heavy(published: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "commands", "user", "ann"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "User ann: no reviews" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert {"psycopg2", "rich"} <= imported
    heavy = {"numpy", "pyarrow", "pandas", "tensorflow", "keras", "fastapi", "kfp", "google", "pymongo", "requests"}
    assert not imported & heavy
