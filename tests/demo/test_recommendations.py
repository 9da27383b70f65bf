"""What `make user` prints, and what it asks for."""

import os
import signal
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection

from demo.recommendations import show_user
from demo.workspace import Workspace
from steam_recsys.errors import UserError
from tests.components.reverse_etl.predicted import overall, publish_version, write_predictions
from tests.shop import add_game, add_ranking, add_user

ROOT = Path(__file__).parents[2]


@pytest.fixture
def published(shop: Connection, database: str, tmp_path: Path) -> str:
    """The URL of a database with recommendations of three games for the user ann."""
    games = [add_game(shop, "Alpha", released_on=date(2021, 5, 1)), add_game(shop, "[Beta]"), add_game(shop, "Gamma")]
    for place, game in enumerate(reversed(games[:2]), start=4):
        add_ranking(shop, game, "Action", "Sales", place)
        add_ranking(shop, game, "Puzzle", "Sales", place - 3)
    ann = add_user(shop, "ann")
    publish_version(
        database, write_predictions(tmp_path, [[(ann, games, [3.0, 2.0, 1.0], [None] * 3)]], overall(games))
    )
    return os.environ["DATABASE_URL"]


def shown(printed: str) -> list[list[str]]:
    """The table's cells."""
    rows = [line.replace("┃", "│").strip("│ ").split("│") for line in printed.splitlines() if line[:1] in "│┃" and line]
    return [[cell.strip() for cell in row] for row in rows]


@pytest.mark.parametrize(
    ("rank_by", "genre", "heading", "games"),
    [
        ("newest", None, "Released", [("Alpha", "2021-05-01"), ("[Beta]", "unknown"), ("Gamma", "unknown")]),
        ("sales", None, "Workspace by sales", [("[Beta]", "1"), ("Alpha", "2"), ("Gamma", "unknown")]),
        ("sales", "action", "Workspace by sales", [("[Beta]", "4"), ("Alpha", "5")]),
        ("revenue", None, "Workspace by revenue", [("Alpha", "unknown"), ("[Beta]", "unknown"), ("Gamma", "unknown")]),
    ],
)
def test_an_order_is_shown_with_what_it_is_by(
    rank_by: str, genre: str | None, heading: str, games: list[tuple[str, str]], published: str, capsys
) -> None:
    show_user(published, "ann", rank_by, genre)
    printed = capsys.readouterr().out
    head, *rows = shown(printed)
    assert head == ["Game", heading, "Score", "Why"]
    assert [tuple(row[1:3]) for row in rows] == games
    assert printed.splitlines()[-1].startswith("Score: the model's")


def test_a_genre_that_there_is_not_is_told_those_that_there_are(published: str, shop: Connection) -> None:
    with pytest.raises(UserError, match=r"^There is no genre Nonsense: there are Action, Puzzle\.$"):
        show_user(published, "ann", genre="Nonsense")
    for number in range(30):
        add_game(shop, f"Game {number}", genres=["Puzzle", f"Tag {number:02}"])
    with pytest.raises(UserError, match=r": there are Puzzle, Action, Tag 00, Tag 01, .*, Tag 17 and 12 more\.$"):
        show_user(published, "ann", genre="Nonsense")


def test_the_order_by_relevance_has_the_score_alone(published: str, capsys) -> None:
    show_user(published, "ann")
    rows = shown(capsys.readouterr().out)[1:]
    assert [row[1:3] for row in rows] == [["Alpha", "3.00"], ["[Beta]", "2.00"], ["Gamma", "1.00"]]


def arguments(tmp_path: Path, *command: str) -> list[str]:
    """What a command of make gives to `python`."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    python.chmod(0o700)
    # As if everything were installed, of which the target is a file that is there.
    make = ["make", "--no-print-directory", *command, f"BIN={tmp_path}", "INSTALLED=Makefile"]
    environment = {**os.environ, "USER": "somebody"}
    done = subprocess.run(make, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[4:-1]


def test_a_user_must_be_named_and_who_is_logged_in_is_none(tmp_path: Path) -> None:
    assert arguments(tmp_path, "user") == ["user", ""]
    assert arguments(tmp_path, "user", "USER=7") == ["user", "7"]
    with pytest.raises(UserError, match="Name a user: make user USER=1"):
        show_user("postgresql://127.0.0.1:1/shop", "")


def test_no_shell_reads_what_make_is_given(tmp_path: Path) -> None:
    odd = """a "b" `touch oops` '; touch oops"""
    assert arguments(tmp_path, "user", f"USER={odd}", f"RANK_BY={odd}", f"GENRE={odd}") == [
        "user", odd, "--rank-by", odd, "--genre", odd,
    ]  # fmt: skip
    for command in ("user", "explore", "psql"):
        assert arguments(tmp_path, command, f"DATA={odd}")[-2:] == ["--data", odd]
    assert not (ROOT / "oops").exists()


def test_who_reads_no_further_ends_it_without_a_stack_trace(published: str, tmp_path: Path) -> None:
    place = Workspace(tmp_path / "local")
    place.root.mkdir(parents=True)
    place.remember(published)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "demo", "--place", str(place.root), "user", "ann"]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")
