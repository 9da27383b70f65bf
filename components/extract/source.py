"""The contract with the shop's database: the tables, columns and types of the schema `steam` that an extraction reads.

It is checked before anything is read, and in a replica too if that is read instead. Columns that the shop has added do
not matter.
"""

from __future__ import annotations

from collections.abc import Mapping

from steam_recsys.database.connection import Cursor
from steam_recsys.errors import UserError

_TEXT = ("text", "character varying", "citext")
"""Types that arrive as the same text."""

SOURCE: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "reviews": {
        "review_id": ("bigint",),
        "user_id": ("bigint",),
        "game_id": ("integer",),
        "recommended": ("boolean",),
        "hours_played": ("real",),
        "helpful": ("bigint",),
        "funny": ("bigint",),
        "reviewed_on": ("date",),
        "updated_at": ("timestamp with time zone",),
    },
    "users": {"user_id": ("bigint",)},
    "games": {
        "game_id": ("integer",),
        "name": _TEXT,
        "released_on": ("date",),
        "delisted_on": ("date",),
        "short_description": _TEXT,
        "long_description": _TEXT,
    },
    "game_requirements": {
        "game_id": ("integer",),
        "level": _TEXT,
        "ram_gb": ("real",),
        "storage_gb": ("real",),
        "os": _TEXT,
    },
    "genres": {"genre_id": ("integer",), "name": _TEXT},
    "game_genres": {"game_id": ("integer",), "genre_id": ("integer",)},
    "developers": {"developer_id": ("integer",), "name": _TEXT},
    "game_developers": {"game_id": ("integer",), "developer_id": ("integer",)},
    "publishers": {"publisher_id": ("integer",), "name": _TEXT},
    "game_publishers": {"game_id": ("integer",), "publisher_id": ("integer",)},
    "rankings": {"game_id": ("integer",), "genre": _TEXT, "rank_type": _TEXT, "rank": ("integer",)},
}
"""The types that each column may have, by table. A domain counts as the type that it is made from."""

# Without the modifiers of a type: varchar(50) is `character varying`.
_COLUMNS = """
SELECT relname, attname, format_type(coalesce(nullif(typbasetype, 0), atttypid), NULL)
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid JOIN pg_type ON pg_type.oid = atttypid
WHERE relnamespace = to_regnamespace('steam') AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND attnum > 0 AND NOT attisdropped
"""


def check_source(cursor: Cursor) -> None:
    """Check that the schema `steam` has every table and column that is read, each with a type that can be read.

    Raises:
        UserError: It does not; the message lists everything that differs.
    """
    cursor.execute(_COLUMNS)
    found: dict[str, dict[str, str]] = {}
    for table, column, kind in cursor.fetchall():
        found.setdefault(table, {})[column] = kind
    if differing := differences(found):
        raise UserError(f"The schema steam is not as this project reads it ({', '.join(differing)}): change it back.")


def differences(found: Mapping[str, Mapping[str, str]]) -> list[str]:
    """List what a database lacks of the contract.

    Args:
        found: Type of each column, by table.
    """
    listed = []
    for table, columns in SOURCE.items():
        if table not in found:
            listed.append(f"the table {table} is missing")
            continue
        for column, kinds in columns.items():
            kind = found[table].get(column)
            if kind is None:
                listed.append(f"{table} has no column {column}")
            elif kind not in kinds:
                listed.append(f"{table}.{column} is {kind} instead of {kinds[0]}")
    return listed
