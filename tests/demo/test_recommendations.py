"""The tables of `make user`, and its arguments."""

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
    for rank, game in enumerate(reversed(games[:2]), start=4):
        add_ranking(shop, game, "Action", "Sales", rank)
        add_ranking(shop, game, "Puzzle", "Sales", rank - 3)
    ann = add_user(shop, "ann")
    publish_version(
        database, write_predictions(tmp_path, [[(ann, games, [3.0, 2.0, 1.0], [None] * 3)]], overall(games))
    )
    return os.environ["DATABASE_URL"]


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
    assert head == ["Game", heading, "Score", "Why"]
    assert [tuple(row[1:3]) for row in rows] == games
    assert printed.splitlines()[-1].startswith("Score: the model's")


def test_an_unknown_genre_lists_the_existing_ones(published: str, shop: Connection) -> None:
    with pytest.raises(UserError, match=r"^There is no genre Nonsense: the genres are Action, Puzzle\.$"):
        show_user(published, "ann", genre="Nonsense")
    for number in range(30):
        add_game(shop, f"Game {number}", genres=["Puzzle", f"Tag {number:02}"])
    with pytest.raises(UserError, match=r": the genres are Puzzle, Action, Tag 00, Tag 01, .*, Tag 17 and 12 more\.$"):
        show_user(published, "ann", genre="Nonsense")


def test_the_order_by_relevance_shows_the_score_only(published: str, capsys) -> None:
    show_user(published, "ann")
    rows = shown(capsys.readouterr().out)[1:]
    assert [row[1:3] for row in rows] == [["Alpha", "3.00"], ["[Beta]", "2.00"], ["Gamma", "1.00"]]


def arguments(tmp_path: Path, *command: str) -> list[str]:
    """Return the arguments that a make target passes to `python`."""
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
    python.chmod(0o700)
    # INSTALLED names an existing file, so make skips the installation.
    make = ["make", "--no-print-directory", *command, f"BIN={tmp_path}", "INSTALLED=Makefile"]
    environment = {**os.environ, "USER": "login"}
    done = subprocess.run(make, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[4:-1]


def test_a_user_must_be_named_and_the_login_name_does_not_count(tmp_path: Path) -> None:
    assert arguments(tmp_path, "user") == ["user", ""]
    assert arguments(tmp_path, "user", "USER=7") == ["user", "7"]
    with pytest.raises(UserError, match="Name a user: make user USER=1"):
        show_user("postgresql://127.0.0.1:1/shop", "")


def test_no_shell_interprets_makes_arguments(tmp_path: Path) -> None:
    odd = """a "b" `touch oops` '; touch oops"""
    assert arguments(tmp_path, "user", f"USER={odd}", f"RANK_BY={odd}", f"GENRE={odd}") == [
        "user", odd, "--rank-by", odd, "--genre", odd,
    ]  # fmt: skip
    for command in ("user", "explore", "psql"):
        assert arguments(tmp_path, command, f"DATA={odd}")[-2:] == ["--data", odd]
    assert not (ROOT / "oops").exists()


def test_a_closed_pipe_ends_the_command_without_a_stack_trace(published: str, tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "local")
    workspace.root.mkdir(parents=True)
    workspace.record_success(published)
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "demo", "--workspace", str(workspace.root), "user", "ann"]
    done = subprocess.run(command, cwd=ROOT, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, b"")
