"""Recommendations of a few typical users, shown at the end of the demo."""

from __future__ import annotations

from contextlib import closing
from typing import Literal

import psycopg2
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from commands.user import LISTS
from steam_recsys.database.connection import Cursor

_FIRST_GAME = """
SELECT games.name, first.reason FROM recsys.recommended_games(%s, %s, p_limit => 1) AS first
JOIN steam.games USING (game_id)
"""


def show_typical_users(url: str) -> None:
    """Print the first game of each list of a heavy user, of a user with few reviews and of a new user."""
    table = Table("Recommended to", "List", "Game", "Why", box=None, pad_edge=False)
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        heavy, most = _user_with_reviews(cursor, "DESC")
        light, least = _user_with_reviews(cursor, "ASC")
        for who, user_id in (
            (f"user {heavy}, {most} reviews", heavy),
            (f"user {light}, {least} review{'s' if least > 1 else ''}", light),
            ("a new user", None),
        ):
            for rank_by, title in LISTS.items():
                cursor.execute(_FIRST_GAME, [user_id, rank_by])
                for game, reason in cursor.fetchall():
                    table.add_row(who, title, escape(game), escape(reason))
                    who = ""
    for column in table.columns[:-1]:
        column.no_wrap = True
    console = Console()
    if not console.is_terminal:
        console.width = 140  # no line breaks
    console.print()
    console.print(table)


def _user_with_reviews(cursor: Cursor, order: Literal["ASC", "DESC"]) -> tuple[int, int]:
    """Return the first user by number of reviews, and that number."""
    cursor.execute(
        "SELECT user_id, count(*) FROM steam.reviews WHERE user_id IS NOT NULL "  # noqa: S608 - order is one of two words
        f"GROUP BY user_id ORDER BY count(*) {order}, user_id LIMIT 1"
    )
    row = cursor.fetchone()
    assert row is not None
    return row[0], row[1]
