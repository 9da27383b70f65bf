"""The stage: raw files → the operational schema, all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from components.ingest.huggingface import download, is_huggingface
from components.ingest.load import copy_into, create_staging, merge, replace_rejects
from components.ingest.raw_files import GAMES, RANKINGS, REVIEWS, RawFile, RawRow, check_folder, read_rows
from components.ingest.staging import Rejects, game_converter, ranking_converter, review_converter, staged_rows
from steam_recsys.data.schemas import EARLIEST_REVIEW
from steam_recsys.database.connection import Cursor, connect, create_schema
from steam_recsys.errors import UserError
from steam_recsys.logging import log, progress
from steam_recsys.storage.folder import open_folder

MAX_REJECTED_SHARE = 0.01
PROGRESS_ROWS = 250_000


@dataclass(frozen=True)
class Ingested:
    """What a load read and what it changed.

    Attributes:
        rows: rows read, a file.
        rejected: rows put aside, a reason.
        inserted: new reviews.
        updated: reviews that were there and differed.
    """

    rows: dict[str, int]
    rejected: dict[str, int]
    inserted: int
    updated: int

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for the journal and artifacts."""
        return asdict(self)


def ingest(
    raw: str, database: str, *, year: int | None = None, max_rejected_share: float = MAX_REJECTED_SHARE
) -> Ingested:
    """Load the three raw files of a folder into the schema `steam`.

    Args:
        raw: a folder in the raw layout, on disk or `gs://…`, or `hf://OWNER/NAME/FOLDER`, a data set on Hugging Face.
        database: a reference such as `env:DATABASE_URL`.
        year: of dates without one; None takes the year of the file's newest dated row.
        max_rejected_share: the run stops, and loads nothing, where more of a file's rows cannot be read. Those are in
            `steam.rejected_rows` then, to be looked at.

    Raises:
        UserError: the raw files or the database are not as they must be.
    """
    check_parameters(year, max_rejected_share)
    newest = datetime.now(UTC).date() + timedelta(days=1)  # it is tomorrow already to the east
    with _raw_folder(raw) as folder, connect(database, application="steam-recsys ingest") as connection:
        create_schema(connection, "steam")
        with connection.cursor() as cursor:
            create_staging(cursor)
            rejects = [_stage(cursor, folder, raw_file, newest) for raw_file in (GAMES, REVIEWS, RANKINGS)]
            for rejected in rejects:
                replace_rejects(cursor, rejected)
            try:
                for rejected in rejects:
                    check_rejected_share(rejected, max_rejected_share)
            except UserError:
                connection.commit()  # nothing but the rejected rows: what was staged goes
                raise
            changes = merge(cursor, year, newest)
            cursor.execute("ANALYZE steam.reviews, steam.users, steam.games")
    done = Ingested({r.file: r.rows for r in rejects}, _reasons(rejects), changes["inserted"], changes["updated"])
    log("ingest", f"{done.inserted:,} reviews are new, {done.updated:,} differed, the others were there already")
    return done


@contextmanager
def _raw_folder(raw: str) -> Iterator[Path]:
    """The raw files' folder, on this machine."""
    with nullcontext(download(raw)) if is_huggingface(raw) else open_folder(raw).fetched("") as folder:
        try:
            check_folder(folder)
            yield folder
        except UserError as error:  # who named a bucket knows nothing of where its files are on this machine
            raise UserError(str(error).replace(str(folder), raw.rstrip("/"))) from None


def check_parameters(year: int | None, max_rejected_share: float) -> None:
    """Check what the user asks for.

    Raises:
        UserError: a value is out of its range.
    """
    if year is not None and not EARLIEST_REVIEW.year <= year <= 9999:
        raise UserError(f"The year is {year}: give one from {EARLIEST_REVIEW.year}.")
    if not 0 <= max_rejected_share <= 1:
        raise UserError(f"max_rejected_share is {max_rejected_share}: give a share from 0 to 1.")


def check_rejected_share(rejects: Rejects, max_share: float) -> None:
    """Stop where too many of a file's rows cannot be read.

    Raises:
        UserError: more than `max_share` (0 to 1) of the rows were rejected.
    """
    rejected = len(rejects.rejected)
    if rejected <= max_share * rejects.rows:
        return
    reasons = "; ".join(rejects.sentences()[:3])
    raise UserError(
        f"{rejects.file} has {rejected:,} of {rejects.rows:,} rows that cannot be read, more than the "
        f"{max_share:.1%} allowed ({reasons}): look at steam.rejected_rows, then mend the file, or allow more with "
        f"--param max_rejected_share=0.05, or with STEAM_RECSYS_PARAMETERS__MAX_REJECTED_SHARE=0.05 before the command."
    )


def _stage(cursor: Cursor, folder: Path, raw_file: RawFile, newest: date) -> Rejects:
    table, converter = _STAGING[raw_file.name]
    rejects = Rejects(raw_file.name)
    rows = _with_progress(read_rows(folder, raw_file), raw_file.name)
    copy_into(cursor, table, staged_rows(rows, converter(newest), rejects))
    log("ingest", f"{raw_file.name}: {rejects.rows:,} rows read, {len(rejects.rejected):,} put aside")
    for sentence in rejects.sentences():
        log("ingest", f"{raw_file.name}: put aside because {sentence}")
    return rejects


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


def _reasons(rejects: Iterable[Rejects]) -> dict[str, int]:
    total: dict[str, int] = {}
    for rejected in rejects:
        for reason, count in rejected.by_reason().items():
            total[reason] = total.get(reason, 0) + count
    return total
