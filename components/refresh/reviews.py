"""The present reviews of some users, read from the database by the index on users."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from steam_recsys.arrays import Int64Array
from steam_recsys.data.interactions import REVIEW_COLUMNS, Reviews, no_reviews, review_arrays, review_rows
from steam_recsys.data.schemas import REVIEWS
from steam_recsys.database.connection import COPY_BUFFER, Connection, Cursor, connect
from steam_recsys.database.copy import read_binary_copy

USERS_PER_QUERY = 10_000

_SCHEMA = pa.schema([REVIEWS.field(name) for name in REVIEW_COLUMNS])

# In the order of REVIEW_COLUMNS; a null is the lowest value of its type, as in snapshots.
_REVIEWS = """
COPY (
    SELECT user_id, game_id, coalesce(nullif(reviewed_on, 'infinity'), '-infinity'), recommended,
        coalesce(hours_played, '-infinity'), review_id
    FROM steam.reviews WHERE user_id = ANY ({})
) TO STDOUT (FORMAT binary)
"""
_KNOWN = "SELECT user_id FROM steam.users WHERE user_id = ANY (%s)"


def read_reviews_of(source: str, users: Int64Array, last_day: int) -> tuple[Reviews, Int64Array]:
    """Read all reviews of some users.

    Args:
        source: Reference to the database's URL, or a replica's.
        users: The users, int64, ascending.
        last_day: The last day that a review may have, in days since 1970-01-01; later ones are left out.

    Returns:
        The reviews, and those of the users who are still in the shop, ascending.

    Raises:
        UserError: The database cannot be reached, or fails part-way.
    """
    parts, known = [no_reviews()], [np.zeros(0, dtype=np.int64)]
    with connect(source, application="steam-recsys refresh") as connection:
        _see_one_moment(connection)
        with connection.cursor() as cursor:
            for start in range(0, len(users), USERS_PER_QUERY):
                some = users[start : start + USERS_PER_QUERY].tolist()
                parts.append(_read(cursor, some))
                cursor.execute(_KNOWN, [some])
                known.append(np.array(cursor.fetchall(), dtype=np.int64).reshape(-1))
    reviews = np.concatenate(parts)
    return reviews[reviews["reviewed_on"] <= last_day], np.sort(np.concatenate(known))


def _see_one_moment(connection: Connection) -> None:
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)


def _read(cursor: Cursor, users: Sequence[int]) -> Reviews:
    content = io.BytesIO()
    query = _REVIEWS.format(cursor.mogrify("%s", [users]).decode())
    cursor.copy_expert(query, content, size=COPY_BUFFER)
    return review_rows(review_arrays(read_binary_copy(content.getbuffer(), _SCHEMA)))
