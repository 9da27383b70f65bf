"""Staging tables and their merge into the operational schema, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import date
from pathlib import Path

from psycopg2 import sql

from components.ingest.staging import Rejects, copy_chunks
from steam_recsys.database.connection import Cursor
from steam_recsys.database.copying import copy_from_chunks
from steam_recsys.logging import progress

FILE_TABLES = ("staged_games", "staged_reviews", "staged_rankings")

# A list column of the descriptions file, the table of its names and the table that links them to games.
_LISTS = (
    ("genres", "genres", "genre_id", "game_genres"),
    ("developers", "developers", "developer_id", "game_developers"),
    ("publishers", "publishers", "publisher_id", "game_publishers"),
)

_MERGE_LIST = """
INSERT INTO steam.{names} (name)
SELECT listed.name FROM staged_games, jsonb_array_elements_text({column}) WITH ORDINALITY AS listed (name, place)
WHERE NOT EXISTS (SELECT FROM steam.{names} WHERE {names}.name = listed.name)
GROUP BY listed.name ORDER BY min(ARRAY[line, place]);

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

# What a row of these tables is checked against and entered in one by one, but for the primary keys: how each of it is
# dropped, and made again.
_CHECKS_AND_INDEXES = """
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
    """Create the staging tables of this transaction; a second load at the same time waits for this one."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('steam-recsys:ingest'))")
    cursor.execute(_sql("staging.sql"))


def copy_into(cursor: Cursor, table: str, rows: Iterable[str]) -> None:
    """COPY rows in the text format into a table of the staging area or of the schema `steam`."""
    copy_from_chunks(cursor, sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(*table.split("."))), copy_chunks(rows))


@contextmanager
def checked_at_once(cursor: Cursor) -> Iterator[None]:
    """Check references and fill indexes once all rows are there, not row by row: for a first load of reviews.

    Until then nobody can read the tables that lose an index, as of users where a shop has some already.

    That takes a third of the time for a million rows, and grows with them no faster than they do, as an index that is
    filled in no order does once it is larger than the memory.
    """
    cursor.execute(_CHECKS_AND_INDEXES)
    found = cursor.fetchall()
    for dropped, _ in found:
        cursor.execute(dropped)
    yield
    for _, made in found:
        cursor.execute(made)


def merge(cursor: Cursor, year: int | None, newest: date) -> dict[str, int]:
    """Merge the staging tables into the operational schema.

    Args:
        cursor: of the transaction that filled the staging tables.
        year: of the dates without one; None takes the year of the newest dated row, and where there is none such
            dates stay unknown.
        newest: the newest date that a review can have.

    Returns:
        The number of reviews that were `inserted` and `updated`.
    """
    for table in FILE_TABLES:
        cursor.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
    if year is None:
        cursor.execute("SELECT extract(year FROM max(reviewed_on))::integer FROM staged_reviews")
        row = cursor.fetchone()
        year = row[0] if row else None
    counts = {}
    cursor.execute("SELECT EXISTS (SELECT FROM steam.reviews)")
    first_load = cursor.fetchone() == (False,)
    with checked_at_once(cursor) if first_load else nullcontext():
        for name, statements in _steps(_sql("merge.sql")):
            progress("ingest", f"merging: {name}")
            cursor.execute(statements, {"year": year, "newest": newest})
            counts[name] = cursor.rowcount
            if name == "game descriptions":
                _merge_lists(cursor)
        progress("ingest", "merging: references and indexes")
    return {"inserted": counts["new reviews"], "updated": counts["reviews that differ"]}


def replace_rejects(cursor: Cursor, rejects: Rejects) -> None:
    """Put a file's rejected rows into `steam.rejected_rows`, in place of those of the last load."""
    cursor.execute("DELETE FROM steam.rejected_rows WHERE file = %s", [rejects.file])
    copy_into(cursor, "steam.rejected_rows", rejects.copy_rows())


def _merge_lists(cursor: Cursor) -> None:
    for column, names, id_column, links in _LISTS:
        identifiers = {
            "column": sql.Identifier("staged_games", column),
            "names": sql.Identifier(names),
            "id": sql.Identifier(id_column),
            "links": sql.Identifier(links),
        }
        cursor.execute(sql.SQL(_MERGE_LIST).format(**identifiers))


def _steps(script: str) -> Iterator[tuple[str, str]]:
    """The named steps of a script: `-- merge: name` begins one."""
    for step in script.split("-- merge: ")[1:]:
        title, _, statements = step.partition("\n")
        yield title.partition(";")[0], statements


def _sql(name: str) -> str:
    return (Path(__file__).parent / name).read_text()
