"""The ingestion stage: stage raw files and merge them into the operational schema, all of them or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

from components.ingest.columns import ColumnMapping, parse_columns
from components.ingest.csv_blocks import read_blocks
from components.ingest.csv_rows import check_headers, read_rows
from components.ingest.raw_files import GAMES, RANKINGS, RAW_FILES, REVIEWS, RawFile, RawSource, open_raw
from components.ingest.review_blocks import staged_reviews
from components.ingest.staging import FileReport, converters, copy_chunks, staged_rows
from steam_recsys.data.schemas import EARLIEST_REVIEW
from steam_recsys.database.connection import Cursor, connect, create_schema, read_queries
from steam_recsys.database.copy import Chunk, copy_from_chunks
from steam_recsys.database.limits import LONG_STATEMENTS
from steam_recsys.errors import UserError
from steam_recsys.logging import log, progress

MAX_REJECTED_SHARE = 0.01
PROGRESS_ROWS = 250_000

LOAD_PATIENCE = "30min"
"""How long to wait for another load to end."""

STAGING_TABLES = {GAMES.name: "staged_games", REVIEWS.name: "staged_reviews", RANKINGS.name: "staged_rankings"}

_WITHOUT = {GAMES.name: "games keep the descriptions that they have", RANKINGS.name: "rankings stay as they are"}
"""What is missing without a file that is not required."""

# A list column of the descriptions file, the table of its names, and the table that links them to games.
_LIST_COLUMNS = (
    ("genres", "genres", "genre_id", "game_genres"),
    ("developers", "developers", "developer_id", "game_developers"),
    ("publishers", "publishers", "publisher_id", "game_publishers"),
)

_MERGE_LIST_STATEMENTS = """
INSERT INTO steam.{names} (name)
SELECT listed.name FROM staged_games, jsonb_array_elements_text({column}) WITH ORDINALITY AS listed (name, position)
WHERE NOT EXISTS (SELECT FROM steam.{names} WHERE {names}.name = listed.name)
GROUP BY listed.name ORDER BY min(ARRAY[line, listed.position])
ON CONFLICT DO NOTHING;

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

# Steps of the merge that only a load into an empty table takes, and those that only later loads take.
_FIRST_LOAD = frozenset({"first reviews"})
_LATER_LOADS = frozenset({"reviews to compare", "reviews that differ", "new reviews"})

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


@dataclass(frozen=True)
class IngestionSummary:
    """What a load read and changed.

    Attributes:
        rows: Rows read per file.
        rejected: Rejected rows per reason.
        remarks: Loaded rows of which something is unknown or left out, per remark.
        inserted: New reviews.
        updated: Existing reviews that differed.
    """

    rows: dict[str, int]
    rejected: dict[str, int]
    remarks: dict[str, int]
    inserted: int
    updated: int

    def facts(self) -> dict[str, Any]:
        """Return the summary as plain values for the journal and artifacts."""
        return asdict(self)


def ingest(
    raw: str,
    database: str,
    *,
    year: int | None = None,
    max_rejected_share: float = MAX_REJECTED_SHARE,
    columns: str = "",
) -> IngestionSummary:
    """Load the raw files into the schema `steam`. Loading the same files again changes nothing.

    The exception is a date without a year: on a later day it may no longer be in the future, and moves by a year.

    Args:
        raw: A folder in the raw layout, a file with reviews, an archive, `gs://BUCKET/FOLDER`, `s3://BUCKET/FOLDER`, or
            `hf://OWNER/NAME/FOLDER` on Hugging Face.
        database: Reference to the database's URL, such as `env:DATABASE_URL`.
        year: Year of dates without one; None for the year of the file's newest date. A date that would be in the future
            on the day of the load is of the year before.
        max_rejected_share: Share of a file's rows (0 to 1) that may be unreadable. If there are more, nothing is loaded
            except the rejected rows, which are in `steam.rejected_rows` for inspection.
        columns: The columns of a reviews file in another layout, as in `date=timestamp_created,username=author`.

    Raises:
        UserError: The raw files, the parameters or the database are invalid.

    Example:
        >>> ingest("hf://HangenYuu/Steam_Games_Review/raw", "env:DATABASE_URL")
    """
    check_parameters(year, max_rejected_share)
    mapping = parse_columns(columns)
    newest = datetime.now(UTC).date() + timedelta(days=1)  # in eastern time zones it is already tomorrow
    with open_raw(raw) as sources:
        check_headers(sources, mapping)
        with connect(database, application="steam-recsys ingest", limits=LONG_STATEMENTS) as connection:
            with connection.cursor() as cursor:
                wait_for_other_loads(cursor)
            create_schema(connection, "steam")
            with connection.cursor() as cursor:
                # 1. Copy the readable rows of each file into staging tables.
                create_staging(cursor)
                reports = [
                    _stage(cursor, sources[raw_file.name], raw_file, newest, mapping)
                    for raw_file in RAW_FILES
                    if raw_file.name in sources
                ]

                # 2. Record the rejected rows, and stop if a file has too many.
                for report in reports:
                    replace_rejected_rows(cursor, report)
                try:
                    for report in reports:
                        check_rejected_share(report, max_rejected_share)
                except UserError:
                    connection.commit()  # keeps the rejected rows only: the staging tables are temporary
                    raise

                # 3. Merge the staging tables into the schema.
                changes = merge(cursor, year, newest)
                cursor.execute("ANALYZE steam.reviews, steam.users, steam.games")

    for name in STAGING_TABLES.keys() - sources.keys():
        log("ingest", f"{name} is missing: {_WITHOUT[name]}")
    summary = _summarize(reports, **changes)
    log("ingest", f"{summary.inserted:,} new reviews, {summary.updated:,} updated, the others unchanged")
    return summary


