"""What lists are like besides being accurate: how personal and varied they are, and whether they fit a user's taste.

A list that is the same for everybody can be as accurate as any, because the next review is mostly of a popular game.
So every list is also measured by how much two users' lists share, by how many games are shown at all, by how popular
they are, by whether their genres are the user's, and by metrics of accuracy that popularity alone does not win.

All functions take lists as positions in a catalogue of N games, int32 [B, m], best first, -1 for empty ranks. They need
only NumPy, so that lists can be measured wherever they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from steam_recsys.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array, contains
from steam_recsys.data.games import Attributes, Games
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import popularity, recent_popularity
from steam_recsys.evaluation.metrics import Coverage
from steam_recsys.evaluation.splits import HeldOut, relevant_at

K, TAIL_K = 10, 20
"""How many ranks count; and in recall of the tail, which needs longer lists."""

HEAD_GAMES = 50
"""The most popular games, the head of the catalogue; all others are its tail."""

COVERAGE, JACCARD, POPULAR_TEN = Coverage(K).name, f"jaccard_at_{K}", "popular_ten"
EFFECTIVE_GAMES, POPULARITY_RANK = f"effective_games_at_{K}", f"popularity_rank_at_{K}"
GENRE_DIVERGENCE, IPW_NDCG, TAIL_RECALL = f"genre_divergence_at_{K}", f"ipw_ndcg_at_{K}", f"tail_recall_at_{TAIL_K}"
MATCHED_AUC, TAIL_MATCHED_AUC = "matched_auc", "tail_matched_auc"
"""Names in reports and stored results."""

TITLES = {
    JACCARD: "Overlap of two users' ten",
    POPULAR_TEN: "Users with the popular ten",
    COVERAGE: "Coverage@10",
    EFFECTIVE_GAMES: "Effective games@10",
    POPULARITY_RANK: "Mean popularity rank@10",
    GENRE_DIVERGENCE: "Divergence of genres@10",
    IPW_NDCG: "IPW NDCG@10",
    TAIL_RECALL: f"Recall@20 outside the top {HEAD_GAMES}",
    MATCHED_AUC: "AUC against equally popular",
    TAIL_MATCHED_AUC: f"AUC against equally popular, outside the top {HEAD_GAMES}",
}
"""The figures and their titles in reports, those that tell most first."""

JACCARD_USERS = 2_500
"""Maximum number of users whose lists are compared pair by pair; of more, this many are drawn at random."""

GENRE_PREFIX = "genre "
"""Prefix of the attributes that are genres."""

SMOOTHING = 0.01
"""Share of the user's own genres that is mixed into those of the list, so that the divergence is finite."""

PROPENSITY_EXPONENT = 0.5
"""How fast the chance that a game is reviewed grows with its number of reviews."""

_BLOCK_LISTS = 512
"""Lists that are compared with all others at a time."""

_BLOCK_USERS = 4_096
"""Users whose genres are computed at a time."""


@dataclass(frozen=True)
class Reference:
    """What lists of a catalogue of N games are measured against, all of it known before the cutoff.

    Attributes:
        reviews: Number of users who recommend each game, float64 [N].
        popularity: Recent popularity, or the same as `reviews` if time plays no part, float64 [N].
        popular_lists: What lists of popular games are sorted by, float64 [P, N]: a user has "the popular ten" if they
            are the first ten games of any of them.
        genres: Share of each genre in each game, float32 [N, G]; a row sums to one, or to zero for a game without.
    """

    reviews: Float64Array
    popularity: Float64Array
    popular_lists: Float64Array
    genres: Float32Array

    @classmethod
    def from_past(
        cls, past: Interactions, games: Games, as_of: int | None, priors: Sequence[Float32Array] = ()
    ) -> Reference:
        """Count the reviews of a catalogue's games.

        Args:
            past: What may be known.
            games: The catalogue, ordered by id.
            as_of: Day on which the lists are made, in days since 1970-01-01; None if time plays no part.
            priors: Popularity as models see it, float32 [N] each: what a model's list is sorted by if it has no taste.
        """
        reviews = popularity(past, games.ids)
        recent = reviews if as_of is None else recent_popularity(past, games.ids, as_of)
        return cls(reviews, recent, np.stack([recent, reviews, *priors]), genre_shares(games))


