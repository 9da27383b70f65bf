"""The games that some users have dismissed, read from the database by the primary key."""

from __future__ import annotations

import numpy as np

from components.refresh.reviews import USERS_PER_QUERY
from steam_recsys.arrays import Int32Array, Int64Array
from steam_recsys.database.connection import connect

_DISMISSALS = "SELECT user_id, game_id FROM recsys.dismissals WHERE user_id = ANY (%s)"


def read_dismissals_of(database: str, users: Int64Array) -> tuple[Int64Array, Int32Array]:
    """Read `recsys.dismissals` of some users.

    Args:
        database: Reference to the database's URL; not a replica's, which may not have the newest ones.
        users: The users, int64.

    Returns:
        Users, int64 [n], and the games that they have dismissed, int32 [n].

    Raises:
        UserError: The database cannot be reached, or fails part-way.
    """
    pairs = []
    with connect(database, application="steam-recsys refresh") as connection, connection.cursor() as cursor:
        for start in range(0, len(users), USERS_PER_QUERY):
            cursor.execute(_DISMISSALS, [users[start : start + USERS_PER_QUERY].tolist()])
            pairs += cursor.fetchall()
    found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return found[:, 0], found[:, 1].astype(np.int32)
