"""Interactions: who reviewed what and when, as flat arrays, and how they are split by time."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.shared.snapshot import Snapshot

UNDATED = np.iinfo(np.int32).min
"""The day of an interaction that cannot be placed in time."""

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]


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

    users: Longs
    games: Ints
    days: Ints
    recommended: Bools
    hours: Floats

    def __len__(self) -> int:
        return len(self.users)

    def where(self, mask: npt.NDArray[Any]) -> Interactions:
        """The rows that a boolean mask or an index array picks."""
        return Interactions(*(getattr(self, field.name)[mask] for field in fields(self)))

    @property
    def dated(self) -> Bools:
        """Which rows can be placed in time, bool [n]."""
        return np.not_equal(self.days, UNDATED)


def load_interactions(
    snapshot: Snapshot, *, users: tuple[int, int] | None = None, before: int | None = None
) -> Interactions:
    """Read a snapshot's reviews by known users; of several reviews of a game by one user the latest counts.

    Args:
        snapshot: the snapshot.
        users: the first and the last user id to read, both included; None reads all.
        before: reads the interactions as they were before a day (days since 1970-01-01), the dated ones only. This is
            not the same as taking later ones away afterwards: a game that a user reviewed before the day and again
            after it would be missing, and pass for a new one.

    Returns:
        Interactions ordered by user, then day, then review id. The latest of a user's reviews of a game is the one
        with the newest date, the highest review id among equals; a dated review is later than an undated one.
    """
    columns = ["user_id", "game_id", "reviewed_on", "recommended", "hours_played", "review_id"]
    wanted = pc.field("user_id").is_valid()
    if users is not None:
        wanted = (pc.field("user_id") >= users[0]) & (pc.field("user_id") <= users[1])
    if before is not None:
        wanted &= pc.field("reviewed_on") < date(1970, 1, 1) + timedelta(days=before)
    table = snapshot.dataset("reviews").to_table(columns=columns, filter=wanted)
    return _latest_of_each_pair(table)


def _latest_of_each_pair(table: pa.Table) -> Interactions:
    users = _numpy(table["user_id"], np.int64)
    games = _numpy(table["game_id"], np.int32)
    days = _numpy(pc.fill_null(table["reviewed_on"].cast(pa.int32()), UNDATED), np.int32)
    reviews = _numpy(table["review_id"], np.int64)
    rows = Interactions(
        users,
        games,
        days,
        _numpy(table["recommended"], np.bool_),
        _numpy(pc.fill_null(table["hours_played"], float("nan")), np.float32),
    )
    order = np.lexsort((reviews, days, games, users))
    pair_ends = np.ones(len(order), dtype=bool)
    pair_ends[:-1] = (users[order][1:] != users[order][:-1]) | (games[order][1:] != games[order][:-1])
    latest = order[pair_ends]
    return rows.where(latest[np.lexsort((reviews[latest], days[latest], users[latest]))])


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


def _numpy(column: pa.ChunkedArray, dtype: type) -> npt.NDArray[Any]:
    return np.asarray(column.to_numpy(), dtype=dtype)
