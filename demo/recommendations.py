"""Print recommendations as tables, read through `recsys.recommended_games` as a shop's page reads them."""

from __future__ import annotations

from typing import Literal

import psycopg2
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from steam_recsys.errors import UserError

SHOWN_HISTORY = 5
SHOWN_GAMES = 5
SHOWN_GENRES = 20

_RANKED_BY = {
    "newest": ("Released", None),
    "sales": ("Rank by sales", "Sales"),
    "revenue": ("Rank by revenue", "Revenue"),
    "reviews": ("Rank by reviews", "Review"),
}
"""The heading of each order's column, and its rank_type in steam.rankings."""

# The function's answer with the value that it orders by: the release date, or the rank in the genre's ranking if there
# is one, else the best rank.
_GAMES = """
SELECT r.rank, r.game, coalesce(CASE WHEN %(rank_type)s IS NULL THEN coalesce(g.released_on::text, g.release_text)
                                     ELSE ranking.best::text END, 'unknown'), r.score, r.reason
FROM recsys.recommended_games(%(user)s, %(rank_by)s, %(genre)s, p_limit => %(games)s) AS r
JOIN steam.games AS g USING (game_id)
CROSS JOIN LATERAL (
    SELECT CASE WHEN EXISTS (SELECT FROM steam.rankings AS other
                             WHERE other.rank_type = %(rank_type)s AND lower(other.genre) = lower(%(genre)s))
                THEN min(rank) FILTER (WHERE lower(genre) = lower(%(genre)s)) ELSE min(rank) END AS best
    FROM steam.rankings WHERE game_id = r.game_id AND rank_type = %(rank_type)s
) AS ranking
ORDER BY r.rank
"""

# Genres of games and rankings, those of most games first, and whether each is the requested genre.
_GENRES = """
SELECT name, lower(name) = lower(%s) FROM (
    SELECT name, count(*) AS games FROM steam.genres JOIN steam.game_genres USING (genre_id) GROUP BY name
    UNION ALL SELECT genre, count(DISTINCT game_id) FROM steam.rankings GROUP BY genre
) AS named GROUP BY name ORDER BY max(games) DESC, name
"""

Cursor = psycopg2.extensions.cursor


def show_recommendations(url: str, title: str) -> None:
    """Print the recommendations of a heavy user, of a user with one review and of a new user."""
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
                _show(cursor, f"{description} ({title})", user_id)
        _explain_scores()
    finally:
        connection.close()


def show_user(url: str, user: str, rank_by: str = "relevance", genre: str | None = None) -> None:
    """Print one user's recommendations.

    Raises:
        UserError: No user is named, nothing is published yet, or the user, order or genre does not exist.
    """
    if not user:
        raise UserError("Name a user: make user USER=1, an id or a name from the table steam.users.")
    try:
        connection = psycopg2.connect(url)
    except psycopg2.OperationalError:
        raise UserError("The demo's database cannot be reached: run make demo again.") from None
    try:
        with connection.cursor() as cursor:
            order = "" if rank_by == "relevance" else f", by {rank_by}"
            _show(cursor, f"User {user}{order}", _find_user(cursor, user), rank_by, genre)
        _explain_scores()
    except psycopg2.errors.InvalidParameterValue as error:
        raise UserError(str(error.diag.message_primary)) from None
    except (psycopg2.errors.UndefinedTable, psycopg2.errors.InvalidSchemaName):
        raise UserError("The demo's last run published nothing: run make demo again.") from None
    finally:
        connection.close()


def _find_user(cursor: Cursor, user: str) -> int:
    cursor.execute("SELECT user_id FROM steam.users WHERE username = %s", [user])
    row = cursor.fetchone()
    if row is None and user.isdecimal():
        cursor.execute("SELECT user_id FROM steam.users WHERE user_id::text = %s", [user])
        row = cursor.fetchone()
    if row is None:
        raise UserError(f"There is no user {user}: give a name or an id from the table steam.users.")
    return int(row[0])


def _check_genre(cursor: Cursor, genre: str) -> None:
    cursor.execute(_GENRES, [genre])
    found = cursor.fetchall()
    if not any(is_it for _, is_it in found):
        shown = [name for name, _ in found[:SHOWN_GENRES]]
        more = f" and {len(found) - len(shown):,} more" if len(found) > len(shown) else ""
        raise UserError(f"There is no genre {genre}: the genres are {', '.join(shown) or 'none'}{more}.")


def _user_with_reviews(cursor: Cursor, order: Literal["ASC", "DESC"]) -> tuple[int, int]:
    """Return the first user by number of reviews, and that number."""
    cursor.execute(
        "SELECT user_id, count(*) FROM steam.reviews WHERE user_id IS NOT NULL "  # noqa: S608 - order is one of two words
        f"GROUP BY user_id ORDER BY count(*) {order}, user_id LIMIT 1"
    )
    row = cursor.fetchone()
    assert row is not None
    return row[0], row[1]


def _show(
    cursor: Cursor, title: str, user_id: int | None, rank_by: str = "relevance", genre: str | None = None
) -> None:
    heading, rank_type = _RANKED_BY.get(rank_by, ("", None))
    arguments = {"user": user_id, "rank_by": rank_by, "genre": genre, "games": SHOWN_GAMES, "rank_type": rank_type}
    cursor.execute(_GAMES, arguments)
    rows = cursor.fetchall()
    if genre and not rows:
        _check_genre(cursor, genre)
    ranked_by = [(heading, "right")] if heading else []
    table = Table()
    for column, justify in [("", "right"), ("Game", "left"), *ranked_by, ("Score", "right"), ("Why", "left")]:
        table.add_column(column, justify=justify)  # type: ignore[arg-type]
    for rank, game, figure, score, reason in rows:
        figures = [escape(figure)] if heading else []
        table.add_row(str(rank), escape(game), *figures, f"{score:.2f}", escape(reason))
    console = Console()
    console.print(f"\n[bold]{escape(title)}[/bold]{_history(cursor, user_id)}", soft_wrap=True)
    console.print(table if rows else "No game matches.")


def _explain_scores() -> None:
    print("Score: the model's log-odds, or recent reviews for games that fill up a list; compare within one list.")


def _history(cursor: Cursor, user_id: int | None) -> str:
    if user_id is None:
        return ""
    cursor.execute(
        "SELECT count(*), (array_agg(name ORDER BY reviewed_on DESC NULLS LAST, review_id DESC))[:%s] "
        "FROM steam.reviews JOIN steam.games USING (game_id) WHERE user_id = %s",
        [SHOWN_HISTORY, user_id],
    )
    count, names = cursor.fetchone() or (0, None)
    if not count:
        return ": no reviews"
    reviews = "1 review, of" if count == 1 else f"{count} reviews, the latest of"
    return f": {reviews} {escape(', '.join(names))}"
