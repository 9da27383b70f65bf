"""What the shop's database says of users and games: those that it holds.

Each question has a connection of its own, and ends with it: a publication that loads for long must not hold a lock on
the shop's tables, behind which an ALTER TABLE would wait, and behind that every reader.
"""

from __future__ import annotations

import io

import pyarrow as pa

from steam_recsys.arrays import Int64Array
from steam_recsys.database.connection import COPY_BUFFER, connect
from steam_recsys.database.copy import read_binary_copy

_IDS = pa.schema([pa.field("id", pa.int64(), nullable=False)])


def known_games(shop: str) -> pa.Array:
    """The ids of all games, int32; `shop` is the reference to the database's URL."""
    return pa.array(_ids(shop, "SELECT game_id::bigint FROM steam.games"), pa.int32())


def known_users(shop: str, first: int, last: int) -> Int64Array:
    """The ids of the users of a range, both ends included, ascending."""
    return _ids(
        shop,
        f"SELECT user_id FROM steam.users WHERE user_id BETWEEN {int(first)} AND {int(last)} ORDER BY user_id",  # noqa: S608
    )


def _ids(shop: str, query: str) -> Int64Array:
    content = io.BytesIO()
    with connect(shop, application="steam-recsys publish") as connection, connection.cursor() as cursor:
        cursor.copy_expert(f"COPY ({query}) TO STDOUT WITH (FORMAT binary)", content, size=COPY_BUFFER)
    ids: Int64Array = read_binary_copy(content.getbuffer(), _IDS)["id"].to_numpy()
    return ids
