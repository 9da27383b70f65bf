"""The baselines that a model has to beat, each tuned on validation: a weak baseline proves nothing.

Simple models with tuned settings beat many a published one (Ferrari Dacrema et al. 2019, "Are We Really Making Much
Progress? A Worrying Analysis of Recent Neural Recommendation Approaches"). All personal ones may weigh the games of a
history by their order, as the model does: that costs no fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from scipy.sparse import csr_matrix, issparse
from threadpoolctl import threadpool_limits

from steam_recsys.arrays import Float32Array, Int32Array
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import DECAY_DAYS, popularity, recent_popularity
from steam_recsys.evaluation.intervals import POPULARITY
from steam_recsys.evaluation.metrics import HEADLINE_METRIC, measure
from steam_recsys.evaluation.rankers import Ranker, StaticRanker
from steam_recsys.evaluation.similarities import item_knn, rp3beta
from steam_recsys.evaluation.splits import HeldOut, Split, hold_out
from steam_recsys.logging import progress
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item_fits import (
    EASE_MAX_GAMES,
    NEIGHBOURHOOD,
    ItemItemData,
    Regression,
    dlae,
    ease,
    user_game_matrix,
)

RECENCIES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Exponents of the age of a history's games, see `HistoryWeights`; with 0 all games count the same."""

NEIGHBOURS = (10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)
REGULARISATIONS = (10.0, 20.0, 30.0, 50.0, 70.0, 100.0, 150.0, 200.0, 300.0, 500.0, 700.0, 1000.0, 1500.0, 2000.0)

IALS_SWEEPS = 15
IALS_USERS = 500_000
"""Maximum number of users whom the game factors are fitted to, drawn at random: their factors take at most 0.3 GB."""

TUNING_SCORES, TUNING_USERS = 40_000_000, 2_000
"""Scores of validation users that a setting is measured with, unless that leaves fewer than so many users."""

FIT_WORK, FEWEST_FITS, MOST_FITS = 8_000_000, 3, 40
"""Interactions that all fits of a kind read in tuning, together, unless that leaves fewer fits; and its largest number
of fits."""

Setting = dict[str, float]
"""The setting of a baseline: a value by name."""


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
class Kind:
    """A kind of baseline.

    Attributes:
        name: Name in reports.
        axes: The values to choose from by name, ascending.
        starts: Where the search starts; the first one is the setting without validation data.
        fit: Fits it with a setting. A `recency` is not its concern.
    """

    name: str
    axes: Mapping[str, tuple[float, ...]]
    starts: tuple[Setting, ...]
    fit: Callable[[TrainingRows, Setting], Ranker]


@dataclass(frozen=True)
class TrainingRows:
    """What baselines are fitted to.

    Attributes:
        past: Everything that may be known.
        as_of: Day on which the rankings are made, in days since 1970-01-01; None if time plays no part.
        game_ids: The catalogue, int32 [N], ascending.
    """

    past: Interactions
    as_of: int | None
    game_ids: Int32Array

    @cached_property
    def histories(self) -> Histories:
        """Each user's recommended games."""
        return Histories.from_interactions(self.past.take(self.past.recommended), self.game_ids)

    @cached_property
    def matrix(self) -> csr_matrix:
        """Users by games, float32 [B, N]."""
        return user_game_matrix(self.histories, len(self.game_ids))

    @cached_property
    def shared(self) -> ItemItemData:
        """The same for EASE and DLAE: all their settings share one count of co-occurrences."""
        return ItemItemData(self.histories, len(self.game_ids))


def tuned_baselines(past: Interactions, as_of: int | None, validation: Split, game_ids: Int32Array) -> list[Baseline]:
    """Fit each baseline to the past with the settings that rank best on the validation rows.

    Args:
        past: Everything that may be known.
        as_of: Day on which the rankings are made, in days since 1970-01-01; None if time plays no part.
        validation: The past, split in the same way as the test.
        game_ids: The catalogue, int32 [N], ascending.
    """
    return fit_baselines(past, as_of, game_ids, tune_baselines(validation, game_ids))


