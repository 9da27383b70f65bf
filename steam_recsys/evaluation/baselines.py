"""The baselines that a model has to beat: popularity, item-kNN, iALS and EASE, each tuned on validation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import CosineRecommender
from implicit.utils import ParameterWarning
from scipy.sparse import csr_matrix, issparse
from threadpoolctl import threadpool_limits

from steam_recsys.arrays import Float32Array, Int32Array
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import DECAY_DAYS, popularity, recent_popularity
from steam_recsys.evaluation.intervals import POPULARITY
from steam_recsys.evaluation.metrics import HEADLINE_METRIC, measure
from steam_recsys.evaluation.rankers import Ranker, StaticRanker
from steam_recsys.evaluation.splits import Split, hold_out
from steam_recsys.logging import progress
from steam_recsys.model.item_item_fits import EASE_MAX_GAMES, cooccurrences, ease, user_game_matrix

POPULARITY_DECAYS = {"recent popularity": (DECAY_DAYS,), "tuned recent popularity": (15.0, 30.0, 60.0, 90.0, 240.0)}
"""Days of decay to choose from: that of the model's popularity prior; and whichever was best recently, which need not
stay the best."""

IALS_SETTINGS = ((64, 30.0), (32, 0.1), (128, 30.0))
"""Factors and regularisation."""

IALS_ALPHA = 3.0
"""How much more an interaction counts than its absence."""

IALS_SWEEPS = 15
IALS_USERS = 500_000
"""Maximum number of users whom the game factors are fitted to, drawn at random: their factors take at most 0.3 GB."""

KNN_NEIGHBOURS = (100, 20)

EASE_REGULARISATIONS = (300.0, 100.0, 500.0, 1000.0)
"""Values of λ in EASE to choose from: the larger, the more users must agree."""


@dataclass(frozen=True)
class Baseline:
    """A fitted baseline.

    Attributes:
        name: Name in reports.
        settings: The settings as text; empty if it has none.
        ranker: Ranks the catalogue.
    """

    name: str
    settings: str
    ranker: Ranker


@dataclass(frozen=True)
class Candidate:
    """A baseline with one of its settings, not fitted yet."""

    name: str
    settings: str
    fit: Callable[[], Ranker]


def tuned_baselines(past: Interactions, as_of: int | None, validation: Split, game_ids: Int32Array) -> list[Baseline]:
    """Fit each baseline to the past with the settings that rank best on the validation rows.

    A weak baseline proves nothing: simple models with tuned settings beat many a published one (Ferrari Dacrema et al.
    2019, "Are We Really Making Much Progress?").

    Args:
        past: Everything that may be known.
        as_of: Day on which the rankings are made, in days since 1970-01-01; None if time plays no part.
        validation: The past, split in the same way as the test. If it holds nothing out, the first settings are used.
        game_ids: The catalogue, int32 [N], ascending.
    """
    held_out = hold_out(validation.past, validation.future, game_ids)
    best: dict[str, tuple[float, str]] = {}
    if len(held_out):
        for candidate in candidates(validation.past, validation.as_of, game_ids):
            name, settings = candidate.name, candidate.settings
            figure = float(measure(candidate.fit(), held_out, (HEADLINE_METRIC,))[HEADLINE_METRIC.name].mean())
            if name not in best or figure > best[name][0]:
                best[name] = figure, settings
            progress("evaluate", f"{name}, {settings or 'no settings'}: validation NDCG@10 {figure:.4f}")
    fitted: dict[str, Baseline] = {}
    for candidate in candidates(past, as_of, game_ids):
        name, settings = candidate.name, candidate.settings
        if name not in fitted and settings == best.get(name, (0.0, settings))[1]:
            fitted[name] = Baseline(name, settings, candidate.fit())
    return list(fitted.values())


def candidates(past: Interactions, as_of: int | None, game_ids: Int32Array) -> Iterator[Candidate]:
    """List every baseline with each of its settings; EASE only if the square of the catalogue fits into memory."""
    yield Candidate(POPULARITY, "", lambda: StaticRanker(popularity(past, game_ids).astype(np.float32)))
    if as_of is not None:
        for name, decays in POPULARITY_DECAYS.items():
            for days in decays:
                yield Candidate(name, f"{days:g} days of decay", partial(_fit_recent, past, game_ids, as_of, days))
    histories, n_games = Histories.from_interactions(past.take(past.recommended), game_ids), len(game_ids)
    for factors, regularisation in IALS_SETTINGS:
        settings = f"{factors} factors, regularisation {regularisation:g}"
        yield Candidate("iALS", settings, partial(_fit_ials, histories, n_games, factors, regularisation))
    for neighbours in KNN_NEIGHBOURS:
        yield Candidate("item-kNN", f"{neighbours} neighbours", partial(_fit_knn, histories, n_games, neighbours))
    if n_games <= EASE_MAX_GAMES:
        counts = cooccurrences(histories, n_games)
        for regularisation in EASE_REGULARISATIONS:
            yield Candidate("EASE", f"λ = {regularisation:g}", partial(_fit_ease, counts, regularisation))


@dataclass(frozen=True)
class SimilarityRanker:
    """Ranks by the sum of the weights from a user's games to each game: `weights` is [N, N], dense or sparse."""

    weights: Float32Array | csr_matrix

    @property
    def n_games(self) -> int:
        """See `Ranker.n_games`."""
        return int(self.weights.shape[0])

    def scores(self, history: Histories) -> Float32Array:
        """See `Ranker.scores`."""
        found = user_game_matrix(history, self.n_games) @ self.weights
        dense: Float32Array = found.toarray() if issparse(found) else found
        return dense


