"""The rows that rankings are measured on: users before a cutoff, and the games that they recommend after it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from steam_recsys.arrays import BoolArray, Int32Array, Int64Array, offsets_from_lengths
from steam_recsys.data.histories import Histories, positions_of
from steam_recsys.data.interactions import Interactions


@dataclass(frozen=True)
class HeldOut:
    """B users with their games before the cutoff and the new games that they recommend from it on.

    Attributes:
        history: The users' games before the cutoff.
        relevant: The same users' new games, at least one each.
        left_out: Number of held-out interactions with new games that are not measured here.
    """

    history: Histories
    relevant: Histories
    left_out: int

    def __len__(self) -> int:
        return len(self.history)

    def only(self, games: BoolArray) -> tuple[Int64Array, HeldOut]:
        """Count only some games as relevant, and drop the users who recommend none of them.

        Args:
            games: Whether a game counts, bool [N].

        Returns:
            The rows of the remaining users, int64, and what is held out of them.
        """
        kept = games[self.relevant.games]
        counts = np.bincount(self.relevant.owners[kept], minlength=len(self))
        rows = np.flatnonzero(counts)
        relevant = replace(
            self.relevant, users=self.relevant.users[rows], offsets=offsets_from_lengths(counts[rows]),
            games=self.relevant.games[kept], recommended=self.relevant.recommended[kept],
            hours=self.relevant.hours[kept],
        )  # fmt: skip
        return rows, HeldOut(self.history.take(rows), relevant, self.left_out + int((~kept).sum()))

    def take(self, rows: Int64Array) -> HeldOut:
        """Return the users in the given rows."""
        return HeldOut(self.history.take(rows), self.relevant.take(rows), self.left_out)


def hold_out(past: Interactions, future: Interactions, game_ids: Int32Array) -> HeldOut:
    """Build the test of what was learnt from `past` on `future`.

    A game is relevant to a user who recommends it; other reviews are part of the history only. Users without a history
    are left out, and so are games that nobody had reviewed before the cutoff, which may not have been available.

    Args:
        past: Interactions before the cutoff.
        future: Interactions from the cutoff on.
        game_ids: The catalogue, int32 [N], ascending.
    """
    return Future.from_interactions(past, future, game_ids).returning


@dataclass(frozen=True)
class Future:
    """Held-out positive reviews of games that are new to their users, and what was known before.

    Attributes:
        interactions: The n reviews.
        history: All users' games before the cutoff.
        with_history: Whether the user has a history, bool [n].
        known: Whether anybody had reviewed the game before the cutoff, bool [n].
        game_ids: The catalogue, int32 [N], ascending.
    """

    interactions: Interactions
    history: Histories
    with_history: BoolArray
    known: BoolArray
    game_ids: Int32Array

    @classmethod
    def from_interactions(cls, past: Interactions, future: Interactions, game_ids: Int32Array) -> Future:
        """Keep the reviews that count; for the arguments see `hold_out`."""
        future = future.take(future.recommended)
        history = Histories.from_interactions(past, game_ids)
        reviewed = np.zeros(len(game_ids), dtype=bool)
        reviewed[history.games] = True
        games = positions_of(future.games, game_ids)
        rows = positions_of(future.users, history.users)
        new = ~np.isin(_pairs(rows, games, len(game_ids)), _pairs(history.owners, history.games, len(game_ids)))
        return cls(future.take(new), history, rows[new] >= 0, reviewed[games[new]], game_ids)

    @cached_property
    def returning(self) -> HeldOut:
        """Users with a history and games with reviews: the rows of the headline figures."""
        return self._held_out(self.with_history & self.known)

    @cached_property
    def newcomers(self) -> HeldOut:
        """Users without a history, who all get the same ranking."""
        return self._held_out(~self.with_history & self.known)

    @cached_property
    def unreviewed(self) -> HeldOut:
        """Games without reviews before the cutoff, which can only be ranked by their content."""
        return self._held_out(self.with_history & ~self.known)

    def _held_out(self, measured: BoolArray) -> HeldOut:
        relevant = Histories.from_interactions(self.interactions.take(measured), self.game_ids)
        return HeldOut(_histories_of(relevant.users, self.history), relevant, int((~measured).sum()))


def _histories_of(users: Int64Array, histories: Histories) -> Histories:
    """Return the histories of users, int64 [B] ascending, either all or none of whom have one."""
    rows = positions_of(users, histories.users)
    if (rows >= 0).all():
        return histories.take(rows)
    return replace(histories.take(rows[:0]), users=users, offsets=np.zeros(len(users) + 1, dtype=np.int64))


def relevant_at(ranked: Int32Array, relevant: Histories) -> BoolArray:
    """Return whether the game at each rank is relevant to the user: bool [B, k] from int32 [B, k] positions."""
    width = 1 + max(int(ranked.max(initial=-1)), int(relevant.games.max(initial=-1)))
    rows = np.arange(len(ranked))[:, None]
    # An empty rank, -1, must not be taken for the last game of the user before.
    return (ranked >= 0) & np.isin(rows * width + ranked, _pairs(relevant.owners, relevant.games, width))


def _pairs(rows: npt.NDArray[Any], games: Int32Array, n_games: int) -> Int64Array:
    return rows.astype(np.int64) * n_games + games