def tune_baselines(validation: Split, game_ids: Int32Array) -> dict[str, Setting]:
    """Choose the setting of each kind of baseline, by its name.

    Args:
        validation: The past, split in the same way as the test. If it holds nothing out, the first settings are used.
        game_ids: The catalogue, int32 [N], ascending.
    """
    held_out = hold_out(validation.past, validation.future, game_ids)
    held_out = _sample(held_out, max(TUNING_USERS, TUNING_SCORES // max(1, len(game_ids))))
    rows = TrainingRows(validation.past, validation.as_of, game_ids)
    limit = min(MOST_FITS, max(FEWEST_FITS, FIT_WORK // max(1, len(validation.past))))
    chosen = {}
    for kind in kinds(rows):
        chosen[kind.name] = kind.starts[0]
        if len(held_out) and kind.axes:
            tuning = _Tuning(kind, rows, held_out, limit)
            best = max((climb(kind.axes, start, tuning.measure) for start in kind.starts), key=tuning.measure)
            chosen[kind.name] = best
            progress(
                "evaluate",
                f"{kind.name}, {as_text(best)}: validation NDCG@10 {tuning.measure(best):.4f}, the best of "
                f"{len(tuning.measured)} settings and {tuning.fits} fits",
            )
    return chosen


def fit_baselines(
    past: Interactions, as_of: int | None, game_ids: Int32Array, chosen: Mapping[str, Setting]
) -> list[Baseline]:
    """Fit each baseline to the past with the settings that `tune_baselines` chose."""
    rows = TrainingRows(past, as_of, game_ids)
    return [
        Baseline(
            kind.name, as_text(chosen[kind.name]), with_recency(kind.fit(rows, chosen[kind.name]), chosen[kind.name])
        )
        for kind in kinds(rows)
    ]


def kinds(rows: TrainingRows) -> Iterator[Kind]:
    """List the kinds of baselines that suit the data."""
    yield Kind(POPULARITY, {}, ({},), _fit_popularity)
    if rows.as_of is not None:
        # With the decay of the model's popularity prior; and with that which was best recently, which need not last.
        yield Kind("recent popularity", {}, ({"days of decay": DECAY_DAYS},), _fit_recent)
        decays = {"days of decay": (7.0, 15.0, 30.0, 60.0, 90.0, 120.0, 180.0, 240.0)}
        yield Kind("tuned recent popularity", decays, ({"days of decay": 60.0},), _fit_recent)
    yield Kind(
        "iALS",
        {
            "recency": RECENCIES,
            "regularisation": (0.1, 1.0, 3.0, 10.0, 30.0, 60.0, 100.0, 300.0),
            "confidence": (2.0, 3.0, 5.0, 10.0, 20.0, 40.0),
            "factors": (16.0, 32.0, 64.0, 128.0),  # folding users in takes their cube
        },
        ({"recency": 0.0, "regularisation": 30.0, "confidence": 3.0, "factors": 64.0},),
        _fit_ials,
    )
    yield Kind(
        "item-kNN",
        {
            "recency": RECENCIES,
            "neighbours": NEIGHBOURS,
            "asymmetry": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
            "shrinkage": (0.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0),
        },
        (
            {"recency": 0.0, "neighbours": 100.0, "asymmetry": 0.5, "shrinkage": 10.0},
            {"recency": 0.0, "neighbours": 50.0, "asymmetry": 0.8, "shrinkage": 10.0},
        ),
        _fit_knn,
    )
    yield Kind(
        "RP3beta",
        {
            "recency": RECENCIES,
            "neighbours": NEIGHBOURS,
            "α": (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6),
            "β": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        },
        ({"recency": 0.0, "neighbours": 200.0, "α": 0.8, "β": 0.4},),
        _fit_rp3beta,
    )
    if len(rows.game_ids) > EASE_MAX_GAMES:
        # Each game has a regression on the games around it: slower than all other kinds, so few are tried.
        yield Kind(
            "EASE", {"recency": RECENCIES, "λ": (30.0, 100.0, 300.0)}, ({"recency": 0.0, "λ": 100.0},), _fit_regression
        )
    else:
        yield Kind("EASE", {"recency": RECENCIES, "λ": REGULARISATIONS}, ({"recency": 0.0, "λ": 300.0},), _fit_ease)
        yield Kind(
            "DLAE",
            {"recency": RECENCIES, "λ": REGULARISATIONS, "p": (0.1, 0.2, 0.33, 0.5, 0.6, 0.7, 0.8)},
            ({"recency": 0.0, "λ": 200.0, "p": 0.33},),
            _fit_dlae,
        )


def climb(axes: Mapping[str, tuple[float, ...]], start: Setting, figure: Callable[[Setting], float]) -> Setting:
    """Search a grid for a setting that no neighbour on any axis beats.

    One axis after the other, the search moves on as long as that gives a higher figure, until no axis gives one. This
    measures a small part of a grid, also of a fine one.

    Args:
        axes: The values of each axis, ascending.
        start: Where to start.
        figure: Measures a setting.

    Example:
        >>> climb({"λ": (1.0, 2.0, 3.0, 4.0)}, {"λ": 1.0}, lambda setting: -((setting["λ"] - 3) ** 2))
        {'λ': 3.0}
    """
    best, highest, before = start, figure(start), None
    while best != before:
        before = best
        for name, values in axes.items():
            for step in (1, -1):
                place = values.index(best[name]) + step
                while 0 <= place < len(values):
                    tried = {**best, name: values[place]}
                    if (found := figure(tried)) <= highest:
                        break
                    best, highest, place = tried, found, place + step
    return best


class _Tuning:
    """Measures the settings of a kind of baseline on validation data, each once.

    Attributes:
        measured: Mean NDCG@10 by setting.
        fits: Number of fits so far.
    """

    def __init__(self, kind: Kind, rows: TrainingRows, held_out: HeldOut, limit: int) -> None:
        self.measured: dict[tuple[float, ...], float] = {}
        self.fits = 0
        self._kind, self._rows, self._held_out, self._limit = kind, rows, held_out, limit
        self._last: tuple[Setting, Ranker] | None = None

    def measure(self, setting: Setting) -> float:
        """Return the mean NDCG@10; -inf if the setting needs a fit and no more are allowed."""
        key = tuple(setting.values())
        if key not in self.measured:
            fitted = self._fit({name: value for name, value in setting.items() if name != "recency"})
            if fitted is None:
                return -np.inf
            figures = measure(with_recency(fitted, setting), self._held_out, (HEADLINE_METRIC,))
            self.measured[key] = float(figures[HEADLINE_METRIC.name].mean())
        return self.measured[key]

    def _fit(self, setting: Setting) -> Ranker | None:
        """Fit with a setting without recency; the last fit serves all recencies."""
        if self._last is None or self._last[0] != setting:
            if self.fits == self._limit:
                return None
            self._last, self.fits = (setting, self._kind.fit(self._rows, setting)), self.fits + 1
        return self._last[1]


def with_recency(ranker: Ranker, setting: Setting) -> Ranker:
    """Return a ranker that weighs the games of a history by the `recency` of a setting, if the setting has one."""
    if "recency" not in setting:
        return ranker
    unweighed: Any = ranker
    weighed: Ranker = replace(unweighed, recency=setting["recency"])
    return weighed


def as_text(setting: Setting) -> str:
    """Return a setting as text.

    Example:
        >>> as_text({"recency": 0.0, "λ": 300.0})
        'recency 0, λ 300'
    """
    return ", ".join(f"{name} {value:g}" for name, value in setting.items())


def _sample(held_out: HeldOut, limit: int) -> HeldOut:
    """Return at most `limit` users, evenly spaced."""
    return held_out.take(np.arange(0, len(held_out), max(1, -(-len(held_out) // limit))))


def _weighed_matrix(history: Histories, n_games: int, recency: float) -> csr_matrix:
    """Return users by games, float32 [B, n_games], with the weight of each game of a history; their mean is 1."""
    matrix = user_game_matrix(history, n_games)
    if recency:
        matrix.data = HistoryWeights(disliked=1.0, recency=recency).weigh(history)
    return matrix


@dataclass(frozen=True)
class SimilarityRanker:
    """Ranks by the sum of the weights from a user's games to each game.

    Attributes:
        weights: What owning game i (row) adds to the score of game j (column), float32 [N, N], dense or sparse.
        recency: How much less the older games of a history count, see `HistoryWeights`.
    """

    weights: Float32Array | csr_matrix
    recency: float = 0.0

    @property
    def n_games(self) -> int:
        """See `Ranker.n_games`."""
        return int(self.weights.shape[0])

    def scores(self, history: Histories) -> Float32Array:
        """See `Ranker.scores`."""
        found = _weighed_matrix(history, self.n_games, self.recency) @ self.weights
        dense: Float32Array = found.toarray() if issparse(found) else found
        return dense


@dataclass(frozen=True)
class FactorRanker:
    """Ranks by implicit-feedback matrix factorisation (Hu, Koren and Volinsky 2008), folding users in.

    Attributes:
        model: The factors.
        n_games: See `Ranker.n_games`.
        recency: How much less the older games of a history count, see `HistoryWeights`.
    """

    model: Any
    n_games: int
    recency: float = 0.0

    def scores(self, history: Histories) -> Float32Array:
        """See `Ranker.scores`."""
        matrix, confidence = _weighed_matrix(history, self.n_games, self.recency), self.model.alpha
        # The absence of a game has confidence 1. What a game's presence adds to that is weighed.
        matrix.data = ((1 + (confidence - 1) * matrix.data) / confidence).astype(np.float32)
        with threadpool_limits(1, "blas"):
            factors = self.model.recalculate_user(np.arange(len(history)), matrix)
        found: Float32Array = factors @ self.model.item_factors.T
        return found


def sample_users(histories: Histories, limit: int) -> Histories:
    """Draw at most `limit` users at random, the same ones each time, and keep their order."""
    if len(histories) <= limit:
        return histories
    return histories.take(np.sort(np.random.default_rng(0).choice(len(histories), limit, replace=False)))


def _fit_popularity(rows: TrainingRows, setting: Setting) -> StaticRanker:
    return StaticRanker(popularity(rows.past, rows.game_ids).astype(np.float32))


def _fit_recent(rows: TrainingRows, setting: Setting) -> StaticRanker:
    assert rows.as_of is not None
    weights = recent_popularity(rows.past, rows.game_ids, rows.as_of, setting["days of decay"])
    return StaticRanker(weights.astype(np.float32))


def _fit_ials(rows: TrainingRows, setting: Setting) -> FactorRanker:
    n_games = len(rows.game_ids)
    with threadpool_limits(1, "blas"):  # implicit asks for this: it has threads of its own
        model = AlternatingLeastSquares(
            factors=int(setting["factors"]),
            regularization=setting["regularisation"],
            alpha=setting["confidence"],
            iterations=IALS_SWEEPS,
            random_state=0,
        )
        model.fit(user_game_matrix(sample_users(rows.histories, IALS_USERS), n_games), show_progress=False)
    return FactorRanker(model, n_games)


def _fit_knn(rows: TrainingRows, setting: Setting) -> SimilarityRanker:
    neighbours = int(setting["neighbours"])
    return SimilarityRanker(item_knn(rows.matrix, neighbours, setting["asymmetry"], setting["shrinkage"]))


def _fit_rp3beta(rows: TrainingRows, setting: Setting) -> SimilarityRanker:
    return SimilarityRanker(rp3beta(rows.matrix, int(setting["neighbours"]), setting["α"], setting["β"]))


def _fit_regression(rows: TrainingRows, setting: Setting) -> SimilarityRanker:
    n_games = len(rows.game_ids)
    weights = Regression(0.0, setting["λ"]).fit(rows.shared, NEIGHBOURHOOD)
    return SimilarityRanker(csr_matrix((weights.weights, weights.games, weights.offsets), shape=(n_games, n_games)))


def _fit_ease(rows: TrainingRows, setting: Setting) -> SimilarityRanker:
    return SimilarityRanker(ease(rows.shared.dense_counts, setting["λ"]))


def _fit_dlae(rows: TrainingRows, setting: Setting) -> SimilarityRanker:
    return SimilarityRanker(dlae(rows.shared.dense_counts, setting["p"], setting["λ"]))
