"""The ingestion stage: load raw files into the operational schema, all of them or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from components.ingest.load import copy_into, create_staging, merge, replace_rejected_rows
from components.ingest.raw_files import GAMES, RANKINGS, REVIEWS, RawFile, RawRow, open_raw, read_rows
from components.ingest.staging import RejectedRows, game_converter, ranking_converter, review_converter, staged_rows
from steam_recsys.data.schemas import EARLIEST_REVIEW
from steam_recsys.database.connection import Cursor, connect, create_schema
from steam_recsys.errors import UserError
from steam_recsys.logging import log, progress

MAX_REJECTED_SHARE = 0.01
PROGRESS_ROWS = 250_000


@dataclass(frozen=True)
class IngestionSummary:
    """What a load read and changed.

    Attributes:
        rows: Rows read per file.
        rejected: Rejected rows per reason.
        inserted: New reviews.
        updated: Existing reviews that differed.
    """

    rows: dict[str, int]
    rejected: dict[str, int]
    inserted: int
    updated: int

    def facts(self) -> dict[str, Any]:
        """Return the summary as plain values for the journal and artifacts."""
        return asdict(self)


def ingest(
    raw: str, database: str, *, year: int | None = None, max_rejected_share: float = MAX_REJECTED_SHARE
) -> IngestionSummary:
    """Load the three raw files into the schema `steam`. Loading the same files again changes nothing.

    Args:
        raw: A folder in the raw layout, `gs://BUCKET/FOLDER`, or `hf://OWNER/NAME/FOLDER` on Hugging Face.
        database: Reference to the database's URL, such as `env:DATABASE_URL`.
        year: Year of dates without one; None for the year of the file's newest date.
        max_rejected_share: Share of a file's rows (0 to 1) that may be unreadable. If there are more, nothing is loaded
            except the rejected rows, which are in `steam.rejected_rows` for inspection.

    Raises:
        UserError: The raw files, the parameters or the database are invalid.

    Example:
        >>> ingest("hf://HangenYuu/Steam_Games_Review/raw", "env:DATABASE_URL")
    """
    check_parameters(year, max_rejected_share)
    newest = datetime.now(UTC).date() + timedelta(days=1)  # in eastern time zones it is already tomorrow
    with open_raw(raw) as folder, connect(database, application="steam-recsys ingest") as connection:
        create_schema(connection, "steam")
        with connection.cursor() as cursor:
            # 1. Copy the readable rows of each file into staging tables.
            create_staging(cursor)
            rejected = [_stage(cursor, folder, raw_file, newest) for raw_file in (GAMES, REVIEWS, RANKINGS)]

            # 2. Record the rejected rows, and stop if a file has too many.
            for file_rows in rejected:
                replace_rejected_rows(cursor, file_rows)
            try:
                for file_rows in rejected:
                    check_rejected_share(file_rows, max_rejected_share)
            except UserError:
                connection.commit()  # keeps the rejected rows only: the staging tables are temporary
                raise

            # 3. Merge the staging tables into the schema.
            changes = merge(cursor, year, newest)
            cursor.execute("ANALYZE steam.reviews, steam.users, steam.games")

    reasons: Counter[str] = Counter()
    for file_rows in rejected:
        reasons.update(file_rows.by_reason())
    summary = IngestionSummary({r.file: r.rows_read for r in rejected}, dict(reasons), **changes)
    log("ingest", f"{summary.inserted:,} new reviews, {summary.updated:,} updated, the others unchanged")
    return summary


def check_parameters(year: int | None, max_rejected_share: float) -> None:
    """Check the parameters.

    Raises:
        UserError: A value is out of range.
    """
    if year is not None and not EARLIEST_REVIEW.year <= year <= 9999:
        raise UserError(f"The year is {year}: give one from {EARLIEST_REVIEW.year} to 9999.")
    if not 0 <= max_rejected_share <= 1:
        raise UserError(f"max_rejected_share is {max_rejected_share}: give a share from 0 to 1.")


def check_rejected_share(rejected: RejectedRows, max_share: float) -> None:
    """Check that not too many rows of a file were rejected.

    Raises:
        UserError: More than `max_share` (0 to 1) of the rows were rejected.
    """
    count = len(rejected.rows)
    if count <= max_share * rejected.rows_read:
        return
    reasons = "; ".join(rejected.messages()[:3])
    raise UserError(
        f"{rejected.file} has {count:,} of {rejected.rows_read:,} rows that cannot be read, more than the "
        f"{max_share:.1%} allowed ({reasons}): see steam.rejected_rows, then fix the file, or allow more with "
        f"--param max_rejected_share=0.05, or with STEAM_RECSYS_PARAMETERS__MAX_REJECTED_SHARE=0.05 before the command."
    )


def _stage(cursor: Cursor, folder: Path, raw_file: RawFile, newest: date) -> RejectedRows:
    table, converter = _STAGING[raw_file.name]
    rejected = RejectedRows(raw_file.name)
    rows = _with_progress(read_rows(folder, raw_file), raw_file.name)
    copy_into(cursor, table, staged_rows(rows, converter(newest), rejected))
    log("ingest", f"{raw_file.name}: {rejected.rows_read:,} rows read, {len(rejected.rows):,} rejected")
    for message in rejected.messages():
        log("ingest", f"{raw_file.name}: rejected because {message}")
    return rejected


_STAGING: dict[str, tuple[str, Callable[[date], Callable[[RawRow], str]]]] = {
    GAMES.name: ("staged_games", lambda newest: game_converter()),
    REVIEWS.name: ("staged_reviews", review_converter),
    RANKINGS.name: ("staged_rankings", lambda newest: ranking_converter()),
}


def _with_progress(rows: Iterable[RawRow], name: str) -> Iterator[RawRow]:
    for number, row in enumerate(rows, start=1):
        if number % PROGRESS_ROWS == 0:
            progress("ingest", f"{name}: {number:,} rows")
        yield row
