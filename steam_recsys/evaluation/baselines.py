"""The baselines that a model has to beat, each tuned on validation: a weak baseline proves nothing.

Simple models with tuned settings beat many a published one (Ferrari Dacrema et al. 2019, "Are We Really Making Much
Progress? A Worrying Analysis of Recent Neural Recommendation Approaches"). All personal ones may weigh the games of a
history by their order and by the user's verdict, as the model does: that costs no fit.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
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
from steam_recsys.evaluation.random_walks import RandomWalks
from steam_recsys.evaluation.rankers import Ranker, StaticRanker
from steam_recsys.evaluation.splits import HeldOut, Split, hold_out
from steam_recsys.logging import log, progress
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item_fits import (
    EASE_MAX_GAMES,
    ItemItemData,
    ItemKNN,
    Regression,
    as_matrix,
    fit_regressions,
    user_game_matrix,
)

RECENCIES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Exponents of the age of a history's games, see `HistoryWeights`; with 0 all games count the same."""

DISLIKED = (-0.5, 0.0, 1.0)
"""Weights of a history's games that the user does not recommend; with 1 they count like the others."""

WITHOUT_FIT = ("recency", "disliked")
"""Parameters that are applied to a history: one fit serves all their values."""

NEIGHBOURS = (10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0)
REGULARISATIONS = (
    *(10.0, 20.0, 30.0, 50.0, 70.0, 100.0, 150.0, 200.0, 300.0, 500.0, 700.0),
    *(1000.0, 1500.0, 2000.0, 3000.0, 5000.0, 10_000.0),
)
DROPOUTS = (0.1, 0.2, 0.33, 0.5, 0.6, 0.7, 0.8, 0.9)

LARGE_REGULARISATIONS, LARGE_DROPOUTS = (10.0, 30.0, 100.0, 200.0, 500.0, 1000.0), (0.33, 0.5)
"""The same in a catalogue of more than `EASE_MAX_GAMES` games, where one pass fits all of them."""

LARGE_GRID = tuple(Regression(p, size) for p in (0.0, *LARGE_DROPOUTS) for size in LARGE_REGULARISATIONS)

IALS_SWEEPS, IALS_TUNING_SWEEPS = 15, 8
"""Sweeps over all factors, and those of a fit that is only compared with other ones."""

IALS_USERS = 500_000
"""Maximum number of users whom the game factors are fitted to, drawn at random: their factors take at most 0.5 GB."""

TUNING_SCORES, TUNING_USERS, MOST_TUNING_USERS = 40_000_000, 2_000, 20_000
"""Parameters are measured with as many validation users as have `TUNING_SCORES` scores together, but with at least
`TUNING_USERS` of them and at most `MOST_TUNING_USERS`."""

FIT_WORK, FEWEST_FITS, MOST_FITS = 8_000_000, 3, 40
"""In tuning, each kind has as many fits as read `FIT_WORK` interactions together, but at least `FEWEST_FITS` fits and
at most `MOST_FITS`."""

EASE, DLAE = "EASE", "DLAE"

KEPT_BYTES = 1 << 30
"""Maximum size in bytes of the fits of a kind that stay in memory while its parameters are tuned."""

