"""Tables in ranges of keys, and which ranges of the reviews have changed since an earlier extraction.

A range is all keys that are the same but for their last bits: its bounds never depend on what the table holds, so that
equal rows always fall into the same parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg2 import sql

from steam_recsys.data.snapshot import DATES_MODULUS, File
from steam_recsys.database.connection import Cursor

LOOK_BACK = timedelta(days=1)
"""How long before an extraction a change may be dated that it did not see: longer than any transaction takes between
its `now()` and its commit, and than a clock that rows are dated by is ever set back."""

_OCCUPIED = sql.SQL("""
WITH RECURSIVE occupied (number) AS (
    SELECT min({key})::bigint >> {bits} FROM {table}
    UNION ALL
    SELECT (SELECT min({key})::bigint >> {bits} FROM {table} WHERE {key} >= (number + 1) << {bits})
    FROM occupied WHERE number IS NOT NULL
)
SELECT number FROM occupied WHERE number IS NOT NULL
""")

_DATED_FROM = "SELECT DISTINCT review_id >> %s FROM steam.reviews WHERE updated_at >= %s"
_COUNT = "SELECT count(*), 0 FROM steam.reviews WHERE review_id >= %(first)s AND review_id < %(end)s"
_COUNT_AND_DATES = """
SELECT count(*), sum((date_part('epoch', updated_at) * 1000000)::bigint)
FROM steam.reviews WHERE review_id >= %(first)s AND review_id < %(end)s
"""


@dataclass(frozen=True)
class Division:
    """How a table is divided: a range is `2 ** bits` values of a key."""

    key: str
    bits: int

    def bounds(self, number: int) -> dict[str, int]:
        """The first key of a range, and the first one after it."""
        return {"first": number << self.bits, "end": (number + 1) << self.bits}


DIVISIONS = {
    "reviews": Division("review_id", 17),  # 2 MB of Parquet, 12 MB on the wire
    "users": Division("user_id", 20),
    "games": Division("game_id", 12),
    "rankings": Division("game_id", 14),
}


def occupied(cursor: Cursor, table: str) -> list[int]:
    """The numbers of a table's ranges that have rows, in order: one look into the index for each."""
    division = DIVISIONS[table]
    names = {"key": sql.Identifier(division.key), "table": sql.Identifier("steam", table)}
    cursor.execute(_OCCUPIED.format(bits=sql.Literal(division.bits), **names))
    return [number for (number,) in cursor]


def dated_from(cursor: Cursor, since: datetime) -> set[int]:
    """The numbers of the ranges with reviews that are dated from a time on, by the index on `updated_at`."""
    cursor.execute(_DATED_FROM, [DIVISIONS["reviews"].bits, since])
    return {number for (number,) in cursor}


def as_before(cursor: Cursor, earlier: File, *, recent: bool) -> bool:
    """Whether a range of the reviews still holds the rows of an earlier part.

    It does if their number is the same and, where rows are dated recently, the sum of their dates: a change dates its
    row later than before, and a row that takes the place of a deleted one is dated later than that. Where no row is
    dated recently the number is enough, which the primary key's index has.
    """
    query = _COUNT_AND_DATES if recent else _COUNT
    cursor.execute(query, DIVISIONS["reviews"].bounds(earlier.key_range))
    row = cursor.fetchone()
    assert row is not None
    rows, dates = int(row[0]), int(row[1] or 0)
    return rows == earlier.rows and (not recent or dates % DATES_MODULUS == earlier.dates)


def look_from(times: Iterable[datetime]) -> datetime:
    """From when on changes may have been missed: of an extraction's moment and its watermark the earlier one, since a
    row may be dated ahead of the clock, less the window that is looked back."""
    return min(times) - LOOK_BACK
