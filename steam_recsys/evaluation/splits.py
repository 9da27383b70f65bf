"""Splits of interactions into a past and a future, and the users and games that are held out.

Every split is tested by ranking all games of the catalogue; sampled candidates mislead (Krichene and Rendle 2020, "On
Sampled Metrics for Item Recommendation").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from steam_recsys.arrays import BoolArray, Int32Array, Int64Array, offsets_from_lengths
from steam_recsys.data.histories import Histories, positions_of
from steam_recsys.data.interactions import UNDATED, Interactions, load_sample, split_by_time
from steam_recsys.data.snapshot import Snapshot


@dataclass(frozen=True)
class Split:
    """Interactions to learn from and interactions to predict.

    Attributes:
        past: What may be known.
        future: The reviews to predict.
        as_of: Day on which the predictions are made, in days since 1970-01-01. None if time plays no part; then no
            interaction has a day.
    """

    past: Interactions
    future: Interactions
    as_of: int | None


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
    def cold_start_users(self) -> HeldOut:
        """Users without a history, who all get the same ranking."""
        return self._held_out(~self.with_history & self.known)

    @cached_property
    def cold_start_games(self) -> HeldOut:
        """Games without reviews before the cutoff, which can only be ranked by their content."""
        return self._held_out(self.with_history & ~self.known)

    def _held_out(self, measured: BoolArray) -> HeldOut:
        relevant = Histories.from_interactions(self.interactions.take(measured), self.game_ids)
        return HeldOut(_histories_of(relevant.users, self.history), relevant, int((~measured).sum()))


def by_time(interactions: Interactions, cutoff: int) -> Split:
    """Split dated interactions into those before a day and those from it on, as a shop and the gate do."""
    return Split(*split_by_time(interactions, cutoff), cutoff)


def snapshot_by_time(snapshot: Snapshot, interactions: Interactions, cutoff: int) -> Split:
    """Split a snapshot by time, with its past as it was then: reviews that were replaced later are in it.

    Args:
        snapshot: The snapshot that the interactions are from, see `load_sample`.
        interactions: The interactions that may be known, all dated.
        cutoff: First day of the future, in days since 1970-01-01.
    """
    return Split(load_sample(snapshot, before=cutoff), split_by_time(interactions, cutoff)[1], cutoff)


def at_random(interactions: Interactions, held_out_share: float, random: np.random.RandomState) -> Split:
    """Hold out each interaction with the given probability; time plays no part."""
    return _without_time(interactions, random.rand(len(interactions)) >= 1 - held_out_share)


def last_out(interactions: Interactions) -> Split:
    """Hold out each user's latest interaction; time plays no other part."""
    return _without_time(interactions, latest_of_each_user(interactions))


def hold_out(past: Interactions, future: Interactions, game_ids: Int32Array) -> HeldOut:
    """Build the test of what was learnt from `past` on `future`.

    A game is relevant to a user who recommends it; other reviews are part of the history only. Users without a history
    are left out, and so are games that had no review before the cutoff, which may not have been available.

    Args:
        past: Interactions before the cutoff.
        future: Interactions from the cutoff on.
        game_ids: The catalogue, int32 [N], ascending.
    """
    return Future.from_interactions(past, future, game_ids).returning


def relevant_at(ranked: Int32Array, relevant: Histories) -> BoolArray:
    """Return whether the game at each rank is relevant to the user: bool [B, k] from int32 [B, k] positions."""
    width = 1 + max(int(ranked.max(initial=-1)), int(relevant.games.max(initial=-1)))
    rows = np.arange(len(ranked))[:, None]
    # An empty rank, -1, must not be taken for the last game of the user before.
    return (ranked >= 0) & np.isin(rows * width + ranked, _pairs(relevant.owners, relevant.games, width))


def latest_of_each_user(interactions: Interactions) -> BoolArray:
    """Mark each user's latest interaction, the last row of equals: bool [n]."""
    order = np.lexsort((np.arange(len(interactions)), interactions.days, interactions.users))
    users = interactions.users[order]
    latest = np.zeros(len(interactions), dtype=bool)
    latest[order[np.append(users[1:] != users[:-1], True)]] = True
    return latest


def _without_time(interactions: Interactions, held_out: BoolArray) -> Split:
    undated = replace(interactions, days=np.full_like(interactions.days, UNDATED))
    return Split(undated.take(~held_out), undated.take(held_out), None)


def _histories_of(users: Int64Array, histories: Histories) -> Histories:
    """Return the histories of users, int64 [B] ascending, either all or none of whom have one."""
    rows = positions_of(users, histories.users)
    if (rows >= 0).all():
        return histories.take(rows)
    return replace(histories.take(rows[:0]), users=users, offsets=np.zeros(len(users) + 1, dtype=np.int64))


def _pairs(rows: npt.NDArray[Any], games: Int32Array, n_games: int) -> Int64Array:
    return rows.astype(np.int64) * n_games + games
