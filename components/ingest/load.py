"""Fill the staging tables and merge them into the operational schema, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import date
from pathlib import Path

from psycopg2 import sql

from components.ingest.staging import RejectedRows, copy_chunks
from steam_recsys.database.connection import Cursor, read_queries
from steam_recsys.database.copy import copy_from_chunks
from steam_recsys.logging import progress

STAGING_TABLES = ("staged_games", "staged_reviews", "staged_rankings")

# A list column of the descriptions file, the table of its names, and the table that links them to games.
_LISTS = (
    ("genres", "genres", "genre_id", "game_genres"),
    ("developers", "developers", "developer_id", "game_developers"),
    ("publishers", "publishers", "publisher_id", "game_publishers"),
)

_MERGE_LIST = """
INSERT INTO steam.{names} (name)
SELECT listed.name FROM staged_games, jsonb_array_elements_text({column}) WITH ORDINALITY AS listed (name, position)
WHERE NOT EXISTS (SELECT FROM steam.{names} WHERE {names}.name = listed.name)
GROUP BY listed.name ORDER BY min(ARRAY[line, listed.position]);

CREATE TEMP TABLE staged_links ON COMMIT DROP AS
SELECT games.game_id, {names}.{id}
FROM staged_games JOIN steam.games USING (name)
CROSS JOIN LATERAL jsonb_array_elements_text({column}) AS listed (name)
JOIN steam.{names} ON {names}.name = listed.name;

DELETE FROM steam.{links} AS old USING staged_games JOIN steam.games USING (name)
WHERE old.game_id = games.game_id
    AND NOT EXISTS (SELECT FROM staged_links AS new WHERE (new.game_id, new.{id}) = (old.game_id, old.{id}));

INSERT INTO steam.{links} SELECT * FROM staged_links ON CONFLICT DO NOTHING;

DROP TABLE staged_links;
"""

# Foreign keys, unique constraints and indexes other than primary keys: how to drop each, and how to create it again.
_CONSTRAINTS_AND_INDEXES = """
WITH loaded (id) AS (VALUES ('steam.reviews'::regclass), ('steam.users'::regclass))
SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname),
       format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
FROM pg_constraint WHERE conrelid IN (SELECT id FROM loaded) AND contype IN ('f', 'u')
UNION ALL
SELECT format('DROP INDEX %s', indexrelid::regclass), pg_get_indexdef(indexrelid)
FROM pg_index
WHERE indrelid IN (SELECT id FROM loaded) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""


def create_staging(cursor: Cursor) -> None:
    """Create the staging tables of this transaction, after any other load has ended."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('steam-recsys:ingest'))")
    cursor.execute((Path(__file__).parent / "staging.sql").read_text())


def copy_into(cursor: Cursor, table: str, rows: Iterable[str]) -> None:
    """COPY rows in the text format into a staging table or a table of the schema `steam`."""
    copy_from_chunks(cursor, sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(*table.split("."))), copy_chunks(rows))


@contextmanager
def deferred_constraints(cursor: Cursor) -> Iterator[None]:
    """Drop the constraints and indexes of reviews and users, and create them again at the end: for a first load.

    A million rows take a third of the time, and the time grows linearly: filling an index in random order becomes slow
    once the index is larger than memory. Both tables are locked until the commit.
    """
    cursor.execute(_CONSTRAINTS_AND_INDEXES)
    statements = cursor.fetchall()
    for drop, _ in statements:
        cursor.execute(drop)
    yield
    for _, create in statements:
        cursor.execute(create)


def merge_statements() -> dict[str, str]:
    """Return the statements of each merge step by name, in order."""
    return read_queries(Path(__file__).parent / "merge.sql")


def merge(cursor: Cursor, year: int | None, newest: date) -> dict[str, int]:
    """Merge the staging tables into the operational schema.

    Args:
        cursor: Cursor of the transaction that filled the staging tables.
        year: Year of dates without one; None for the year of the newest date. If no row has a date, they stay unknown.
        newest: Latest possible date of a review.

    Returns:
        The number of reviews that were `inserted` and `updated`.
    """
    for table in STAGING_TABLES:
        cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
    if year is None:
        cursor.execute("SELECT extract(year FROM max(reviewed_on))::integer FROM staged_reviews")
        row = cursor.fetchone()
        year = row[0] if row else None
    counts = {}
    cursor.execute("SELECT EXISTS (SELECT FROM steam.reviews)")
    first_load = cursor.fetchone() == (False,)
    with deferred_constraints(cursor) if first_load else nullcontext():
        for name, statements in merge_statements().items():
            progress("ingest", f"merging: {name}")
            cursor.execute(statements, {"year": year, "newest": newest})
            counts[name] = cursor.rowcount
            if name == "game descriptions":
                _merge_lists(cursor)
        progress("ingest", "merging: references and indexes")
    return {"inserted": counts["new reviews"], "updated": counts["reviews that differ"]}


def replace_rejected_rows(cursor: Cursor, rejected: RejectedRows) -> None:
    """Replace a file's rows in `steam.rejected_rows` with those of this load."""
    cursor.execute("DELETE FROM steam.rejected_rows WHERE file = %s", [rejected.file])
    copy_into(cursor, "steam.rejected_rows", rejected.copy_rows())


def _merge_lists(cursor: Cursor) -> None:
    for column, names, id_column, links in _LISTS:
        identifiers = {
            "column": sql.Identifier("staged_games", column),
            "names": sql.Identifier(names),
            "id": sql.Identifier(id_column),
            "links": sql.Identifier(links),
        }
        cursor.execute(sql.SQL(_MERGE_LIST).format(**identifiers))