def measure_lists(ranked: Int32Array, held_out: HeldOut, reference: Reference) -> dict[str, float]:
    """Measure any lists beyond accuracy, for example a model's hidden gems: figures by name.

    Figures that no user has are left out: the divergence of genres in a catalogue without genres, and recall of games
    outside the head if only games of the head are held out.

    Args:
        ranked: The lists of the held-out users, as positions in the catalogue, int32 [B, m], -1 for empty ranks.
        held_out: The users' histories and the games that they recommend afterwards.
        reference: What the lists are measured against.
    """
    history = held_out.history
    figures = {
        COVERAGE: Coverage(K).compute(ranked, len(reference.reviews)),
        EFFECTIVE_GAMES: effective_games(ranked, K),
        JACCARD: mean_jaccard(ranked, K),
        POPULAR_TEN: mean(shows_popular_games(ranked, history, reference.popular_lists, K)),
        POPULARITY_RANK: mean(popularity_ranks(ranked, reference.popularity, K)),
        GENRE_DIVERGENCE: mean(genre_divergence(ranked, history, reference.genres, K)),
        IPW_NDCG: ipw_ndcg(ranked, held_out.relevant, reference.reviews, K),
        TAIL_RECALL: mean(tail_hits(ranked, held_out.relevant, reference.popularity, TAIL_K)),
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def mean_jaccard(ranked: Int32Array, k: int) -> float:
    """Return how much the first k games of two random users overlap: the mean Jaccard index over all pairs of users.

    The Jaccard index of two lists is the number of games in both over the number of games in either (Jaccard 1912, "The
    Distribution of the Flora in the Alpine Zone"); the mean over pairs of users is one minus the personalisation of
    Zhou et al. 2010, "Solving the Apparent Diversity-Accuracy Dilemma of Recommender Systems", whose measure divides by
    k. Order within the first k does not count.

    Exact for up to `JACCARD_USERS` users, and of more users the same random sample each time. Users without games are
    left out; with fewer than two users, nothing overlaps.

    Args:
        ranked: Positions in the catalogue, int32 [B, m], -1 for empty ranks.
        k: Number of ranks that count.

    Example:
        >>> mean_jaccard(np.array([[0, 1, 2], [1, 0, 3], [4, 5, 6]], dtype=np.int32), 2)
        0.3333333333333333
    """
    lists = ranked[:, :k]
    lists = lists[(lists >= 0).any(axis=1)]
    if len(lists) > JACCARD_USERS:
        lists = lists[np.random.default_rng(0).choice(len(lists), JACCARD_USERS, replace=False)]
    users = len(lists)
    if users < 2:
        return 0.0
    lists, times = np.unique(np.sort(lists, axis=1), axis=0, return_counts=True)  # most are equal if few are personal
    filled = lists >= 0
    lengths = filled.sum(axis=1)
    games, columns = np.unique(lists, return_inverse=True)
    shown = np.zeros((len(games), len(lists)), dtype=bool)
    shown[columns.reshape(lists.shape), np.arange(len(lists))[:, None]] = filled
    columns = columns.reshape(lists.shape)
    total = 0.0
    for start in range(0, len(lists), _BLOCK_LISTS):
        block = slice(start, start + _BLOCK_LISTS)
        common = np.zeros((len(lists[block]), len(lists)), dtype=np.int32)
        for rank in range(lists.shape[1]):
            common += shown[columns[block, rank]] & filled[block, rank, None]
        indices = common / (lengths[block, None] + lengths - common)
        total += float(times[block] @ indices @ times)
    return (total - users) / (users * (users - 1))


def effective_games(ranked: Int32Array, k: int) -> float:
    """Return how many games, all shown equally often, would be as varied as the first k ranks of all users.

    The exponential of the entropy of the games' shares of these ranks (Hill 1973, "Diversity and Evenness: A Unifying
    Notation and Its Consequences"); 0 if nothing is shown.

    Example:
        >>> round(effective_games(np.array([[0, 1], [2, 3]], dtype=np.int32), 2), 4)
        4.0
        >>> round(effective_games(np.array([[0], [0], [0], [1]], dtype=np.int32), 1), 4)
        1.7548
    """
    counted = ranked[:, :k]
    shown = np.unique(counted[counted >= 0], return_counts=True)[1]
    if not len(shown):
        return 0.0
    shares = shown / shown.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def shows_popular_games(ranked: Int32Array, history: Histories, popular_lists: Float64Array, k: int = K) -> BoolArray:
    """Return which users' first k games are the most popular ones that they have not reviewed, in any order: bool [B].

    Of a user with fewer than k games, these are compared with as many popular ones; a user without games has none.

    Args:
        ranked: Positions in the catalogue, int32 [B, m], -1 for empty ranks; none of a user's own games.
        history: The same users' games, as catalogue positions.
        popular_lists: Popularity in one or more ways, float [P, N]; it is enough to show the most popular by one of
            them. Ties are ordered by position.
        k: Number of ranks that count.

    Example:
        >>> history = Histories.from_games([0], [], [])
        >>> ranked = np.array([[2, 1], [1, 0], [1, 2]], dtype=np.int32)
        >>> shows_popular_games(ranked, history, np.array([[9.0, 5.0, 3.0]]), 2)
        array([ True,  True, False])
    """
    lists = ranked[:, :k]
    n_games, rows = popular_lists.shape[1], np.arange(len(lists))
    filled = lists >= 0
    counts = filled.sum(axis=1)
    known = history.games >= 0
    owners, own = history.owners[known], history.games[known]
    found = np.zeros(len(lists), dtype=bool)
    for one in popular_lists:
        places = unique_ranks(one)
        last = np.where(filled, places[lists], -1).max(axis=1, initial=-1) if n_games else np.full(len(lists), -1)
        owned = np.unique(owners * n_games + places[own])  # each game of a user once
        before = np.searchsorted(owned, rows * n_games + last + 1) - np.searchsorted(owned, rows * n_games)
        found |= (counts > 0) & (last + 1 - before == counts)
    return found


def popularity_ranks(ranked: Int32Array, popularity: Float64Array, k: int) -> Float64Array:
    """Return the mean popularity rank of each user's first k games, 1 for the most popular one: float64 [B'].

    Equally popular games share the mean of their ranks. Users without games are left out.

    Args:
        ranked: Positions in the catalogue, int32 [B, m], -1 for empty ranks.
        popularity: float64 [N].
        k: Number of ranks that count.

    Example:
        >>> popularity_ranks(np.array([[0, 1], [2, -1]], dtype=np.int32), np.array([5.0, 9.0, 5.0]), 2)
        array([1.75, 2.5 ])
    """
    _, level, counts = np.unique(-popularity, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[level]
    lists = ranked[:, :k]
    filled = lists >= 0
    shown = filled.any(axis=1)
    total = np.where(filled, ranks[lists], 0)[shown].sum(axis=1) if len(ranks) else np.zeros(0)
    means: Float64Array = total / filled[shown].sum(axis=1)
    return means


def genre_shares(games: Games) -> Float32Array:
    """Return the share of each genre in each game, float32 [N, G], the genres in alphabetical order.

    The genres of a game have equal shares, which sum to one; to zero for a game without genres.
    """
    named = [genres_of(attributes) for attributes in games.attributes]
    columns = {genre: column for column, genre in enumerate(sorted({genre for genres in named for genre in genres}))}
    shares = np.zeros((len(games), len(columns)), dtype=np.float32)
    for row, genres in zip(shares, named, strict=True):
        for genre in genres:
            row[columns[genre]] += 1 / len(genres)
    return shares


def genres_of(attributes: Attributes) -> list[str]:
    """Return a game's genres, in the shop's order.

    Example:
        >>> genres_of({"genre Strategy": 0.5, "genre Indie": 0.5, "os Linux": 1.0})
        ['Strategy', 'Indie']
    """
    return [name.removeprefix(GENRE_PREFIX) for name in attributes if name.startswith(GENRE_PREFIX)]


def genre_divergence(ranked: Int32Array, history: Histories, genres: Float32Array, k: int) -> Float64Array:
    """Return how far the genres of each user's first k games are from those of the games that the user likes.

    The Kullback-Leibler divergence of the two distributions of genres, in nats, 0 for equal ones (Steck 2018,
    "Calibrated Recommendations", equations 2 to 5):

        sum over genres g of p(g) log(p(g) / q(g)), with 0.01 p(g) + 0.99 q(g) in place of q(g)

    where p is the mean over the games that the user recommends and q that over the list. It is at most log(100) = 4.6,
    if no genre of the list is one of the user's.

    Args:
        ranked: Positions in the catalogue, int32 [B, m], -1 for empty ranks.
        history: The same users' games, as catalogue positions.
        genres: Share of each genre in each game, float32 [N, G].
        k: Number of ranks that count.

    Returns:
        float64 [B'], the users whose liked games have genres.

    Example:
        >>> genres = np.array([[1, 0], [1, 0], [0, 1]], dtype=np.float32)
        >>> lists = np.array([[1], [2]], dtype=np.int32)
        >>> genre_divergence(lists, Histories.from_games([0], [0]), genres, 1).round(4)
        array([0.    , 4.6052])
    """
    found = [np.zeros(0)]
    for start in range(0, len(history), _BLOCK_USERS):
        rows = np.arange(start, min(start + _BLOCK_USERS, len(history)))
        lists, liked = ranked[rows, :k], history.take(rows).recommended_only()
        wanted = _distribution(genres, liked.games, liked.owners, len(liked))
        filled = lists >= 0
        shown = _distribution(genres, lists[filled], np.nonzero(filled)[0], len(liked))
        has_genres = wanted.sum(axis=1) > 0
        wanted, shown = wanted[has_genres], shown[has_genres]
        mixed = (1 - SMOOTHING) * shown + SMOOTHING * wanted
        logarithms = np.log(wanted, out=np.zeros_like(wanted), where=wanted > 0)
        logarithms -= np.log(mixed, out=np.zeros_like(wanted), where=wanted > 0)
        found.append((wanted * logarithms).sum(axis=1))
    return np.concatenate(found)


def ipw_ndcg(ranked: Int32Array, relevant: Histories, reviews: Float64Array, k: int) -> float | None:
    """Return the discounted gain of the first k ranks per held-out game, in which rare games weigh more.

    A held-out game at rank r gains 1 / log2(r + 1), and 0 if it is not among the first k. The mean over all held-out
    games weighs each by the inverse of its propensity, the chance that it is reviewed, which grows with the square
    root of its reviews; the weights are normalised (the self-normalised estimator of Swaminathan and Joachims 2015,
    "The Self-Normalized Estimator for Counterfactual Learning", with the propensities of Yang et al. 2018, "Unbiased
    Offline Recommender Evaluation for Missing-Not-At-Random Implicit Feedback").

    Args:
        ranked: Positions in the catalogue, int32 [B, m], -1 for empty ranks.
        relevant: The same users' held-out games.
        reviews: Number of users who recommend each game, float64 [N]; a game without counts as if one user did.
        k: Number of ranks that count.

    Returns:
        Between 0 and 1; None without held-out games.

    Example:
        >>> ranked = np.array([[0, 1]], dtype=np.int32)
        >>> ipw_ndcg(ranked, Histories.from_games([0, 2]), np.array([9.0, 4.0, 1.0]), 2)
        0.25
    """
    if not len(relevant.games):
        return None
    weights = np.maximum(1.0, reviews) ** -PROPENSITY_EXPONENT
    lists = ranked[:, :k]
    gains = relevant_at(lists, relevant) * weights[lists] / np.log2(np.arange(2, lists.shape[1] + 2))
    return float(gains.sum() / weights[relevant.games].sum())


def tail_hits(ranked: Int32Array, relevant: Histories, popularity: Float64Array, k: int) -> BoolArray:
    """Return which held-out games outside the head of the catalogue are among their user's first k: bool [n].

    The mean is recall of the tail over all held-out games, not over users. The lists stay as they are: a rank that one
    of the `HEAD_GAMES` most popular games takes is a miss.

    Args:
        ranked: Positions in the catalogue, int32 [B, m], -1 for empty ranks.
        relevant: The same users' held-out games.
        popularity: float64 [N].
        k: Number of ranks that count.

    Returns:
        One for each held-out game outside the head, in the order of users.
    """
    lists, n_games = ranked[:, :k], len(popularity)
    tail = (unique_ranks(popularity) >= HEAD_GAMES)[relevant.games]
    filled = lists >= 0
    shown: Int64Array = np.unique((np.arange(len(lists))[:, None] * n_games + lists)[filled])
    return contains(shown, relevant.owners[tail] * n_games + relevant.games[tail])


def unique_ranks(popularity: Float64Array) -> Int64Array:
    """Return the rank of each game by popularity, int64 [N], from 0; ties are ordered by position."""
    ranks = np.empty(len(popularity), dtype=np.int64)
    ranks[np.argsort(-popularity, kind="stable")] = np.arange(len(popularity))
    return ranks


def _distribution(genres: Float32Array, games: Int32Array, owners: Int64Array, n_users: int) -> Float64Array:
    """Return the distribution of genres over each user's games, float64 [n_users, G]; zeros without genres."""
    columns = [np.bincount(owners, column[games], n_users) for column in genres.T]
    sums = np.stack(columns, axis=1) if columns else np.zeros((n_users, 0))
    totals = sums.sum(axis=1, keepdims=True)
    return sums / np.where(totals > 0, totals, 1)


def mean(figures: Float64Array | BoolArray) -> float | None:
    """Return the mean; None if there is nothing."""
    return float(figures.mean()) if len(figures) else None
