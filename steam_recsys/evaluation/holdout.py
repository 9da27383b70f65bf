"""What a model is measured on: users with a history before a day, and the games that they recommend from it on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from steam_recsys.arrays import BoolArray, Int32Array, Int64Array
from steam_recsys.data.histories import Histories, positions_of
from steam_recsys.data.interactions import Interactions


@dataclass(frozen=True)
class HeldOut:
    """Users with what they had before the cutoff and the games, new to them, that they recommended from it on.

    Attributes:
        history: B users' games before the cutoff.
        relevant: the same users' new games, each at least one.
        left_out: held-out interactions, new to their users, that are not asked for here.
    """

    history: Histories
    relevant: Histories
    left_out: int

    def __len__(self) -> int:
        return len(self.history)

    def only(self, games: BoolArray) -> tuple[Int64Array, HeldOut]:
        """Asked for some games only: the rows of the users who take up one of them, and what is held out of these.

        Args:
            games: bool [N], which.
        """
        kept = games[self.relevant.games]
        counts = np.bincount(_flat(self.relevant)[0][kept], minlength=len(self))
        rows = np.flatnonzero(counts)
        offsets = np.concatenate([[0], np.cumsum(counts[rows])]).astype(np.int64)
        relevant = replace(
            self.relevant, users=self.relevant.users[rows], offsets=offsets, games=self.relevant.games[kept],
            recommended=self.relevant.recommended[kept], hours=self.relevant.hours[kept],
        )  # fmt: skip
        return rows, HeldOut(self.history.take(rows), relevant, self.left_out + int((~kept).sum()))

    def take(self, rows: Int64Array) -> HeldOut:
        """The users in some rows."""
        return HeldOut(self.history.take(rows), self.relevant.take(rows), self.left_out)


def hold_out(past: Interactions, future: Interactions, game_ids: Int32Array) -> HeldOut:
    """Set up the evaluation of what was learnt from `past` on `future`; `game_ids` int32 [N], ascending.

    A game is relevant to whoever recommends it; a review that does not is part of the history only. Users without a
    history are left out, and games that nobody had reviewed before the cutoff, which may not have been on sale.
    """
    return Future.from_interactions(past, future, game_ids).returning


@dataclass(frozen=True)
class Future:
    """Held-out interactions that recommend a game which is new to the user, and what was known before them.

    Attributes:
        interactions: n of them.
        history: everybody's before the cutoff.
        with_history: bool [n], whether the user has one.
        known: bool [n], whether anybody had reviewed the game.
        game_ids: int32 [N].
    """

    interactions: Interactions
    history: Histories
    with_history: BoolArray
    known: BoolArray
    game_ids: Int32Array

    @classmethod
    def from_interactions(cls, past: Interactions, future: Interactions, game_ids: Int32Array) -> Future:
        """Look up what was known; the arguments are those of `hold_out`."""
        future = future.take(future.recommended)
        history = Histories.from_interactions(past, game_ids)
        reviewed = np.zeros(len(game_ids), dtype=bool)
        reviewed[history.games] = True
        games = positions_of(future.games, game_ids)
        rows = positions_of(future.users, history.users)
        new = ~np.isin(_pairs(rows, games, len(game_ids)), _pairs(*_flat(history), len(game_ids)))
        return cls(future.take(new), history, rows[new] >= 0, reviewed[games[new]], game_ids)

    @cached_property
    def returning(self) -> HeldOut:
        """Users with a history, and games that were known: what `hold_out` asks for."""
        return self._held_out(self.with_history & self.known)

    @cached_property
    def newcomers(self) -> HeldOut:
        """Users without a history, who all get the same answer, that of an empty one."""
        return self._held_out(~self.with_history & self.known)

    @cached_property
    def unreviewed(self) -> HeldOut:
        """Games that nobody had reviewed before the cutoff, which only what is known of them can place."""
        return self._held_out(self.with_history & ~self.known)

    def _held_out(self, asked: BoolArray) -> HeldOut:
        relevant = Histories.from_interactions(self.interactions.take(asked), self.game_ids)
        return HeldOut(_histories_of(relevant.users, self.history), relevant, int((~asked).sum()))


def _histories_of(users: Int64Array, histories: Histories) -> Histories:
    """The users' histories, int64 [B] ascending, all of whom have one or none of whom has."""
    rows = positions_of(users, histories.users)
    if (rows >= 0).all():
        return histories.take(rows)
    return replace(histories.take(rows[:0]), users=users, offsets=np.zeros(len(users) + 1, dtype=np.int64))


def relevant_at(ranked: Int32Array, relevant: Histories) -> BoolArray:
    """Whether the game at each place of each user's ranking is relevant: bool [B, k] from int32 [B, k] positions."""
    width = 1 + max(int(ranked.max(initial=-1)), int(relevant.games.max(initial=-1)))
    rows = np.arange(len(ranked))[:, None]
    # A place that is left empty, -1, must not pass for the last game of the user before.
    return (ranked >= 0) & np.isin(rows * width + ranked, _pairs(*_flat(relevant), width))


def _flat(histories: Histories) -> tuple[Int64Array, Int32Array]:
    return histories.owners, histories.games


def _pairs(rows: npt.NDArray[Any], games: Int32Array, n_games: int) -> Int64Array:
    return rows.astype(np.int64) * n_games + games
