"""Drift: how far the reviews since the champion's training differ from those before.

The reviews are those of the users that `load_sample` reads, so memory does not grow with the shop.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from steam_recsys.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import UNDATED, in_sample, read_reviews, sample_share
from steam_recsys.data.snapshot import Snapshot

WINDOW_DAYS = 90
"""Days of the reference period: the last days that the model learnt from."""

BINS = 10
"""Number of bins of games. Each has about as many reviews by every second user of the reference period, and only the
remaining users are compared: among the users who define the bins, the games that they happened to review have more
reviews than in any other period. Games without reviews are in the last bin: the share of unknown games measures new
reviews of these, and a class that was empty can make the index arbitrarily large."""

LENGTHS = (1, 2, 3, 5, 10, 20, 50)
"""The shortest history of each class."""

POPULAR = 100
"""Number of games that count as popular."""


@dataclass(frozen=True)
class Drift:
    """How far the reviews since the training differ from those before.

    Attributes:
        reviews: Number of dated reviews since the training by known users, of the sample or not.
        psi_games: Population stability index of the reviews over bins of games.
        psi_genres: The same over genres.
        psi_history_lengths: The same over the lengths of the users' histories. An index over users would rise without
            any change: in a few days, a larger share of the users are those who review often.
        unknown_games_share: Share of these reviews that are of games unknown to the model.
        new_users_share: Share of their users who had no review before.
        popularity_shift: Share of the most reviewed games that were not among them before.
        vector_norm_change: Relative change of the mean length of the reviewed games' history vectors; a game that the
            model knows little about has a short vector.
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
    """Counts of a period: reviews by game, float64 [N], and by user, int32 [U]."""

    games: Float64Array
    users: Int32Array

    @classmethod
    def empty(cls, n_games: int, n_users: int) -> _Period:
        return cls(np.zeros(n_games), np.zeros(n_users, dtype=np.int32))

    def count(self, users: Int32Array, games: Int32Array) -> None:
        np.add.at(self.games, games, 1.0)
        np.add.at(self.users, users, 1)


@dataclass
class _Counts:
    """Counts of one pass over the reviews.

    Attributes:
        reference: The reference period.
        recent: The period since the training.
        before: Reviews by user until the training, int32 [U].
        until_now: Reviews by user in total, int32 [U].
        every_second: Reviews by game of every second user in the reference period, float64 [N].
    """

    reference: _Period
    recent: _Period
    before: Int32Array
    until_now: Int32Array
    every_second: Float64Array

    @classmethod
    def empty(cls, n_games: int, n_users: int) -> _Counts:
        before, until_now = np.zeros((2, n_users), dtype=np.int32)
        reference, recent = _Period.empty(n_games, n_users), _Period.empty(n_games, n_users)
        return cls(reference, recent, before, until_now, np.zeros(n_games))

    def add(self, users: Int32Array, games: Int32Array, days: Int32Array, trained_until: int) -> None:
        recent = days > trained_until
        window = ~recent & (days > trained_until - WINDOW_DAYS)
        self.recent.count(users[recent], games[recent])
        self.reference.count(users[window], games[window])
        np.add.at(self.every_second, games[window & (users % 2 == 1)], 1.0)
        np.add.at(self.before, users[~recent], 1)
        np.add.at(self.until_now, users, 1)


def measure_drift(snapshot: Snapshot, known_games: Int32Array, vector_norms: Float32Array, trained_until: int) -> Drift:
    """Compare the reviews since the training with those of the days before it.

    Args:
        snapshot: The snapshot; reviews without a day or by unknown users are ignored.
        known_games: Ids of the model's games, int32.
        vector_norms: Length of the history vector of each of the snapshot's games by ascending id, float32 [N].
        trained_until: Last day that the model learnt from, in days since 1970-01-01.
    """
    games = snapshot.table("games", ["game_id", "genres"]).sort_by("game_id")
    game_ids: Int32Array = games["game_id"].to_numpy()
    share = sample_share(snapshot.manifest.rows("reviews"))
    user_ids = _sampled_users(snapshot, share)
    counts, reviews = _Counts.empty(len(game_ids), len(user_ids)), 0
    for batch in read_reviews(snapshot, ["user_id", "game_id", "reviewed_on"]):
        days, positions = batch["reviewed_on"], positions_of(batch["game_id"], game_ids)
        counted = (days != UNDATED) & (positions >= 0)
        reviews += int(np.count_nonzero(counted & (days > trained_until)))
        users = positions_of(batch["user_id"], user_ids)
        counted &= users >= 0
        counts.add(users[counted], positions[counted], days[counted], trained_until)
    recent, reference = counts.recent, counts.reference
    unknown = recent.games[~np.isin(game_ids, known_games)].sum()
    newcomers = np.count_nonzero((recent.users > 0) & (counts.before == 0))
    bins, others = _bins(counts.every_second), reference.games - counts.every_second
    psi_games, psi_genres, psi_lengths = (
        population_stability_index(before, after)
        for before, after in (
            (_by_bin(bins, others), _by_bin(bins, recent.games)),
            (_by_genre(games["genres"], reference.games), _by_genre(games["genres"], recent.games)),
            (_by_length(counts.before, reference.users), _by_length(counts.until_now, recent.users)),
        )
    )
    return Drift(
        reviews=reviews,
        psi_games=psi_games,
        psi_genres=psi_genres,
        psi_history_lengths=psi_lengths,
        unknown_games_share=float(unknown / max(recent.games.sum(), 1)),
        new_users_share=float(newcomers / max(int(np.count_nonzero(recent.users)), 1)),
        popularity_shift=_popularity_shift(reference.games, recent.games),
        vector_norm_change=_change_of_mean(vector_norms, reference.games, recent.games),
    )


