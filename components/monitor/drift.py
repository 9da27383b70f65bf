"""Drift: the reviews since the champion's training beside those before, in memory bounded by the users."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from steam_recsys.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import UNDATED, read_reviews
from steam_recsys.data.snapshot import Snapshot

WINDOW_DAYS = 90
"""The reference: the reviews of the last days that the model learnt from."""

GROUPS = 10
"""Groups of games, which have about as many reviews each of every other user of the reference. The remaining users are
compared with: had they made the groups, the games that they happened to review would have fewer reviews in any other
period. Games without any are in the last one: of them the share of reviews of unknown games tells, and a class that was
empty makes the index as large as one likes."""

LENGTHS = (1, 2, 3, 5, 10, 20, 50)
"""The least history length of each class."""

POPULAR = 100
"""Games that are called popular."""


@dataclass(frozen=True)
class Drift:
    """How far the reviews since the training are from those before.

    Attributes:
        reviews: since the training, by known users, with a day.
        psi_games: population stability index of the reviews over groups of games.
        psi_genres: the same over genres.
        psi_history_lengths: the same over the lengths of their users' histories. Users themselves would drift without
            any change: in few days, those who review often are the greater part of them.
        unknown_games_share: of these reviews, those of games that the model does not know.
        new_users_share: of their users, those without a review before.
        popularity_shift: the share of the most reviewed games that were not among them before.
        vector_norm_change: the mean length of the vectors of the reviewed games, as parts of a history, against that
            before, less one; what the model knows little of has a short vector.
    """

    reviews: int
    psi_games: float
    psi_genres: float
    psi_history_lengths: float
    unknown_games_share: float
    new_users_share: float
    popularity_shift: float
    vector_norm_change: float


@dataclass
class _Period:
    """What was counted of a period: reviews by game, float64 [N], and by user, int32 [U]."""

    games: Float64Array
    users: Int32Array
    reviews: int = 0

    @classmethod
    def of(cls, n_games: int, n_users: int) -> _Period:
        return cls(np.zeros(n_games), np.zeros(n_users, dtype=np.int32))

    def count(self, users: Int32Array, games: Int32Array) -> None:
        np.add.at(self.games, games, 1.0)
        np.add.at(self.users, users, 1)
        self.reviews += len(games)


@dataclass
class _Counts:
    """One pass over the reviews: both periods, each user's reviews up to their ends, int32 [U], and the reference's
    reviews by game of every other user, float64 [N].
    """

    reference: _Period
    recent: _Period
    before: Int32Array
    until_now: Int32Array
    every_other: Float64Array

    @classmethod
    def of(cls, n_games: int, n_users: int) -> _Counts:
        before, until_now = np.zeros((2, n_users), dtype=np.int32)
        return cls(
            _Period.of(n_games, n_users), _Period.of(n_games, n_users), before, until_now, np.zeros(n_games)
        )  # fmt: skip

    def add(self, users: Int32Array, games: Int32Array, days: Int32Array, trained_until: int) -> None:
        recent = days > trained_until
        window = ~recent & (days > trained_until - WINDOW_DAYS)
        self.recent.count(users[recent], games[recent])
        self.reference.count(users[window], games[window])
        np.add.at(self.every_other, games[window & (users % 2 == 1)], 1.0)
        np.add.at(self.before, users[~recent], 1)
        np.add.at(self.until_now, users, 1)


def measure_drift(snapshot: Snapshot, known_games: Int32Array, vector_norms: Float32Array, trained_until: int) -> Drift:
    """Compare the reviews after a day with those of the days up to it, as the snapshot has both.

    Args:
        snapshot: reviews without a day or by unknown users are passed over.
        known_games: the ids of the model's games, int32.
        vector_norms: float32 [N], the length of the vector that each of the snapshot's games is part of a history with,
            in the order of their ids.
        trained_until: the last day that the model learnt from, in days since 1970-01-01.
    """
    games = snapshot.table("games", ["game_id", "genres"]).sort_by("game_id")
    game_ids: Int32Array = games["game_id"].to_numpy()
    user_ids: Int64Array = np.sort(snapshot.table("users")["user_id"].to_numpy())
    counts = _Counts.of(len(game_ids), len(user_ids))
    for batch in read_reviews(snapshot, ["user_id", "game_id", "reviewed_on"]):
        dated = batch["reviewed_on"] != UNDATED
        users, places = positions_of(batch["user_id"], user_ids), positions_of(batch["game_id"], game_ids)
        counted = dated & (users >= 0) & (places >= 0)
        counts.add(users[counted], places[counted], batch["reviewed_on"][counted], trained_until)
    recent, reference = counts.recent, counts.reference
    unknown = recent.games[~np.isin(game_ids, known_games)].sum()
    newcomers = np.count_nonzero((recent.users > 0) & (counts.before == 0))
    groups, others = _groups(counts.every_other), reference.games - counts.every_other
    psi_games, psi_genres, psi_lengths = (
        population_stability_index(before, after)
        for before, after in (
            (_by_group(groups, others), _by_group(groups, recent.games)),
            (_by_genre(games["genres"], reference.games), _by_genre(games["genres"], recent.games)),
            (_by_length(counts.before, reference.users), _by_length(counts.until_now, recent.users)),
        )
    )
    return Drift(
        reviews=recent.reviews,
        psi_games=psi_games,
        psi_genres=psi_genres,
        psi_history_lengths=psi_lengths,
        unknown_games_share=float(unknown / max(recent.reviews, 1)),
        new_users_share=float(newcomers / max(int(np.count_nonzero(recent.users)), 1)),
        popularity_shift=_popularity_shift(reference.games, recent.games),
        vector_norm_change=_change_of_mean(vector_norms, reference.games, recent.games),
    )


def population_stability_index(expected: Float64Array, actual: Float64Array) -> float:
    """The sum over classes of (a - e) ln(a / e), of the shares a of `actual` and e of `expected`.

    Half a count is added to each class, so that an empty one has a logarithm. 0 where one of them has no counts at all.

    (Siddiqi 2006, "Credit Risk Scorecards", chapter 8; its distribution without any shift: Yurdakul and Naranjo 2020,
    "Statistical properties of the population stability index", section 3.)

    Args:
        expected: counts a class, float64 [C].
        actual: the same.

    >>> round(population_stability_index(np.array([50.0, 50.0]), np.array([90.0, 10.0])), 2)
    0.83
    """
    if not (expected.sum() and actual.sum()):
        return 0.0
    e, a = ((counts + 0.5) / (counts + 0.5).sum() for counts in (expected, actual))
    return float(((a - e) * np.log(a / e)).sum())


def _groups(reviews: Float64Array) -> Int64Array:
    """The group of each game, int64 [N], the most reviewed ones first."""
    order = np.argsort(-reviews, kind="stable")
    before = np.cumsum(reviews[order]) - reviews[order]
    groups = np.empty(len(reviews), dtype=np.int64)
    groups[order] = np.minimum(GROUPS * before / max(reviews.sum(), 1), GROUPS - 1).astype(np.int64)
    return groups


def _by_group(groups: Int64Array, games: Float64Array) -> Float64Array:
    """Counts a group of counts a game."""
    return np.bincount(groups, games, GROUPS).astype(np.float64)


def _by_genre(genres: pa.ChunkedArray, games: Float64Array) -> Float64Array:
    """Counts a genre of counts a game: a game of several genres counts in each of them by its share."""
    lists = genres.combine_chunks()
    lengths = lists.value_lengths().to_numpy()
    each = np.repeat(games / np.maximum(lengths, 1), lengths)
    return np.bincount(lists.flatten().dictionary_encode().indices.to_numpy(), each, minlength=1).astype(np.float64)


def _by_length(lengths: Int32Array, reviews: Int32Array) -> Float64Array:
    """Counts a class of length of the reviews of each user."""
    classes = np.searchsorted(LENGTHS, lengths, side="right") - 1
    counted = classes >= 0
    return np.bincount(classes[counted], reviews[counted], minlength=len(LENGTHS)).astype(np.float64)


def _popularity_shift(reference: Float64Array, recent: Float64Array) -> float:
    """The share of the games most reviewed of late that were not among as many before."""
    most = min(POPULAR, int(np.count_nonzero(recent)))
    if not most:
        return 0.0
    now, before = (set(np.argsort(-counts, kind="stable")[:most].tolist()) for counts in (recent, reference))
    return len(now - before) / most


def _change_of_mean(values: Float32Array, reference: Float64Array, recent: Float64Array) -> float:
    """By which share the mean has grown, of values that are counted so often; 0 where there is nothing to compare."""
    if not (recent.any() and values @ reference):
        return 0.0
    before, after = (float(values @ counts / counts.sum()) for counts in (reference, recent))
    return after / before - 1
