"""`recsys user`: a user's lists or shelves as tables, read as a shop's page would.

They are what `recsys.recommended_games` and `recsys.shelves` return.
"""

from __future__ import annotations

import argparse
from itertools import groupby
from typing import Literal

import psycopg2
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from steam_recsys.database.connection import Cursor, connect
from steam_recsys.errors import UserError

SHOWN_HISTORY = 5
SHOWN_GAMES = 5
SHOWN_GENRES = 20
SHOWN_SHELVES = 8

LISTS = {"relevance": "For you", "discovery": "Hidden gems", "new_releases": "New releases"}
"""The lists that are shown if no order is given, and their titles."""

_RANKED_BY = {
    "newest": ("Released", None),
    "new_releases": ("Released", None),
    "sales": ("Rank by sales", "Sales"),
    "revenue": ("Rank by revenue", "Revenue"),
    "reviews": ("Rank by reviews", "Review"),
}
"""For each order, a column's heading and the rank_type in steam.rankings."""

# What the function orders by is shown beside its answer: the release date, or the rank in the genre's ranking if there
# is one, else the best rank.
_GAMES = """
SELECT r.rank, r.name, coalesce(CASE WHEN %(rank_type)s IS NULL THEN coalesce(g.released_on::text, g.release_text)
                                     ELSE ranking.best::text END, 'unknown'), r.reason
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

_SHELVES = "SELECT shelf, title, rank, name, reason FROM recsys.shelves(%s, %s, %s) ORDER BY shelf, rank"

# Genres that games have or are ranked in, those of most games first, and whether one is the requested genre.
_GENRES = """
SELECT name, lower(name) = lower(%s) FROM (
    SELECT name, count(*) AS games FROM steam.genres JOIN steam.game_genres USING (genre_id) GROUP BY name
    UNION ALL SELECT genre, count(DISTINCT game_id) FROM steam.rankings GROUP BY genre
) AS named GROUP BY name ORDER BY max(games) DESC, name
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("user", metavar="NAME", help="a user's name or id")
    parser.add_argument(
        "--rank-by",
        help="relevance, discovery, new_releases, sales, revenue, reviews or newest; by default, the first three",
    )
    parser.add_argument("--genre", help="only games of a genre")
    parser.add_argument("--shelves", action="store_true", help="the storefront's page instead of lists")
    parser.add_argument("--database", default="env:DATABASE_URL", help="reference to the database's URL (%(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Show the recommendations."""
    if arguments.shelves and (arguments.rank_by or arguments.genre):
        raise UserError("A storefront's page has neither an order nor a genre: leave out --shelves, or both of them.")
    show_user(arguments.database, arguments.user, arguments.rank_by, arguments.genre, shelves=arguments.shelves)


def show_user(
    database: str, user: str, rank_by: str | None = None, genre: str | None = None, *, shelves: bool = False
) -> None:
    """Print one user's recommendations.

    Args:
        database: Reference to the database's URL, such as `env:DATABASE_URL`.
        user: The user's name or id.
        rank_by: Order of the games, as in `recsys.recommended_games`; None for each of `LISTS`.
        genre: Only games of this genre; None for all.
        shelves: Print the storefront's page instead.

    Raises:
        UserError: The user, the order, the genre or a publication does not exist, or the database cannot be reached.
    """
    if not user:
        raise UserError("Name a user, as in make user USER=1 or recsys user 1: an id or a name in steam.users.")
    with connect(database, application="steam-recsys user") as connection, connection.cursor() as cursor:
        try:
            user_id = _find_user(cursor, user)
            if shelves:
                show_shelves(cursor, f"User {user}", user_id)
                return
            if rank_by is None:
                _print_heading(cursor, f"User {user}", user_id)
                for each, title in LISTS.items():
                    _print_list(cursor, user_id, each, genre, title)
            else:
                order = "" if rank_by == "relevance" else f", by {rank_by}"
                show_recommendations(cursor, f"User {user}{order}", user_id, rank_by, genre)
        except psycopg2.errors.InvalidParameterValue as error:  # from our own functions
            raise UserError(str(error.diag.message_primary)) from None
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.InvalidSchemaName):
            raise UserError("Nothing has been published yet: run the inference pipeline, or make demo.") from None


