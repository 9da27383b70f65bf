"""Interactions: who reviewed what and when, as flat arrays, and how they are split by time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from steam_recsys.data.snapshot import Snapshot

UNDATED = np.iinfo(np.int32).min
"""The day of an interaction that cannot be placed in time."""

EPOCH = date(1970, 1, 1)

SORTED_AT_A_TIME = 1 << 20

COLUMNS: dict[str, type] = {
    "user_id": np.int64, "game_id": np.int32, "reviewed_on": np.int32, "recommended": np.bool_,
    "hours_played": np.float32, "review_id": np.int64,
}  # fmt: skip
"""The columns of the reviews that are read, in the order of the fields of `Interactions`, and how they are held."""


@dataclass(frozen=True)
class Interactions:
    """Reviews by known users, one row a (user, game), aligned arrays of shape [n].

    Attributes:
        users: int64 user ids.
        games: int32 game ids.
        days: int32 days since 1970-01-01, or `UNDATED`.
        recommended: bool, the review's verdict.
        hours: float32 hours played, NaN where unknown.
    """

    users: Int64Array
    games: Int32Array
    days: Int32Array
    recommended: BoolArray
    hours: Float32Array

    def __len__(self) -> int:
        return len(self.users)

    def where(self, mask: npt.NDArray[Any] | slice) -> Interactions:
        """The rows that a boolean mask or an index array picks, copied, or those of a slice, as they are."""
        return Interactions(*(getattr(self, field.name)[mask] for field in fields(self)))

    @property
    def dated(self) -> BoolArray:
        """Which rows can be placed in time, bool [n]."""
        return np.not_equal(self.days, UNDATED)


def day_of(when: date) -> int:
    """A date in days since 1970-01-01."""
    return (when - EPOCH).days


def date_of(day: int) -> date:
    """The opposite of `day_of`."""
    return EPOCH + timedelta(days=day)


def load_interactions(snapshot: Snapshot, *, before: int | None = None) -> Interactions:
    """Read a snapshot's reviews by known users; of several reviews of a game by one user the latest counts.

    Args:
        snapshot: the snapshot.
        before: reads the interactions as they were before a day (days since 1970-01-01), the dated ones only. This is
            not the same as taking later ones away afterwards: a game that a user reviewed before the day and again
            after it would be missing, and pass for a new one.

    Returns:
        Interactions ordered by user, then day, then review id. The latest of a user's reviews of a game is the one
        with the newest date, the highest review id among equals; a dated review is later than an undated one.
    """
    batches = read_reviews(snapshot, COLUMNS, before)
    most = snapshot.manifest.rows("reviews")
    arrays: dict[str, npt.NDArray[Any]] = {name: np.empty(most, dtype) for name, dtype in COLUMNS.items()}
    end = 0
    for batch in batches:  # no more than a batch is held twice
        start, end = end, end + len(batch["user_id"])
        for name, array in arrays.items():
            array[start:end] = batch[name]
    *columns, reviews = (array[:end] for array in arrays.values())
    return latest_of_each_pair(Interactions(*columns), reviews)


def read_reviews(
    snapshot: Snapshot, columns: Iterable[str], before: int | None = None
) -> Iterator[dict[str, npt.NDArray[Any]]]:
    """Read some of the `COLUMNS` of the reviews by known users, a batch at a time, in the order of the snapshot.

    Args:
        snapshot: the snapshot.
        columns: their names.
        before: reads the dated ones of the days before this one only.
    """
    wanted = pc.field("user_id").is_valid()
    if before is not None:
        wanted &= pc.field("reviewed_on") < date_of(before)
    batches = snapshot.dataset("reviews").to_batches(
        columns=list(columns), filter=wanted, batch_readahead=1, fragment_readahead=1
    )
    for batch in batches:
        yield {name: _plain(batch[name]) for name in batch.schema.names}


def newest_day(snapshot: Snapshot) -> int:
    """The day of the newest review by a known user, `UNDATED` where none has a day."""
    days = (int(batch["reviewed_on"].max(initial=UNDATED)) for batch in read_reviews(snapshot, ["reviewed_on"]))
    return max(days, default=UNDATED)


def _plain(column: pa.Array) -> npt.NDArray[Any]:
    if pa.types.is_date32(column.type):
        column = pc.fill_null(column.cast(pa.int32()), UNDATED)
    elif pa.types.is_floating(column.type):
        column = pc.fill_null(column, float("nan"))
    found: npt.NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return found


def latest_of_each_pair(rows: Interactions, reviews: Int64Array) -> Interactions:
    """What counts of reviews, int64 the ids of `rows`, in the order in which `load_interactions` has it.

    Some of the users at a time, as sorting takes several copies.
    """
    by_user = np.argsort(rows.users, kind="stable")
    found = Interactions(*(np.empty_like(getattr(rows, field.name)) for field in fields(rows)))
    start = end = 0
    while start < len(by_user):
        last = rows.users[by_user[min(start + SORTED_AT_A_TIME, len(by_user)) - 1]]
        stop = int(np.searchsorted(rows.users, last, side="right", sorter=by_user))
        mine = by_user[start:stop]
        part = _latest_of_each_pair_of_some(rows.where(mine), reviews[mine])
        for field in fields(found):
            getattr(found, field.name)[end : end + len(part)] = getattr(part, field.name)
        start, end = stop, end + len(part)
    return found.where(slice(end))


def _latest_of_each_pair_of_some(rows: Interactions, reviews: Int64Array) -> Interactions:
    order = np.lexsort((reviews, rows.days, rows.games, rows.users))
    users, games = rows.users[order], rows.games[order]
    pair_ends = np.ones(len(order), dtype=bool)
    pair_ends[:-1] = (users[1:] != users[:-1]) | (games[1:] != games[:-1])
    latest = order[pair_ends]
    return rows.where(latest[np.lexsort((reviews[latest], rows.days[latest], rows.users[latest]))])


def cutoff_day(interactions: Interactions, held_out_share: float) -> int:
    """The day on which the newest `held_out_share` of the dated interactions begins (int, days since 1970-01-01).

    Whole days are held out, so that no day is split between training and evaluation.
    """
    days = np.sort(interactions.days[interactions.dated])
    return int(days[int(len(days) * (1 - held_out_share))])


def split_by_time(interactions: Interactions, cutoff: int) -> tuple[Interactions, Interactions]:
    """The dated interactions before the cutoff day and those on it or after. Undated ones are in neither."""
    past = interactions.dated & (interactions.days < cutoff)
    return interactions.where(past), interactions.where(interactions.days >= cutoff)
