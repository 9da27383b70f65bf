"""Recommendations of a few typical users, shown at the end of the demo."""

from __future__ import annotations

from typing import Literal

import psycopg2

from commands.user import explain_scores, show_recommendations
from steam_recsys.database.connection import Cursor


def show_typical_users(url: str, title: str) -> None:
    """Print the recommendations of a heavy user, of a user with few reviews and of a new user."""
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            heavy, _ = _user_with_reviews(cursor, "DESC")
            light, reviews = _user_with_reviews(cursor, "ASC")
            for description, user_id in (
                ("A user with many reviews", heavy),
                (f"A user with {'one review' if reviews == 1 else 'few reviews'}", light),
                ("A new user", None),
            ):
                show_recommendations(cursor, f"{description} ({title})", user_id)
        explain_scores()
    finally:
        connection.close()


def _user_with_reviews(cursor: Cursor, order: Literal["ASC", "DESC"]) -> tuple[int, int]:
    """Return the first user by number of reviews, and that number."""
    cursor.execute(
        "SELECT user_id, count(*) FROM steam.reviews WHERE user_id IS NOT NULL "  # noqa: S608 - order is one of two words
        f"GROUP BY user_id ORDER BY count(*) {order}, user_id LIMIT 1"
    )
    row = cursor.fetchone()
    assert row is not None
    return row[0], row[1]