def check_raw(raw: str, columns: str = "") -> None:
    """Check that raw files can be read and have the columns of the layout.

    Args:
        raw: See `ingest`.
        columns: See `ingest`.

    Raises:
        UserError: The files or the columns are invalid.
    """
    with open_raw(raw) as sources:
        check_headers(sources, parse_columns(columns))


def check_parameters(year: int | None, max_rejected_share: float) -> None:
    """Check the parameters.

    Raises:
        UserError: A value is out of range.
    """
    if year is not None and not EARLIEST_REVIEW.year <= year <= 9999:
        raise UserError(f"The year is {year}: give one from {EARLIEST_REVIEW.year} to 9999.")
    if not 0 <= max_rejected_share <= 1:
        raise UserError(f"max_rejected_share is {max_rejected_share}: give a share from 0 to 1.")


def check_rejected_share(report: FileReport, max_share: float) -> None:
    """Check that not too many rows of a file were rejected.

    Raises:
        UserError: More than `max_share` (0 to 1) of the rows were rejected.
    """
    count = report.rows_rejected
    if count <= max_share * report.rows_read:
        return
    reasons = "; ".join(report.reasons()[:3])
    raise UserError(
        f"{report.file} has {count:,} of {report.rows_read:,} rows that cannot be read, more than the "
        f"{max_share:.1%} allowed ({reasons}): see steam.rejected_rows, then fix the file, or allow more with "
        f"recsys ingest --max-rejected-share 0.05, with compile.py --param max_rejected_share=0.05, or with "
        f"STEAM_RECSYS_PARAMETERS__MAX_REJECTED_SHARE=0.05 before make demo."
    )


def wait_for_other_loads(cursor: Cursor) -> None:
    """Wait until no other load is running, at most `LOAD_PATIENCE`, and keep others out until the transaction ends."""
    cursor.execute(f"SET LOCAL lock_timeout = '{LOAD_PATIENCE}'")
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext('steam-recsys:ingest'))")
    cursor.execute(f"SET LOCAL lock_timeout = '{LONG_STATEMENTS.lock}s'")


def create_staging(cursor: Cursor) -> None:
    """Create the staging tables of this transaction."""
    cursor.execute((Path(__file__).parent / "staging.sql").read_text())


def copy_into(cursor: Cursor, table: str, chunks: Iterable[Chunk]) -> None:
    """COPY rows in the text format into a staging table or a table of the schema `steam`."""
    copy_from_chunks(cursor, sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(*table.split("."))), chunks)


def merge(cursor: Cursor, year: int | None, newest: date) -> dict[str, int]:
    """Merge the staging tables into the operational schema.

    Args:
        cursor: Cursor of the transaction that filled the staging tables.
        year: Year of dates without one; None for the year of the newest date. If no row has a date, they stay unknown.
        newest: Latest possible date of a review.

    Returns:
        The number of reviews that were `inserted` and `updated`.
    """
    for table in STAGING_TABLES.values():
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
            if name in (_LATER_LOADS if first_load else _FIRST_LOAD):
                continue
            progress("ingest", f"merging: {name}")
            cursor.execute(statements, {"year": year, "newest": newest})
            counts[name] = cursor.rowcount
            if name == "game descriptions":
                _merge_lists(cursor)
            if name == "dates without a year":
                _log_unknown_dates(cursor, year)
        if first_load:
            progress("ingest", "merging: references and indexes")
    if first_load:
        return {"inserted": counts["first reviews"], "updated": 0}
    return {"inserted": counts["new reviews"], "updated": counts["reviews that differ"]}