@dataclass(frozen=True)
class FactorRanker:
    """Ranks by implicit-feedback matrix factorisation (Hu, Koren and Volinsky 2008), folding users in."""

    model: Any
    n_games: int

    def scores(self, history: Histories) -> Float32Array:
        """See `Ranker.scores`."""
        matrix = user_game_matrix(history, self.n_games)
        with threadpool_limits(1, "blas"):
            factors = self.model.recalculate_user(np.arange(len(history)), matrix)
        found: Float32Array = factors @ self.model.item_factors.T
        return found


def sample_users(histories: Histories, limit: int) -> Histories:
    """Draw at most `limit` users at random, the same ones each time, and keep their order."""
    if len(histories) <= limit:
        return histories
    return histories.take(np.sort(np.random.default_rng(0).choice(len(histories), limit, replace=False)))


def _fit_recent(past: Interactions, game_ids: Int32Array, as_of: int, decay_days: float) -> StaticRanker:
    return StaticRanker(recent_popularity(past, game_ids, as_of, decay_days).astype(np.float32))


def _fit_ials(histories: Histories, n_games: int, factors: int, regularisation: float) -> FactorRanker:
    with threadpool_limits(1, "blas"):  # implicit asks for this: it has threads of its own
        model = AlternatingLeastSquares(
            factors=factors, regularization=regularisation, alpha=IALS_ALPHA, iterations=IALS_SWEEPS, random_state=0
        )
        model.fit(user_game_matrix(sample_users(histories, IALS_USERS), n_games), show_progress=False)
    return FactorRanker(model, n_games)


def _fit_knn(histories: Histories, n_games: int, neighbours: int) -> SimilarityRanker:
    """Fit item-kNN with the cosine of two games' users (Sarwar et al. 2001, section 3.1).

    The game itself, which has the highest cosine, is among the K nearest of implicit and does not count here. As in
    Sarwar et al., a game's score is the sum of its similarities to those of the user's games that are among its own
    nearest; implicit's `recommend` sums over the games that have it among their nearest.
    """
    model = CosineRecommender(K=neighbours + 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ParameterWarning)  # about a matrix that implicit converts itself
        model.fit(user_game_matrix(histories, n_games), show_progress=False)
    nearest = model.similarity.tocoo()
    others = nearest.row != nearest.col
    similarities, games, owned = nearest.data[others].astype(np.float32), nearest.row[others], nearest.col[others]
    return SimilarityRanker(csr_matrix((similarities, (owned, games)), shape=(n_games, n_games)))


def _fit_ease(counts: Float32Array, regularisation: float) -> SimilarityRanker:
    return SimilarityRanker(ease(counts, regularisation))