def _sampled_users(snapshot: Snapshot, share: float) -> Int64Array:
    """Return the ids of the users in the sample, ascending."""
    found = [np.zeros(0, dtype=np.int64)]
    with snapshot.reading("users"):
        for batch in snapshot.dataset("users").to_batches(batch_readahead=1, fragment_readahead=1):
            users = batch["user_id"].to_numpy()
            found.append(users[in_sample(users, share)])
    return np.sort(np.concatenate(found))


def population_stability_index(expected: Float64Array, actual: Float64Array) -> float:
    """Return the sum over classes of (a - e) ln(a / e), for the shares a of `actual` and e of `expected`.

    Half a count is added to each class, so that the logarithm of an empty class is defined. The index is 0 if one of
    them has no counts at all.

    (Siddiqi 2006, "Credit Risk Scorecards", chapter 8; its distribution without any shift: Yurdakul and Naranjo 2020,
    "Statistical properties of the population stability index", section 3.)

    Args:
        expected: Counts per class, float64 [C].
        actual: Counts per class, float64 [C].

    Example:
        >>> round(population_stability_index(np.array([50.0, 50.0]), np.array([90.0, 10.0])), 2)
        0.83
    """
    if not (expected.sum() and actual.sum()):
        return 0.0
    e, a = ((counts + 0.5) / (counts + 0.5).sum() for counts in (expected, actual))
    return float(((a - e) * np.log(a / e)).sum())


def _bins(reviews: Float64Array) -> Int64Array:
    """Return the bin of each game, int64 [N], the most reviewed games in the first bin."""
    order = np.argsort(-reviews, kind="stable")
    before = np.cumsum(reviews[order]) - reviews[order]
    bins = np.empty(len(reviews), dtype=np.int64)
    bins[order] = np.minimum(BINS * before / max(reviews.sum(), 1), BINS - 1).astype(np.int64)
    return bins


def _by_bin(bins: Int64Array, games: Float64Array) -> Float64Array:
    """Sum counts per game into counts per bin."""
    return np.bincount(bins, games, BINS).astype(np.float64)


def _by_genre(genres: pa.ChunkedArray, games: Float64Array) -> Float64Array:
    """Sum counts per game into counts per genre; a game of several genres is divided equally between them."""
    lists = genres.combine_chunks()
    lengths = lists.value_lengths().to_numpy()
    each = np.repeat(games / np.maximum(lengths, 1), lengths)
    return np.bincount(lists.flatten().dictionary_encode().indices.to_numpy(), each, minlength=1).astype(np.float64)


def _by_length(lengths: Int32Array, reviews: Int32Array) -> Float64Array:
    """Sum the reviews of each user into counts per class of history length."""
    classes = np.searchsorted(LENGTHS, lengths, side="right") - 1
    counted = classes >= 0
    return np.bincount(classes[counted], reviews[counted], minlength=len(LENGTHS)).astype(np.float64)


def _popularity_shift(reference: Float64Array, recent: Float64Array) -> float:
    """Return the share of the recently most reviewed games that were not among as many before."""
    n_popular = min(POPULAR, int(np.count_nonzero(recent)))
    if not n_popular:
        return 0.0
    now, before = (set(np.argsort(-counts, kind="stable")[:n_popular].tolist()) for counts in (recent, reference))
    return len(now - before) / n_popular


def _change_of_mean(values: Float32Array, reference: Float64Array, recent: Float64Array) -> float:
    """Return the relative change of the mean of values weighted by counts; 0 if there is nothing to compare."""
    if not (recent.any() and values @ reference):
        return 0.0
    before, after = (float(values @ counts / counts.sum()) for counts in (reference, recent))
    return after / before - 1