def merge_statements() -> dict[str, str]:
    """Return the statements of each merge step by name, in order."""
    return read_queries(Path(__file__).parent / "merge.sql")


@contextmanager
def deferred_constraints(cursor: Cursor) -> Iterator[None]:
    """Drop the constraints and indexes of reviews and users, and create them again at the end: for a first load.

    A million rows take a third of the time, and the time grows linearly: filling an index in random order becomes slow
    once the index is larger than memory. Reviews, users and games, which reviews refer to, are locked until the commit.
    If another table of the shop refers to one of the constraints, all of them stay.
    """
    cursor.execute(_CONSTRAINTS_AND_INDEXES)
    statements = cursor.fetchall()
    cursor.execute("SAVEPOINT constraints")
    try:
        for drop, _ in statements:
            cursor.execute(drop)
    except psycopg2.errors.DependentObjectsStillExist as error:
        cursor.execute("ROLLBACK TO constraints")
        statements = []
        dependents = (error.diag.message_detail or "").partition("\n")[0].rstrip(".")
        log("ingest", f"the first load takes longer, because its constraints stay in place: {dependents}")
    yield
    for _, create in statements:
        cursor.execute(create)


def replace_rejected_rows(cursor: Cursor, report: FileReport) -> None:
    """Replace a file's rows in `steam.rejected_rows` with those of this load."""
    cursor.execute("DELETE FROM steam.rejected_rows WHERE file = %s", [report.file])
    copy_into(cursor, "steam.rejected_rows", copy_chunks(report.copy_rows()))


def _stage(cursor: Cursor, source: RawSource, raw_file: RawFile, newest: date, mapping: ColumnMapping) -> FileReport:
    report = FileReport(raw_file.name)
    if raw_file is REVIEWS:
        blocks = read_blocks(source, raw_file, mapping, report.remark)
        chunks = _with_progress(staged_reviews(blocks, newest, mapping, report), report)
    else:
        rows = read_rows(source, raw_file, mapping, report.remark)
        chunks = copy_chunks(staged_rows(rows, converters(raw_file, newest, mapping), report))
    copy_into(cursor, STAGING_TABLES[raw_file.name], chunks)
    for message in report.messages():
        log("ingest", f"{raw_file.name}: {message}")
    return report


def _summarize(reports: Sequence[FileReport], inserted: int, updated: int) -> IngestionSummary:
    rejected: Counter[str] = Counter()
    remarks: Counter[str] = Counter()
    for report in reports:
        rejected.update(report.by_reason())
        remarks.update(report.remarks)
    rows = {report.file: report.rows_read for report in reports}
    return IngestionSummary(rows, dict(rejected), dict(remarks), inserted, updated)


def _log_unknown_dates(cursor: Cursor, year: int | None) -> None:
    cursor.execute("SELECT month = 2 AND day = 29, count(*) FROM staged_reviews "
                   "WHERE month IS NOT NULL AND reviewed_on IS NULL GROUP BY 1")  # fmt: skip
    for leap_day, count in cursor.fetchall():
        reason = f"{year} has no February 29" if leap_day and year else "no date in the file has one"
        log("ingest", f"{REVIEWS.name}: the date has no year, and {reason}, so the date is unknown: {count:,}")


def _with_progress(chunks: Iterable[Chunk], report: FileReport) -> Iterator[Chunk]:
    shown = 0
    for chunk in chunks:
        if report.rows_read >= shown + PROGRESS_ROWS:
            shown = report.rows_read
            progress("ingest", f"{report.file}: {shown:,} rows")
        yield chunk


def _merge_lists(cursor: Cursor) -> None:
    for column, names, id_column, links in _LIST_COLUMNS:
        identifiers = {
            "column": sql.Identifier("staged_games", column),
            "names": sql.Identifier(names),
            "id": sql.Identifier(id_column),
            "links": sql.Identifier(links),
        }
        cursor.execute(sql.SQL(_MERGE_LIST_STATEMENTS).format(**identifiers))
