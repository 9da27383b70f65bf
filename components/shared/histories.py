"""Users' games as positions in a catalogue, and where ids stand in one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.shared.interactions import Interactions, Ints, Longs


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


def positions_of(ids: npt.NDArray[Any], ascending: npt.NDArray[Any]) -> Ints:
    """Where each id stands in an ascending array of ids, int32, -1 where it does not."""
    if not len(ascending):
        return np.full(len(ids), -1, dtype=np.int32)
    found = np.minimum(np.searchsorted(ascending, ids), len(ascending) - 1)
    return np.where(ascending[found] == ids, found, -1).astype(np.int32)