def show_recommendations(
    cursor: Cursor, title: str, user_id: int | None, rank_by: str = "relevance", genre: str | None = None
) -> None:
    """Print a table of recommendations.

    Args:
        cursor: A cursor on the shop's database.
        title: The table's title.
        user_id: The user; None for a user whom the shop has never seen.
        rank_by: Order of the games, as in `recsys.recommended_games`.
        genre: Only games of this genre; None for all.

    Raises:
        UserError: The genre does not exist.
    """
    _print_heading(cursor, title, user_id)
    _print_list(cursor, user_id, rank_by, genre)


def show_shelves(cursor: Cursor, title: str, user_id: int | None) -> None:
    """Print a storefront's page, one table per shelf.

    Args:
        cursor: A cursor on the shop's database.
        title: The page's title.
        user_id: The user; None for a user whom the shop has never seen.
    """
    _print_heading(cursor, title, user_id)
    cursor.execute(_SHELVES, [user_id, SHOWN_SHELVES, SHOWN_GAMES])
    for (_, shelf), games in groupby(cursor.fetchall(), key=lambda row: (row[0], row[1])):
        table = _table(shelf, [("", "right"), ("Game", "left"), ("Why", "left")])
        for _, _, rank, game, reason in games:
            table.add_row(str(rank), escape(game), escape(reason))
        Console().print(table)


def _print_heading(cursor: Cursor, title: str, user_id: int | None) -> None:
    Console().print(f"\n[bold]{escape(title)}[/bold]{_history(cursor, user_id)}", soft_wrap=True)


def _print_list(cursor: Cursor, user_id: int | None, rank_by: str, genre: str | None, title: str | None = None) -> None:
    heading, rank_type = _RANKED_BY.get(rank_by, ("", None))
    parameters = {"user": user_id, "rank_by": rank_by, "genre": genre, "games": SHOWN_GAMES, "rank_type": rank_type}
    cursor.execute(_GAMES, parameters)
    rows = cursor.fetchall()
    if genre and not rows:
        _check_genre(cursor, genre)
    ranked_by: list[tuple[str, Literal["left", "right"]]] = [(heading, "right")] if heading else []
    table = _table(title, [("", "right"), ("Game", "left"), *ranked_by, ("Why", "left")])
    for rank, game, figure, reason in rows:
        figures = [escape(figure)] if heading else []
        table.add_row(str(rank), escape(game), *figures, escape(reason))
    Console().print(table if rows else "No games found." if title is None else f"{title}: no games.")


def _table(title: str | None, columns: list[tuple[str, Literal["left", "right"]]]) -> Table:
    table = Table(title=None if title is None else escape(title), title_justify="left")
    for column, justify in columns:
        table.add_column(column, justify=justify)
    return table


def _find_user(cursor: Cursor, user: str) -> int:
    cursor.execute("SELECT user_id FROM steam.users WHERE username = %s", [user])
    row = cursor.fetchone()
    if row is None and user.isdecimal() and len(user) < 20 and int(user) < 2**63:
        cursor.execute("SELECT user_id FROM steam.users WHERE user_id = %s", [int(user)])
        row = cursor.fetchone()
    if row is None:
        raise UserError(f"There is no user {user}: give a name or an id from the table steam.users.")
    return int(row[0])


def _check_genre(cursor: Cursor, genre: str) -> None:
    cursor.execute(_GENRES, [genre])
    found = cursor.fetchall()
    if not any(matches for _, matches in found):
        shown = [name for name, _ in found[:SHOWN_GENRES]]
        more = f" and {len(found) - len(shown):,} more" if len(found) > len(shown) else ""
        raise UserError(f"There is no genre {genre}: the genres are {', '.join(shown) or 'none'}{more}.")


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
