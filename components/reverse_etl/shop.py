"""What the shop's database says of users and games: those that it holds."""

from __future__ import annotations

import io

import pyarrow as pa

from components.shared.binary_copy import from_binary
from components.shared.database import COPY_BUFFER, Cursor
from components.shared.interactions import Longs

_IDS = pa.schema([pa.field("id", pa.int64(), nullable=False)])


def known_games(cursor: Cursor) -> pa.Array:
    """The ids of all games, int32."""
    return pa.array(_ids(cursor, "SELECT game_id::bigint FROM steam.games"), pa.int32())


def known_users(cursor: Cursor, first: int, last: int) -> Longs:
    """The ids of the users of a range, both ends included, ascending."""
    return _ids(
        cursor,
        f"SELECT user_id FROM steam.users WHERE user_id BETWEEN {int(first)} AND {int(last)} ORDER BY user_id",  # noqa: S608
    )


def _ids(cursor: Cursor, query: str) -> Longs:
    content = io.BytesIO()
    cursor.copy_expert(f"COPY ({query}) TO STDOUT WITH (FORMAT binary)", content, size=COPY_BUFFER)
    ids: Longs = from_binary(content.getbuffer(), _IDS)["id"].to_numpy()
    return ids
