"""The best linear models of who takes up what, as baselines: item-kNN, iALS and EASE, each with its settings to try."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix, issparse
from threadpoolctl import threadpool_limits

from steam_recsys.arrays import Float32Array, Int32Array
from steam_recsys.data.histories import Histories
from steam_recsys.evaluation.ease import MAX_GAMES, REGULARISATIONS, cooccurrences, ease, user_game_matrix
from steam_recsys.evaluation.item_knn import nearest_games, strongest
from steam_recsys.evaluation.rankers import Ranker, rank_by_scores

NEIGHBOURS = (100, 20)
IALS_SETTINGS = ((64, 30.0), (32, 0.1), (128, 30.0))
"""Factors and regularisation."""

IALS_ALPHA = 3.0
"""How much more an interaction counts than its absence."""

IALS_SWEEPS = 15
IALS_USERS = 500_000
"""The most users that the factors of the games are learnt from, drawn at random: their own then take 0.3 GB at most."""


@dataclass(frozen=True)
class SimilarityRanker:
    """Scores are the sum of the weights from the history's games: `weights` is float32 [N, N], dense or sparse."""

    weights: Float32Array | csr_matrix

    def rank(self, history: Histories, k: int) -> Int32Array:
        """The k best games, as `Ranker.rank`."""
        n_games = self.weights.shape[0]

        def scores(users: Histories) -> Float32Array:
            found = user_game_matrix(users, n_games) @ self.weights
            dense: Float32Array = found.toarray() if issparse(found) else found
            return dense

        return rank_by_scores(scores, history, n_games, k)


@dataclass(frozen=True)
class FactorRanker:
    """Implicit-feedback matrix factorisation (Hu, Koren and Volinsky 2008); users are folded in by their histories."""

    model: Any
    n_games: int

    def rank(self, history: Histories, k: int) -> Int32Array:
        """The k best games, as `Ranker.rank`."""

        def scores(users: Histories) -> Float32Array:
            matrix = user_game_matrix(users, self.n_games)
            with threadpool_limits(1, "blas"):
                factors = self.model.recalculate_user(np.arange(len(users)), matrix)
            found: Float32Array = factors @ self.model.item_factors.T
            return found

        return rank_by_scores(scores, history, self.n_games, k)


@dataclass(frozen=True)
class Candidate:
    """A linear baseline with its settings in words, and how it is made."""

    name: str
    settings: str
    fit: Callable[[], Ranker]


def linear_baselines(histories: Histories, n_games: int) -> Iterator[Candidate]:
    """Every baseline with each of its settings; EASE only where games² fits the memory."""
    for factors, regularisation in IALS_SETTINGS:
        settings = f"{factors} factors, regularisation {regularisation:g}"
        yield Candidate("iALS", settings, partial(_fit_ials, histories, n_games, factors, regularisation))
    nearest = cache(partial(nearest_games, histories, n_games, max(NEIGHBOURS)))
    for neighbours in NEIGHBOURS:
        yield Candidate("item-kNN", f"{neighbours} neighbours", partial(_fit_knn, nearest, neighbours))
    if n_games > MAX_GAMES:
        return
    counts = cooccurrences(histories, n_games)
    for regularisation in REGULARISATIONS:
        yield Candidate("EASE", f"λ = {regularisation:g}", partial(_fit_ease, counts, regularisation))


def sampled(histories: Histories, most: int) -> Histories:
    """At most so many of the users, drawn at random, the same each time, in the order in which they are."""
    if len(histories) <= most:
        return histories
    return histories.take(np.sort(np.random.default_rng(0).choice(len(histories), most, replace=False)))


def _fit_ials(histories: Histories, n_games: int, factors: int, regularisation: float) -> FactorRanker:
    with threadpool_limits(1, "blas"):  # as implicit asks for: it has threads of its own
        model = AlternatingLeastSquares(
            factors=factors, regularization=regularisation, alpha=IALS_ALPHA, iterations=IALS_SWEEPS, random_state=0
        )
        model.fit(user_game_matrix(sampled(histories, IALS_USERS), n_games), show_progress=False)
    return FactorRanker(model, n_games)


def _fit_ease(counts: Float32Array, regularisation: float) -> SimilarityRanker:
    return SimilarityRanker(ease(counts, regularisation))


def _fit_knn(nearest: Callable[[], csr_matrix], neighbours: int) -> SimilarityRanker:
    """A game's score is the sum of its similarities to the history's games that are among its nearest."""
    return SimilarityRanker(strongest(nearest(), neighbours).T.tocsr())
