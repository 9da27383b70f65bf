"""How personal a version is: what two users' first games have in common, and how much of the catalogue they show."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steam_recsys.arrays import BoolArray, Int32Array, Int64Array, hashed
from steam_recsys.evaluation.beyond_accuracy import mean_jaccard

FIRST_GAMES = 10
"""How many of a user's relevant games are compared: those that users see."""

COMPARED_USERS = 1000
"""How many users are compared with each other. Half a million pairs give the mean overlap to within about 0.01."""

COMPARED_STREAM = 2
"""Stream of the hashes that choose them: another one than that of the sample of the reviews."""


@dataclass(frozen=True)
class Personalisation:
    """How personal the first ten games of a version's users are. None while it is unknown.

    Attributes:
        overlap: Mean Jaccard index of the first ten games of two random users: 1 if all users see the same games.
        coverage: Share of the shop's games that are among the first ten of at least one user.
        popular_ten: Share of users whose first ten games are the most popular games that are not excluded for them.
    """

    overlap: float | None = None
    coverage: float | None = None
    popular_ten: float | None = None


@dataclass
class PersonalisationStats:
    """What the personalisation of a version is computed from, for the version or for a part of it.

    The users to compare are those with the smallest hashes, so they do not depend on how the version is divided.

    Attributes:
        users: Number of users.
        popular_users: Number of users whose first games are the most popular games that are not excluded for them.
        shown: Ids of the games that are among the first ten of a user, ascending and distinct, int32 [n].
        hashes: Hashes of the users to compare, ascending, uint64 [at most COMPARED_USERS].
        first_games: Ids of their first games, int32 [as many, FIRST_GAMES], -1 if there are fewer.
    """

    users: int = 0
    popular_users: int = 0
    shown: Int32Array = field(default_factory=lambda: np.empty(0, dtype=np.int32))
    hashes: npt.NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    first_games: Int32Array = field(default_factory=lambda: np.empty((0, FIRST_GAMES), dtype=np.int32))

    @classmethod
    def count(cls, users: Int64Array, games: Int32Array, popular: Int32Array) -> PersonalisationStats:
        """Count users whose lists of relevance are equally long.

        Args:
            users: The users' ids, distinct, int64 [n].
            games: Their relevant games, the best first, int32 [n, length].
            popular: The overall list of popular games, the most popular first, int32 [m].
        """
        first = games[:, :FIRST_GAMES]
        hashes = hashed(users, COMPARED_STREAM)
        kept = np.argsort(hashes)[:COMPARED_USERS]
        compared = np.full((len(kept), FIRST_GAMES), -1, dtype=np.int32)
        compared[:, : first.shape[1]] = first[kept]
        popular_users = int(np.count_nonzero(_shows_the_popular_games(games, popular)))
        return cls(len(users), popular_users, np.unique(first), hashes[kept], compared)

    def add(self, other: PersonalisationStats) -> None:
        """Add other users of the same version."""
        self.users += other.users
        self.popular_users += other.popular_users
        self.shown = np.union1d(self.shown, other.shown)
        hashes = np.concatenate([self.hashes, other.hashes])
        kept = np.argsort(hashes, kind="stable")[:COMPARED_USERS]
        self.hashes, self.first_games = hashes[kept], np.concatenate([self.first_games, other.first_games])[kept]

    @property
    def overlap(self) -> float | None:
        """Mean Jaccard index of the first games of two users; None if there are fewer than two."""
        return mean_jaccard(self.first_games, FIRST_GAMES) if len(self.first_games) > 1 else None

    def measure(self, games: pa.Array) -> Personalisation:
        """Compute the figures, given the ids of the shop's games, int32."""
        return Personalisation(
            overlap=self.overlap,
            coverage=float(np.isin(games.to_numpy(), self.shown).mean()) if len(games) else None,
            popular_ten=self.popular_users / self.users if self.users else None,
        )


def _shows_the_popular_games(games: Int32Array, popular: Int32Array) -> BoolArray:
    """Return for each user whether the first games are the most popular ones that are not excluded for this user.

    A popular game that is nowhere in the user's list counts as excluded, for example because the user has reviewed it.

    Args:
        games: Relevant games, the best first, int32 [n, length].
        popular: Popular games, the most popular first, int32 [p].
    """
    if not games.shape[1] or not len(popular):
        return np.zeros(len(games), dtype=np.bool_)
    first = _ranks(games[:, :FIRST_GAMES], popular)
    candidates = np.flatnonzero((first < len(popular)).all(axis=1))
    later = _ranks(games[candidates, FIRST_GAMES:], popular)
    shows = np.zeros(len(games), dtype=np.bool_)
    shows[candidates] = later.min(axis=1, initial=len(popular)) > first[candidates].max(axis=1)
    return shows


def _ranks(games: Int32Array, popular: Int32Array) -> Int64Array:
    """Return the places of games in the list of popular games, from 0; the list's length for other games.

    Args:
        games: Ids, int32 of any shape, which is that of the result, int64.
        popular: The list, int32 [m].
    """
    order = np.argsort(popular)
    found = np.minimum(np.searchsorted(popular, games, sorter=order), len(popular) - 1)
    ranks: Int64Array = np.where(popular[order[found]] == games, order[found], len(popular))
    return ranks
