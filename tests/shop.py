"""Rows of a small shop, inserted into the operational schema, for tests of the stages after ingestion."""

from collections.abc import Iterable
from datetime import date

from psycopg2.extensions import connection as Connection


def add_game(
    connection: Connection,
    name: str,
    *,
    genres: Iterable[str] = (),
    released_on: date | None = None,
    delisted_on: date | None = None,
    ram_gb: float | None = None,
    storage_gb: float | None = None,
    os: str | None = None,
) -> int:
    """Add a game and return its id."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO steam.games (name, released_on, delisted_on) VALUES (%s, %s, %s) RETURNING game_id",
            [name, released_on, delisted_on],
        )
        game_id: int = cursor.fetchone()[0]
        for genre in genres:
            cursor.execute("INSERT INTO steam.genres (name) VALUES (%s) ON CONFLICT DO NOTHING", [genre])
            cursor.execute(
                "INSERT INTO steam.game_genres SELECT %s, genre_id FROM steam.genres WHERE name = %s", [game_id, genre]
            )
        if (ram_gb, storage_gb, os) != (None, None, None):
            cursor.execute(
                "INSERT INTO steam.game_requirements (game_id, level, ram_gb, storage_gb, os, requirements) "
                "VALUES (%s, 'minimum', %s, %s, %s, '')",
                [game_id, ram_gb, storage_gb, os],
            )
    return game_id


def add_user(connection: Connection, username: str) -> int:
    """Add a user and return their id."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO steam.users (username) VALUES (%s) RETURNING user_id", [username])
        user_id: int = cursor.fetchone()[0]
    return user_id


def add_review(
    connection: Connection,
    user_id: int | None,
    game_id: int,
    *,
    recommended: bool = True,
    reviewed_on: date | None = date(2020, 1, 1),
    hours_played: float | None = None,
) -> int:
    """Add a review and return its id."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO steam.reviews (user_id, game_id, recommended, reviewed_on, hours_played) "
            "VALUES (%s, %s, %s, %s, %s) RETURNING review_id",
            [user_id, game_id, recommended, reviewed_on, hours_played],
        )
        review_id: int = cursor.fetchone()[0]
    return review_id


def add_ranking(connection: Connection, game_id: int, genre: str, rank_type: str, rank: int) -> None:
    """Add a row to the rankings."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO steam.rankings VALUES (%s, %s, %s, %s)", [game_id, genre, rank_type, rank])
