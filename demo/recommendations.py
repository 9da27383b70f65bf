"""Recommendations of a few typical users, shown at the end of the demo."""

from __future__ import annotations

from typing import Literal

import psycopg2
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from steam_recsys.database.connection import Cursor

SHOWN_GAMES = 3

_GAMES = "SELECT game, reason FROM recsys.recommended_games(%s, p_limit => %s) ORDER BY rank"


def show_typical_users(url: str) -> None:
    """Print the first games of a heavy user, of a user with few reviews and of a new user."""
    connection = psycopg2.connect(url)
    table = Table("Recommended to", "Game", "Why", box=None, pad_edge=False)
    try:
        with connection.cursor() as cursor:
            heavy, most = _user_with_reviews(cursor, "DESC")
            light, least = _user_with_reviews(cursor, "ASC")
            for who, user_id in (
                (f"user {heavy}, {most} reviews", heavy),
                (f"user {light}, {least} review{'s' if least > 1 else ''}", light),
                ("a new user", None),
            ):
                cursor.execute(_GAMES, [user_id, SHOWN_GAMES])
                for rank, (game, reason) in enumerate(cursor.fetchall()):
                    table.add_row("" if rank else who, escape(game), escape(reason))
    finally:
        connection.close()
    for column in table.columns:
        column.no_wrap = True
    console = Console()
    console.print()
    console.print(table, width=None if console.is_terminal else 120)


def _user_with_reviews(cursor: Cursor, order: Literal["ASC", "DESC"]) -> tuple[int, int]:
    """Return the first user by number of reviews, and that number."""
    cursor.execute(
        "SELECT user_id, count(*) FROM steam.reviews WHERE user_id IS NOT NULL "  # noqa: S608 - order is one of two words
        f"GROUP BY user_id ORDER BY count(*) {order}, user_id LIMIT 1"
    )
    row = cursor.fetchone()
    assert row is not None
    return row[0], row[1]
