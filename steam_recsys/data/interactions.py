"""Interactions: who reviewed which game when, as flat arrays, read from a snapshot and split by time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, Int64Array, hashed
from steam_recsys.data.snapshot import Snapshot

UNDATED = np.iinfo(np.int32).min
"""The day of an interaction without a date."""

EPOCH = date(1970, 1, 1)

SORT_BATCH_ROWS = 1 << 20

SAMPLE_REVIEWS = 10_000_000
"""About how many reviews training and evaluation read at most."""

SAMPLE_STREAM = 1
"""Stream of the hashes that choose the sample: another one than that of other samples of users."""

REVIEW_COLUMNS: dict[str, type] = {
    "user_id": np.int64, "game_id": np.int32, "reviewed_on": np.int32, "recommended": np.bool_,
    "hours_played": np.float32, "review_id": np.int64,
}  # fmt: skip
"""Columns of a snapshot's reviews and their types in memory, in the order of the fields of `Interactions`."""

REVIEW_DTYPE = np.dtype(list(REVIEW_COLUMNS.items()))

Reviews = npt.NDArray[np.void]
"""Reviews as rows of the type REVIEW_DTYPE, [n]."""


@dataclass(frozen=True)
class Interactions:
    """Reviews by known users, one row per user and game.

    Attributes:
        users: User ids, int64 [n].
        games: Game ids, int32 [n].
        days: Days since 1970-01-01, int32 [n], or `UNDATED`.
        recommended: Whether the review recommends the game, bool [n].
        hours: Hours played, float32 [n], NaN if unknown.
    """

    users: Int64Array
    games: Int32Array
    days: Int32Array
    recommended: BoolArray
    hours: Float32Array

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: npt.NDArray[Any] | slice) -> Interactions:
        """Return the given rows: a copy for a mask or indices, a view for a slice."""
        return Interactions(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def dated(self) -> BoolArray:
        """Which rows have a date, bool [n]."""
        return np.not_equal(self.days, UNDATED)


def day_of(when: date) -> int:
    """Return a date as days since 1970-01-01."""
    return (when - EPOCH).days


def date_of(day: int) -> date:
    """Return the date of a day since 1970-01-01."""
    return EPOCH + timedelta(days=day)


def load_sample(snapshot: Snapshot, *, before: int | None = None) -> Interactions:
    """Read the interactions of a sample of the users, or of all if there are at most `SAMPLE_REVIEWS` reviews.

    Models and metrics are about users as such, not about each single one: ten million reviews say as much as a hundred
    million, in a tenth of the memory. A user is in the sample by a hash of the id, so all stages and later snapshots
    sample the same users, fewer of them as the shop grows.

    Args:
        snapshot: The snapshot.
        before: See `load_interactions`.
    """
    return load_interactions(snapshot, before=before, share=sample_share(snapshot.manifest.rows("reviews")))


def sample_share(reviews: int) -> float:
    """Return the share of the users in the sample of a shop with this number of reviews."""
    return min(1.0, SAMPLE_REVIEWS / max(reviews, 1))


def in_sample(users: Int64Array, share: float) -> BoolArray:
    """Return which users are in a sample of about this share (0 to 1) of them, bool [n]."""
    if share >= 1:
        return np.ones(len(users), dtype=bool)
    sampled: BoolArray = hashed(users, SAMPLE_STREAM) < np.uint64(int(share * 2**64))
    return sampled


def load_interactions(snapshot: Snapshot, *, before: int | None = None, share: float = 1.0) -> Interactions:
    """Read a snapshot's reviews by known users; if a user reviewed a game more than once, the latest review counts.

    Args:
        snapshot: The snapshot.
        before: Day (days since 1970-01-01) before which to read dated interactions, as they were then. Removing later
            interactions afterwards is not the same: a game reviewed before the day and again after it would be
            missing from the history and look new.
        share: Share of the users to read, see `in_sample`.

    Returns:
        Interactions ordered by user, day and review id. The latest of a user's reviews of a game has the newest date;
        among equal dates it has the highest review id; a dated review is later than an undated one.
    """
    batches = read_reviews(snapshot, REVIEW_COLUMNS, before)
    rows = snapshot.manifest.rows("reviews")
    arrays: dict[str, npt.NDArray[Any]] = {name: np.empty(rows, dtype) for name, dtype in REVIEW_COLUMNS.items()}
    end = 0
    for batch in batches:  # only one batch is in memory twice
        kept = in_sample(batch["user_id"], share)
        start, end = end, end + int(np.count_nonzero(kept))
        for name, array in arrays.items():
            array[start:end] = batch[name][kept]
    *columns, reviews = (array[:end] for array in arrays.values())
    return latest_of_each_pair(Interactions(*columns), reviews)


def read_reviews(
    snapshot: Snapshot, columns: Iterable[str], before: int | None = None
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Read reviews by known users in batches, in the order of the snapshot.

    Args:
        snapshot: The snapshot.
        columns: Names of columns, of `REVIEW_COLUMNS`.
        before: Day (days since 1970-01-01) before which to read dated reviews; None reads all reviews.

    Yields:
        Arrays of equal length by name of the column.
    """
    condition = pc.field("user_id").is_valid()
    if before is not None:
        condition &= pc.field("reviewed_on") < date_of(before)
    batches = snapshot.dataset("reviews").to_batches(
        columns=list(columns), filter=condition, batch_readahead=1, fragment_readahead=1
    )
    with snapshot.reading("reviews"):
        for batch in batches:
            yield review_arrays(batch)


def review_arrays(rows: pa.RecordBatch | pa.Table) -> dict[str, npt.NDArray[Any]]:
    """Convert columns of reviews by known users to arrays with the types of `REVIEW_COLUMNS`, by name."""
    return {name: _to_numpy(rows[name]) for name in rows.schema.names}


def newest_day(snapshot: Snapshot) -> int:
    """Return the day of the newest review by a known user, `UNDATED` if no review has a date."""
    days = (int(batch["reviewed_on"].max(initial=UNDATED)) for batch in read_reviews(snapshot, ["reviewed_on"]))
    return max(days, default=UNDATED)


def day_after_newest(snapshot: Snapshot) -> date:
    """Return the day after the newest review, or the day of the extraction if no review has a day."""
    newest = newest_day(snapshot)
    if newest == UNDATED:
        return datetime.fromisoformat(snapshot.manifest.extracted_at).date()
    return date_of(newest + 1)


def _to_numpy(column: pa.Array) -> npt.NDArray[Any]:
    if pa.types.is_date32(column.type):
        column = pc.fill_null(column.cast(pa.int32()), UNDATED)
    elif pa.types.is_floating(column.type):
        column = pc.fill_null(column, float("nan"))
    array: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return array


def review_rows(columns: Mapping[str, npt.NDArray[Any]]) -> Reviews:
    """Make rows of the columns `REVIEW_COLUMNS`."""
    rows = np.empty(len(columns["review_id"]), dtype=REVIEW_DTYPE)
    for name in REVIEW_COLUMNS:
        rows[name] = columns[name]
    return rows


def no_reviews() -> Reviews:
    """Return no rows."""
    return np.zeros(0, dtype=REVIEW_DTYPE)


def to_interactions(reviews: Reviews) -> Interactions:
    """Keep the latest review of each user and game, in the order of `load_interactions`."""
    *columns, review_ids = (np.ascontiguousarray(reviews[name]) for name in REVIEW_COLUMNS)
    return latest_of_each_pair(Interactions(*columns), review_ids)


def latest_of_each_pair(rows: Interactions, reviews: Int64Array) -> Interactions:
    """Keep the latest review of each user and game, in the order of `load_interactions`.

    Users are sorted in batches, because sorting takes several copies.

    Args:
        rows: All reviews.
        reviews: Review id of each row, int64 [n].
    """
    by_user = np.argsort(rows.users, kind="stable")
    latest = Interactions(*(np.empty_like(getattr(rows, field.name)) for field in fields(rows)))
    start = end = 0
    while start < len(by_user):
        last_user = rows.users[by_user[min(start + SORT_BATCH_ROWS, len(by_user)) - 1]]
        stop = int(np.searchsorted(rows.users, last_user, side="right", sorter=by_user))
        batch = by_user[start:stop]
        part = _latest_of_each_pair(rows.take(batch), reviews[batch])
        for field in fields(latest):
            getattr(latest, field.name)[end : end + len(part)] = getattr(part, field.name)
        start, end = stop, end + len(part)
    return latest.take(slice(end))


def _latest_of_each_pair(rows: Interactions, reviews: Int64Array) -> Interactions:
    order = np.lexsort((reviews, rows.days, rows.games, rows.users))
    users, games = rows.users[order], rows.games[order]
    pair_ends = np.ones(len(order), dtype=bool)
    pair_ends[:-1] = (users[1:] != users[:-1]) | (games[1:] != games[:-1])
    latest = order[pair_ends]
    return rows.take(latest[np.lexsort((reviews[latest], rows.days[latest], rows.users[latest]))])


def cutoff_day(interactions: Interactions, held_out_share: float) -> int:
    """Return the day (days since 1970-01-01) on which the newest `held_out_share` of the dated interactions begins.

    Whole days are held out: no day is split between training and evaluation.
    """
    days = np.sort(interactions.days[interactions.dated])
    return int(days[int(len(days) * (1 - held_out_share))])


def split_by_time(interactions: Interactions, cutoff: int) -> tuple[Interactions, Interactions]:
    """Return the dated interactions before the cutoff day, and those on or after it. Both leave out undated ones."""
    past = interactions.dated & (interactions.days < cutoff)
    return interactions.take(past), interactions.take(interactions.days >= cutoff)