Parameters = dict[str, float]
"""The hyperparameters of a baseline: a value by name."""


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
        starts: Where the search may start; the first one has the parameters without validation data.
        fit: Fits it with some parameters, all but those `WITHOUT_FIT`: they are applied later.
        costly: Axes along which fits get slower, so that the search ends at the first value that is not better.
        unlimited: Whether fits are so quick, or all made in one pass, that their number needs no limit.
    """

    name: str
    axes: Mapping[str, tuple[float, ...]]
    starts: tuple[Parameters, ...]
    fit: Callable[[TrainingRows, Parameters], Ranker]
    costly: Collection[str] = ()
    unlimited: bool = False


@dataclass(frozen=True)
class TrainingRows:
    """What baselines are fitted to.

    Attributes:
        past: Everything that may be known.
        as_of: Day on which the rankings are made, in days since 1970-01-01; None if time plays no part.
        game_ids: The catalogue, int32 [N], ascending.
        ials_sweeps: Number of sweeps of iALS.
        large_grid: The regressions that one pass fits in a large catalogue.
    """

    past: Interactions
    as_of: int | None
    game_ids: Int32Array
    ials_sweeps: int = IALS_SWEEPS
    large_grid: tuple[Regression, ...] = LARGE_GRID

    @property
    def is_large(self) -> bool:
        """Whether the catalogue is too large for exact regressions."""
        return len(self.game_ids) > EASE_MAX_GAMES

    @cached_property
    def histories(self) -> Histories:
        """Each user's recommended games."""
        return Histories.from_interactions(self.past.take(self.past.recommended), self.game_ids)

    @cached_property
    def item_item(self) -> ItemItemData:
        """The same for item-item weights: all kinds and parameters share one count of co-occurrences."""
        return ItemItemData(self.histories, len(self.game_ids))

    @cached_property
    def random_walks(self) -> RandomWalks:
        """The same for RP3β."""
        return RandomWalks(self.item_item)

    @cached_property
    def large_regressions(self) -> dict[Regression, csr_matrix]:
        """The weights of the regressions of `large_grid`, float32 [N, N]."""
        fitted = fit_regressions(self.large_grid, self.item_item)
        return {kind: as_matrix(weights) for kind, weights in zip(self.large_grid, fitted, strict=True)}


