"""What a model is measured on: the users with a history before a day, and the games that they took up from it on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.dataset as ds

from components.shared.interactions import Bools, Interactions, Ints, Longs, load_interactions
from components.shared.snapshot import Snapshot


@dataclass(frozen=True)
class SnapshotBefore(Snapshot):
    """A snapshot as it was before a day: reviews on that day, after it, or without a date are not there."""

    day: date

    def dataset(self, table: str) -> ds.Dataset:
        """A table as an Arrow dataset."""
        dataset = super().dataset(table)
        return dataset.filter(pc.field("reviewed_on") < self.day) if table == "reviews" else dataset


def load_interactions_before(snapshot: Snapshot, cutoff: int) -> Interactions:
    """The dated interactions as they were before a day (days since 1970-01-01).

    Not the same as the latest interactions with those on and after the day taken away: there a game that a user
    reviewed before the day and again after it is missing, and would pass for a new one.
    """
    day = date(1970, 1, 1) + timedelta(days=cutoff)
    return load_interactions(SnapshotBefore(snapshot.root, snapshot.manifest, day))


@dataclass(frozen=True)
class Histories:
    """Games by user, as positions in a catalogue, CSR.

    Attributes:
        users: int64 [B], ascending.
        offsets: int64 [B + 1]; user b's games are `games[offsets[b]:offsets[b + 1]]`.
        games: int32.
    """

    users: Longs
    offsets: Longs
    games: Ints

    @classmethod
    def of(cls, interactions: Interactions, game_ids: Ints) -> Histories:
        """Group interactions by user, in the order in which they stand; `game_ids` is int32 [N], ascending."""
        order = np.argsort(interactions.users, kind="stable")
        users, starts = np.unique(interactions.users[order], return_index=True)
        offsets = np.append(starts, len(order)).astype(np.int64)
        return cls(users, offsets, positions_of(interactions.games[order], game_ids))

    def __len__(self) -> int:
        return len(self.users)

    @property
    def lengths(self) -> Longs:
        """The number of games of each user, int64 [B]."""
        return np.diff(self.offsets)

    def take(self, rows: npt.NDArray[Any]) -> Histories:
        """The users in some rows."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        return Histories(self.users[rows], offsets, self.games[np.repeat(self.offsets[:-1][rows], lengths) + within])


@dataclass(frozen=True)
class HeldOut:
    """Users with what they had before the cutoff and the games, new to them, that they reviewed from it on.

    Attributes:
        history: B users' games before the cutoff.
        relevant: the same users' new games, each at least one.
        left_out: held-out interactions that cannot be asked for: by users without a history, or with games that
            nobody had reviewed before the cutoff, which may not have been on sale.
    """

    history: Histories
    relevant: Histories
    left_out: int

    def __len__(self) -> int:
        return len(self.history)


def hold_out(past: Interactions, future: Interactions, game_ids: Ints) -> HeldOut:
    """Set up the evaluation of what was learnt from `past` on `future`; `game_ids` int32 [N], ascending.

    A game counts as relevant whatever the verdict: a review says that the user had the game.
    """
    history = Histories.of(past, game_ids)
    known = np.zeros(len(game_ids), dtype=bool)
    known[history.games] = True
    games = positions_of(future.games, game_ids)
    rows = positions_of(future.users, history.users)
    seen = np.isin(_pairs(rows, games, len(game_ids)), _pairs(*_flat(history), len(game_ids)))
    asked = (rows >= 0) & known[games] & ~seen
    relevant = Histories.of(future.where(asked), game_ids)
    return HeldOut(history.take(np.searchsorted(history.users, relevant.users)), relevant, int((~asked & ~seen).sum()))


def relevant_at(ranked: Ints, relevant: Histories) -> Bools:
    """Whether the game at each place of each user's ranking is relevant: bool [B, k] from int32 [B, k] positions."""
    width = 1 + max(int(ranked.max(initial=-1)), int(relevant.games.max(initial=-1)))
    rows = np.arange(len(ranked))[:, None]
    # A place that is left empty, -1, must not pass for the last game of the user before.
    return (ranked >= 0) & np.isin(rows * width + ranked, _pairs(*_flat(relevant), width))


def positions_of(ids: npt.NDArray[Any], ascending: npt.NDArray[Any]) -> Ints:
    """Where each id stands in an ascending array of ids, int32, -1 where it does not."""
    if not len(ascending):
        return np.full(len(ids), -1, dtype=np.int32)
    found = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    return np.where(ascending[found] == ids, found, -1).astype(np.int32)


def _flat(histories: Histories) -> tuple[Longs, Ints]:
    return np.repeat(np.arange(len(histories)), histories.lengths), histories.games


def _pairs(rows: npt.NDArray[Any], games: Ints, n_games: int) -> Longs:
    return rows.astype(np.int64) * n_games + games
