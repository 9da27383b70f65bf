"""Histories: the games of each user as positions in a catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, Int64Array, offsets_from_lengths
from steam_recsys.data.interactions import Interactions


@dataclass(frozen=True)
class Histories:
    """The games of B users as positions in a catalogue, in CSR form, ordered by time for each user.

    Attributes:
        users: User ids, int64 [B], ascending.
        offsets: Offsets, int64 [B + 1]; the games of user b are `games[offsets[b]:offsets[b + 1]]`.
        games: Positions in the catalogue, int32 [n], -1 for games that are not in it.
        recommended: Whether the user recommends the game, bool [n].
        hours: Hours played, float32 [n], NaN if unknown.
    """

    users: Int64Array
    offsets: Int64Array
    games: Int32Array
    recommended: BoolArray
    hours: Float32Array

    @classmethod
    def from_interactions(cls, interactions: Interactions, game_ids: Int32Array) -> Histories:
        """Group interactions by user and keep their order.

        Args:
            interactions: Reviews, each user's ordered by time.
            game_ids: The catalogue, int32 [N], ascending.
        """
        order = np.argsort(interactions.users, kind="stable")
        users, starts = np.unique(interactions.users[order], return_index=True)
        offsets = np.append(starts, len(order)).astype(np.int64)
        games = positions_of(interactions.games[order], game_ids)
        return cls(users, offsets, games, interactions.recommended[order], interactions.hours[order])

    @classmethod
    def of_users(cls, users: Int64Array, interactions: Interactions, game_ids: Int32Array) -> Histories:
        """Group interactions by user, also for users who have none.

        Args:
            users: The users, int64 [B], ascending; interactions of others are ignored.
            interactions: Reviews in the order of `load_interactions`.
            game_ids: The catalogue, int32 [N], ascending.
        """
        known = interactions.take(np.isin(interactions.users, users))
        offsets = np.append(np.searchsorted(known.users, users), len(known))
        return cls(users, offsets, positions_of(known.games, game_ids), known.recommended, known.hours)

    @classmethod
    def from_games(cls, *histories: Sequence[int]) -> Histories:
        """Make histories from positions, for users numbered from 0 who recommend all their games; hours are unknown.

        Example:
            >>> Histories.from_games([2, 0], [1]).offsets.tolist()
            [0, 2, 3]
        """
        offsets = offsets_from_lengths(np.array([len(games) for games in histories], dtype=np.int64))
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

    @cached_property
    def lengths(self) -> Int64Array:
        """Number of games per user, int64 [B]."""
        return np.diff(self.offsets)

    @property
    def owners(self) -> Int64Array:
        """Row of the user of each game, int64 [n]."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def later(self) -> Int64Array:
        """Number of later games of the same user, for each game, int64 [n]; 0 for the newest."""
        return np.repeat(self.offsets[1:], self.lengths) - 1 - np.arange(len(self.games))

    def newest(self, limit: int) -> Histories:
        """Return the same users with at most the newest `limit` games of each."""
        return self if self.lengths.max(initial=0) <= limit else self.select(self.later < limit)

    def recommended_only(self) -> Histories:
        """Return the same users with only the games that they recommend."""
        return self.select(self.recommended)

    def select(self, kept: BoolArray) -> Histories:
        """Return the same users with only some of their games, bool [n]."""
        offsets = offsets_from_lengths(kept)[self.offsets]
        return Histories(self.users, offsets, self.games[kept], self.recommended[kept], self.hours[kept])

    def take(self, rows: npt.NDArray[Any]) -> Histories:
        """Return the users in the given rows (a mask, indices or a slice)."""
        index, offsets = self.entries(rows), offsets_from_lengths(self.lengths[rows])
        return Histories(self.users[rows], offsets, self.games[index], self.recommended[index], self.hours[index])

    def entries(self, rows: npt.NDArray[Any]) -> Int64Array:
        """Return the indices of the games of the users in the given rows, int64, one user after the other."""
        lengths = self.lengths[rows]
        offsets = offsets_from_lengths(lengths)
        entries: Int64Array = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][rows] - offsets[:-1], lengths)
        return entries


def positions_of(ids: npt.NDArray[Any], ascending: npt.NDArray[Any]) -> Int32Array:
    """Return the position of each id in an ascending array of ids, int32, -1 if it is missing.

    Example:
        >>> positions_of(np.array([20, 5]), np.array([10, 20, 30])).tolist()
        [1, -1]
    """
    if not len(ascending):
        return np.full(len(ids), -1, dtype=np.int32)
    index = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    return np.where(ascending[index] == ids, index, -1).astype(np.int32)