def tune_baselines(validation: Split, game_ids: Int32Array) -> dict[str, Parameters]:
    """Choose the parameters of each kind of baseline, by its name.

    Args:
        validation: The past, split in the same way as the test. If it holds nothing out, the first parameters are used.
        game_ids: The catalogue, int32 [N], ascending.

    Returns:
        The parameters that rank best on the validation rows among those that the search measured.
    """
    held_out = hold_out(validation.past, validation.future, game_ids)
    n_users = min(MOST_TUNING_USERS, TUNING_SCORES // max(1, len(game_ids)))
    held_out = _sample(held_out, max(TUNING_USERS, n_users))
    rows = TrainingRows(validation.past, validation.as_of, game_ids, IALS_TUNING_SWEEPS)
    limit = min(MOST_FITS, max(FEWEST_FITS, FIT_WORK // max(1, len(validation.past))))
    chosen = {}
    for kind in kinds(rows):
        chosen[kind.name] = kind.starts[0]
        if len(held_out) and kind.axes:
            tuning = _Tuning(kind, rows, held_out, limit)
            start = max(kind.starts, key=tuning.measure)
            best = climb(kind.axes, start, tuning.measure, kind.costly)
            chosen[kind.name] = best
            progress(
                "evaluate",
                f"{kind.name}, {as_text(best)}: validation NDCG@10 {tuning.measure(best):.4f}, the best of "
                f"{len(tuning.measured)} settings and {tuning.fits} fits",
            )
    return chosen


def fit_baselines(
    past: Interactions, as_of: int | None, game_ids: Int32Array, chosen: Mapping[str, Parameters]
) -> list[Baseline]:
    """Fit each baseline to the past.

    Args:
        past: Everything that may be known.
        as_of: Day on which the rankings are made, in days since 1970-01-01; None if time plays no part.
        game_ids: The catalogue, int32 [N], ascending.
        chosen: The parameters of each kind of baseline by its name, from `tune_baselines`.
    """
    grid = tuple(_regression(chosen[name]) for name in (EASE, DLAE))
    rows = TrainingRows(past, as_of, game_ids, large_grid=grid)
    return [
        Baseline(
            kind.name, as_text(chosen[kind.name]), with_weights(kind.fit(rows, chosen[kind.name]), chosen[kind.name])
        )
        for kind in kinds(rows)
    ]


def kinds(rows: TrainingRows) -> Iterator[Kind]:
    """List the kinds of baselines that suit the data."""
    yield Kind(POPULARITY, {}, ({},), _fit_popularity)
    if rows.as_of is not None:
        # With the decay of the model's popularity prior; and with that which was best recently, which need not last.
        yield Kind("recent popularity", {}, ({"days of decay": DECAY_DAYS},), _fit_recent)
        decays = {"days of decay": (7.0, 15.0, 30.0, 60.0, 90.0, 120.0, 180.0, 240.0, 365.0)}
        yield Kind("tuned recent popularity", decays, ({"days of decay": 60.0},), _fit_recent, unlimited=True)
    weights: dict[str, tuple[float, ...]] = {"recency": RECENCIES}
    start = {"recency": 0.0}
    if not rows.past.recommended.all():
        weights["disliked"], start["disliked"] = DISLIKED, 0.0
    # Folding users in takes the cube of the factors, and with nearly as many as games there is nothing to factorise.
    factors = (16.0, 32.0, 64.0, *(size for size in (128.0, 256.0) if size <= len(rows.game_ids) / 4))
    yield Kind(
        "iALS",
        {
            **weights,
            "regularisation": (0.01, 0.1, 1.0, 3.0, 10.0, 30.0, 60.0, 100.0, 300.0, 1000.0),
            "confidence": (2.0, 3.0, 5.0, 10.0, 20.0, 40.0, 80.0),
            "factors": factors,
        },
        (
            {**start, "regularisation": 30.0, "confidence": 3.0, "factors": 64.0},
            {**start, "regularisation": 1.0, "confidence": 20.0, "factors": min(128.0, factors[-1])},
        ),
        _fit_ials,
        costly=("factors",),
    )
    yield Kind(
        "item-kNN",
        {
            **weights,
            "neighbours": NEIGHBOURS,
            "exponent": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7),
            "shrinkage": (0.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0),
        },
        (
            {**start, "neighbours": 100.0, "exponent": 0.5, "shrinkage": 10.0},
            {**start, "neighbours": 50.0, "exponent": 0.2, "shrinkage": 10.0},
            {**start, "neighbours": 500.0, "exponent": 0.1, "shrinkage": 10.0},
        ),
        _fit_knn,
    )
    yield Kind(
        "RP3beta",
        {
            **weights,
            "neighbours": NEIGHBOURS,
            "α": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6),
            "β": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
        },
        (
            {**start, "neighbours": 200.0, "α": 0.8, "β": 0.4},
            {**start, "neighbours": 500.0, "α": 0.4, "β": 0.1},
        ),
        _fit_rp3beta,
    )
    sizes: tuple[float, ...] = LARGE_REGULARISATIONS if rows.is_large else REGULARISATIONS
    dropouts: tuple[float, ...] = LARGE_DROPOUTS if rows.is_large else DROPOUTS
    yield Kind(EASE, {**weights, "λ": sizes}, ({**start, "λ": 200.0},), _fit_regression, unlimited=rows.is_large)
    yield Kind(
        DLAE,
        {**weights, "λ": sizes, "p": dropouts},
        ({**start, "λ": 200.0, "p": 0.33},),
        _fit_regression,
        unlimited=rows.is_large,
    )


def climb(
    axes: Mapping[str, tuple[float, ...]],
    start: Parameters,
    figure: Callable[[Parameters], float],
    costly: Collection[str] = (),
) -> Parameters:
    """Search a grid for parameters that no neighbour on any axis beats.

    One axis after the other, the search moves on as long as that gives a higher figure, until no axis gives one. Since
    figures are noisy, one value that is not better is stepped over. This measures a small part of a fine grid.

    Args:
        axes: The values of each axis, ascending.
        start: Where to start.
        figure: Measures parameters.
        costly: Axes on which the first value that is not better ends the search.

    Example:
        >>> climb({"λ": (1.0, 2.0, 3.0, 4.0)}, {"λ": 1.0}, lambda parameters: -((parameters["λ"] - 3) ** 2))
        {'λ': 3.0}
    """
    best, highest, before = start, figure(start), None
    while best != before:
        before = best
        for name, values in axes.items():
            most_worse = 0 if name in costly else 1
            for step in (1, -1):
                index, worse = values.index(best[name]) + step, 0
                while 0 <= index < len(values) and worse <= most_worse:
                    tried = {**best, name: values[index]}
                    if (found := figure(tried)) > highest:
                        best, highest, worse = tried, found, 0
                    else:
                        worse += 1
                    index += step
    return best


class _Tuning:
    """Measures the parameters of a kind of baseline on validation data, each once.

    Attributes:
        measured: Mean NDCG@10 by parameters.
    """

    def __init__(self, kind: Kind, rows: TrainingRows, held_out: HeldOut, limit: int) -> None:
        self.measured: dict[tuple[float, ...], float] = {}
        self._kind, self._rows, self._held_out, self._limit = kind, rows, held_out, limit
        self._fitted: set[tuple[float, ...]] = set()
        self._kept: OrderedDict[tuple[float, ...], Ranker] = OrderedDict()
        self._ended = False

    @property
    def fits(self) -> int:
        """Number of parameters that were fitted so far."""
        return len(self._fitted)

    def measure(self, parameters: Parameters) -> float:
        """Return the mean NDCG@10; -inf if the parameters need a fit and no more are allowed."""
        key = tuple(parameters.values())
        if key not in self.measured:
            fitted = self._fit({name: value for name, value in parameters.items() if name not in WITHOUT_FIT})
            if fitted is None:
                return -np.inf
            figures = measure(with_weights(fitted, parameters), self._held_out, (HEADLINE_METRIC,))
            self.measured[key] = float(figures[HEADLINE_METRIC.name].mean())
        return self.measured[key]

    def _fit(self, parameters: Parameters) -> Ranker | None:
        """Fit with parameters, or return a kept fit; a fit that was not kept may be repeated beyond the limit."""
        key = tuple(parameters.values())
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        if key not in self._fitted and len(self._fitted) == self._limit and not self._kind.unlimited:
            if not self._ended:
                message = f"the search ended after {self._limit} fits, the most for data of this size"
                log("evaluate", f"{self._kind.name}: {message}")
            self._ended = True
            return None
        fitted = self._kind.fit(self._rows, parameters)
        self._fitted.add(key)
        self._kept[key] = fitted
        while len(self._kept) > 1 and sum(map(_size, self._kept.values())) > KEPT_BYTES:
            self._kept.popitem(last=False)
        return fitted


def with_weights(ranker: Ranker, parameters: Parameters) -> Ranker:
    """Return a ranker that weighs the games of a history by the parameters `WITHOUT_FIT`, if there are any."""
    weights = {name: parameters[name] for name in WITHOUT_FIT if name in parameters}
    if not weights:
        return ranker
    unweighed: Any = ranker
    weighed: Ranker = replace(unweighed, **weights)
    return weighed


def as_text(parameters: Parameters) -> str:
    """Return parameters as text.

    Example:
        >>> as_text({"recency": 0.0, "λ": 300.0})
        'recency 0, λ 300'
    """
    return ", ".join(f"{name} {value:g}" for name, value in parameters.items())


def _sample(held_out: HeldOut, limit: int) -> HeldOut:
    """Return at most `limit` users, evenly spaced."""
    return held_out.take(np.arange(0, len(held_out), max(1, -(-len(held_out) // limit))))


def _weighed_matrix(history: Histories, n_games: int, recency: float, disliked: float) -> csr_matrix:
    """Return users by games, float32 [B, n_games], with each game's weight; the mean of their absolute values is 1."""
    matrix = user_game_matrix(history, n_games)
    matrix.data = HistoryWeights(disliked=disliked, recency=recency).weigh(history)
    return matrix


@dataclass(frozen=True)
class SimilarityRanker:
    """Ranks by the sum of the weights from a user's games to each game.

    Attributes:
        weights: What owning game i (row) adds to the score of game j (column), float32 [N, N], dense or sparse.
        recency: How much less the older games of a history count, see `HistoryWeights`.
        disliked: How much a game counts that the user does not recommend.
    """

    weights: Float32Array | csr_matrix
    recency: float = 0.0
    disliked: float = 1.0

    @property
    def n_games(self) -> int:
        """See `Ranker.n_games`."""
        return int(self.weights.shape[0])

    def scores(self, history: Histories) -> Float32Array:
        """See `Ranker.scores`."""
        found = _weighed_matrix(history, self.n_games, self.recency, self.disliked) @ self.weights
        dense: Float32Array = found.toarray() if issparse(found) else found
        return dense


@dataclass(frozen=True)
class FactorRanker:
    """Ranks by implicit-feedback matrix factorisation (Hu, Koren and Volinsky 2008), folding users in.

    A game of negative weight is one that the user does not prefer, with confidence: its preference is 0.

    Attributes:
        model: The factors.
        n_games: See `Ranker.n_games`.
        recency: How much less the older games of a history count, see `HistoryWeights`.
        disliked: How much a game counts that the user does not recommend.
    """

    model: Any
    n_games: int
    recency: float = 0.0
    disliked: float = 1.0

    def scores(self, history: Histories) -> Float32Array:
        """See `Ranker.scores`."""
        matrix = _weighed_matrix(history, self.n_games, self.recency, self.disliked)
        matrix.eliminate_zeros()
        # The absence of a game has confidence 1. What a game's presence adds to that is weighed. implicit multiplies
        # the values by the model's confidence, and reads the sign as the preference.
        confidence = self.model.alpha
        values = np.sign(matrix.data) * (1 + (confidence - 1) * np.abs(matrix.data)) / confidence
        matrix.data = values.astype(np.float32)
        with threadpool_limits(1, "blas"):
            factors = self.model.recalculate_user(np.arange(len(history)), matrix)
        found: Float32Array = factors @ self.model.item_factors.T
        return found


def _size(ranker: Ranker) -> int:
    """Return the size of a fit in bytes."""
    match ranker:
        case SimilarityRanker(weights=np.ndarray() as weights):
            return int(weights.nbytes)
        case SimilarityRanker(weights=csr_matrix() as sparse):
            return int(sparse.data.nbytes + sparse.indices.nbytes + sparse.indptr.nbytes)
        case FactorRanker(model=model):
            return int(model.item_factors.nbytes)
    return 0


def sample_users(histories: Histories, limit: int) -> Histories:
    """Draw at most `limit` users at random, the same ones each time, and keep their order."""
    if len(histories) <= limit:
        return histories
    return histories.take(np.sort(np.random.default_rng(0).choice(len(histories), limit, replace=False)))


def _fit_popularity(rows: TrainingRows, parameters: Parameters) -> StaticRanker:
    return StaticRanker(popularity(rows.past, rows.game_ids).astype(np.float32))


def _fit_recent(rows: TrainingRows, parameters: Parameters) -> StaticRanker:
    assert rows.as_of is not None
    weights = recent_popularity(rows.past, rows.game_ids, rows.as_of, parameters["days of decay"])
    return StaticRanker(weights.astype(np.float32))


def _fit_ials(rows: TrainingRows, parameters: Parameters) -> FactorRanker:
    n_games = len(rows.game_ids)
    with threadpool_limits(1, "blas"):  # implicit asks for this: it has its own threads
        model = AlternatingLeastSquares(
            factors=int(parameters["factors"]),
            regularization=parameters["regularisation"],
            alpha=parameters["confidence"],
            iterations=rows.ials_sweeps,
            random_state=0,
        )
        model.fit(user_game_matrix(sample_users(rows.histories, IALS_USERS), n_games), show_progress=False)
    model.user_factors = None  # users are folded in
    return FactorRanker(model, n_games)


def _fit_knn(rows: TrainingRows, parameters: Parameters) -> SimilarityRanker:
    kind = ItemKNN(parameters["exponent"], parameters["shrinkage"])
    return SimilarityRanker(as_matrix(kind.fit(rows.item_item, int(parameters["neighbours"]))))


def _fit_rp3beta(rows: TrainingRows, parameters: Parameters) -> SimilarityRanker:
    weights = rows.random_walks.fit(int(parameters["neighbours"]), parameters["α"], parameters["β"])
    return SimilarityRanker(as_matrix(weights))


def _fit_regression(rows: TrainingRows, parameters: Parameters) -> SimilarityRanker:
    kind = _regression(parameters)
    if rows.is_large:
        return SimilarityRanker(rows.large_regressions[kind])
    return SimilarityRanker(kind.exact(rows.item_item.dense_counts))


def _regression(parameters: Parameters) -> Regression:
    return Regression(parameters.get("p", 0.0), parameters["λ"])
