"""Users' games as positions in a catalogue, and where ids stand in one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from steam_recsys.data.interactions import Interactions


@dataclass(frozen=True)
class Histories:
    """Games by user, as positions in a catalogue, CSR, a user's in the order of time.

    Attributes:
        users: int64 [B], ascending.
        offsets: int64 [B + 1]; user b's games are `games[offsets[b]:offsets[b + 1]]`.
        games: int32.
        recommended: bool, the verdict of the review of each of the games.
        hours: float32, how long the user had played each, NaN where unknown.
    """

    users: Int64Array
    offsets: Int64Array
    games: Int32Array
    recommended: BoolArray
    hours: Float32Array

    @classmethod
    def from_interactions(cls, interactions: Interactions, game_ids: Int32Array) -> Histories:
        """Group interactions by user, in the order in which they stand; `game_ids` is int32 [N], ascending."""
        order = np.argsort(interactions.users, kind="stable")
        users, starts = np.unique(interactions.users[order], return_index=True)
        offsets = np.append(starts, len(order)).astype(np.int64)
        games = positions_of(interactions.games[order], game_ids)
        return cls(users, offsets, games, interactions.recommended[order], interactions.hours[order])

    @classmethod
    def from_games(cls, *histories: Sequence[int]) -> Histories:
        """Users numbered from 0 by their games' positions, recommended all of them, as for a click of a second ago."""
        offsets = np.concatenate([[0], np.cumsum([len(games) for games in histories])]).astype(np.int64)
        games = np.array([game for games in histories for game in games], dtype=np.int32)
        return cls(
            np.arange(len(histories)),
            offsets,
            games,
            np.ones(len(games), bool),
            np.full(len(games), np.nan, np.float32),
        )

    def __len__(self) -> int:
        return len(self.users)

    @property
    def lengths(self) -> Int64Array:
        """The number of games of each user, int64 [B]."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Int64Array:
        """The row of the user whose each game is, int64 of the shape of `games`."""
        return np.repeat(np.arange(len(self)), self.lengths)

    def recommended_only(self) -> Histories:
        """The same users' games without those that they do not recommend."""
        kept = self.recommended
        offsets = np.concatenate([[0], np.cumsum(kept)])[self.offsets].astype(np.int64)
        return Histories(self.users, offsets, self.games[kept], self.recommended[kept], self.hours[kept])

    def take(self, rows: npt.NDArray[Any]) -> Histories:
        """The users in some rows."""
        lengths = self.lengths[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        within = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
        places = np.repeat(self.offsets[:-1][rows], lengths) + within
        return Histories(self.users[rows], offsets, self.games[places], self.recommended[places], self.hours[places])


def positions_of(ids: npt.NDArray[Any], ascending: npt.NDArray[Any]) -> Int32Array:
    """Where each id stands in an ascending array of ids, int32, -1 where it does not."""
    if not len(ascending):
        return np.full(len(ids), -1, dtype=np.int32)
    found = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    return np.where(ascending[found] == ids, found, -1).astype(np.int32)
