"""Tuning on validation data: the most personal setting that accuracy cannot tell from the best.

Everything that is served is chosen together: the scale of the cosine, the item-item weights, the weights of a history's
games, the weight of the sequential tower, and how much popularity counts. The next review is mostly of what is popular
now, so NDCG@10 alone would choose the least personal of settings that are level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from statistics import NormalDist
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from components.train.deadline import Deadline
from components.train.sequential_trainer import CHECKS, SequentialFit, fit_sequential
from components.train.trainer import Trainer
from components.train.training_data import TrainingData
from components.train.two_tower_model import ModelConfig
from steam_recsys.arrays import BoolArray, Float32Array, Float64Array, Int32Array
from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories, positions_of
from steam_recsys.evaluation.beyond_accuracy import mean_jaccard
from steam_recsys.evaluation.intervals import standard_error
from steam_recsys.evaluation.metrics import HEADLINE_METRIC, NDCG, measure_ranked
from steam_recsys.evaluation.rankers import ModelRanker, score_blocks
from steam_recsys.evaluation.splits import HeldOut
from steam_recsys.logging import log, progress
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights, NextGames
from steam_recsys.model.item_item_fits import (
    EASE_MAX_GAMES,
    ItemItemData,
    ItemItemKind,
    Neighbours,
    Regression,
    Transitions,
    summed,
)
from steam_recsys.model.lists import interests_length
from steam_recsys.model.retrieval import TOP_K_SCORES, top_k
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.sequential import SequentialTower
from steam_recsys.model.two_tower import Towers, TwoTowerArrays

POPULARITY_WEIGHTS = (8.0, 4.0, 3.0, 2.0, 1.6, 1.3, 1.15, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3)
"""Factors of the popularity prior to choose from, the least personal one first."""

INTERESTS_WEIGHTS = (*POPULARITY_WEIGHTS, 0.2, 0.1, 0.05, 0.01)
"""The same for interests. None is 0: users without a history would get the catalogue's first games."""

INTERESTS_OVERLAP = 0.2
"""Largest mean overlap of two users' interests."""

OVERLAP_USERS = 500
"""Users among whom overlap is measured, at least: twice as many at most."""

POINTS_PER_PERCENT = 2.0
"""Percentage points by which giving up a per cent of NDCG@10 must lower the overlap, at least."""

CHECK_USERS = 1_000
"""Users of the validation data with which the towers are checked during a fit, at most."""

REGRESSIONS = ((0.0, 1000.0), (0.0, 500.0), (0.0, 100.0), (0.33, 500.0), (0.33, 100.0), (0.5, 300.0))
"""Dropout and regularisation of the item-item weights by regression: EASE without dropout, DLAE with it."""

LARGE_REGRESSIONS = ((0.33, 100.0),)
"""The same in a catalogue of more than `EASE_MAX_GAMES` games, where each takes minutes."""

REGRESSION_PER_GAME = (10, 15, 25, 50, 100, 400)
NEIGHBOUR_EXPONENTS = (0.2, 0.5, 0.8)
NEIGHBOURS_PER_GAME = (50, 100, 400)
NEXT_KINDS = ((1.0, 300.0), (1.0, 1000.0), (0.5, 300.0))
"""Recency and regularisation of the weights of next games, in a catalogue of any size."""

NEXT_PER_GAME = (100, 400)

MOST_PER_GAME = max(*REGRESSION_PER_GAME, *NEXT_PER_GAME)
FACTORS = ("regression_weight", "neighbour_weight", "next_weight")

SPREADS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Factors of item-item weights to choose from, as the standard deviation of what they add to a user's scores, relative
to that of the towers' scores."""

FINE_SHARES = (0.5, 0.7, 0.85, 1.2, 1.4, 2.0)
"""Multiples of the chosen factors, to try at the end."""

LEAST_REGULARISATION, MOST_REGULARISATION = 10.0, 10_000.0
"""Bounds of λ of a regression. With less, the rounding of float32 can make its matrix singular."""

CHECKED_SPREAD = 0.5
"""The spread with which weights of next games, and those by item-kNN, must be better than none."""

SPREAD_USERS = 200
"""Largest number of validation users whose scores are used to measure spreads."""

KEPT_TABLES = 8
"""Largest number of tables between catalogue positions that are kept for the next settings; fits are all kept."""

PART_BYTES = 1 << 30
"""Largest size of the scores of single parts of the model that are kept for the next settings."""

RECENCIES = (0.25, 0.5, 0.75, 1.0, 2.0)
HOURS = (0.1, 0.2, 0.4)
DISLIKED = (-0.25, -0.5, -1.0)
"""Below zero, so that a disliked game never counts for games like it."""

SEQUENCE_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5)

CHECKED_SEQUENCE_WEIGHT = 0.5
"""Weight of the sequential tower in the checks during its fit."""

LEAST_SEQUENCE_WEIGHT, SEQUENCE_METRIC = SEQUENCE_WEIGHTS[1], NDCG(100)
"""Weight with which the sequential tower must be better than none, and the metric. If one game of each user is held
out, NDCG@10 of most users is 0, whatever the tower adds; on public data the longer list tells more surely where order
means something."""

MAX_SCALE = 32.0
"""Far below the scale at which exp(1.5 * scale) overflows float32, and above what any data set has chosen."""

CONFIDENCE = 0.95
"""Confidence level at which weights of histories must be better than even ones."""

ROUNDS = 2
"""Rounds over item-item and history weights: what is best for the one depends on the others."""


@dataclass(frozen=True)
class Trial:
    """One fit of the search for the scale.

    Attributes:
        scale: The scale.
        losses: The learning curve.
        checks: The same on validation data: mean NDCG@10 of some users after each of equal parts of the steps, with the
            popularity prior as it is.
        ndcg_at_10: Mean NDCG@10 on the validation data with the popularity weight that is best for it.
    """

    scale: float
    losses: tuple[float, ...]
    checks: tuple[float, ...]
    ndcg_at_10: float


@dataclass(frozen=True)
class Setting:
    """A setting of everything that is tuned, and how it ranks the validation data.

    Attributes:
        config: The configuration.
        ndcg: NDCG@10 of each user, float64 [n_users].
        overlap: Mean Jaccard index of the first ten games of two users.
    """

    config: ModelConfig
    ndcg: Float64Array = field(repr=False)
    overlap: float

    @property
    def mean(self) -> float:
        """Mean NDCG@10."""
        return float(self.ndcg.mean())

    def __str__(self) -> str:
        return f"NDCG@10 {self.mean:.4f}, overlap {self.overlap:.3f} ({self.config.summary})"


@dataclass(frozen=True)
class TuningResult:
    """The outcome of tuning.

    Attributes:
        chosen: The chosen setting.
        most_accurate: The setting with the highest mean NDCG@10.
        trials: The fits of the search for the scale.
        cut_short: Whether the time budget ended the search.
    """

    chosen: Setting
    most_accurate: Setting
    trials: tuple[Trial, ...]
    cut_short: bool


@dataclass(frozen=True)
class Validation:
    """The validation data.

    Attributes:
        held_out: The users.
        games: The catalogue, sorted by ID.
        popularity: float64 [D, N], popularity by decay at the beginning of the validation period.
        supported: bool [N], the games with enough reviews by then for taste alone to rank them.
    """

    held_out: HeldOut
    games: Games
    popularity: Float64Array
    supported: BoolArray

    def measure(
        self, scorer: Scorer, weights: Sequence[float], parts: Sequence[Part] = ()
    ) -> Iterator[tuple[Float64Array, float]]:
        """Yield NDCG@10 of each user, float64 [n_users], and the overlap with each of some popularity weights.

        Args:
            scorer: Scores the catalogue.
            weights: The popularity weights.
            parts: What the taste is the sum of, if it has been computed before.
        """
        k = HEADLINE_METRIC.k
        for ranked in rank(scorer, self.held_out, weights, k, parts=parts):
            figures = measure_ranked(ranked, self.held_out.relevant, (HEADLINE_METRIC,))
            yield figures[HEADLINE_METRIC.name], mean_jaccard(ranked[:: max(1, len(ranked) // OVERLAP_USERS)], k)

    def figures(self, scorer: Scorer, weight: float, parts: Sequence[Part], metric: NDCG) -> Float64Array:
        """Return another metric of each user with one popularity weight, float64 [n_users]."""
        (ranked,) = rank(scorer, self.held_out, (weight,), metric.k, parts=parts)
        return measure_ranked(ranked, self.held_out.relevant, (metric,))[metric.name]

    def sample(self, limit: int) -> Validation:
        """Return the data of about `limit` users, evenly spaced."""
        rows = np.arange(0, len(self.held_out), max(1, -(-len(self.held_out) // limit)))
        return replace(self, held_out=self.held_out.take(rows))

    def interests_weight(self, scorer: Scorer) -> float:
        """Return the largest popularity weight with which the interests of two users overlap little enough."""
        users = self.held_out.take(np.arange(0, len(self.held_out), max(1, len(self.held_out) // OVERLAP_USERS)))
        length = interests_length(int(self.supported.sum()))
        rankings = rank(scorer, users, INTERESTS_WEIGHTS, length, self.supported)
        for weight, ranked in zip(INTERESTS_WEIGHTS, rankings, strict=True):
            if mean_jaccard(ranked, length) <= INTERESTS_OVERLAP:
                return weight
        return INTERESTS_WEIGHTS[-1]


def rank(
    scorer: Scorer,
    users: HeldOut,
    weights: Sequence[float],
    k: int,
    allowed: BoolArray | None = None,
    parts: Sequence[Part] = (),
) -> list[Int32Array]:
    """Rank the games outside each user's history with several popularity weights.

    Args:
        scorer: Scores the catalogue.
        users: B users.
        weights: The popularity weights.
        k: Number of games.
        allowed: bool [N], the games that may be ranked; None for all.
        parts: What the taste is the sum of, if it has been computed before.

    Returns:
        The k best games as positions for each weight, int32 [B, k], -1 if fewer are left.
    """
    ranked = [np.empty((len(users), k), dtype=np.int32) for _ in weights]
    ranker = ModelRanker(scorer, popularity_weight=0.0)
    for rows, taste in summed_blocks(parts, users.history) if parts else score_blocks(ranker, users.history):
        if allowed is not None:
            taste[:, ~allowed] = -np.inf
        for weight, games in zip(weights, ranked, strict=True):
            games[rows], _ = top_k(taste + np.float32(weight) * scorer.popularity_prior, k)
    return ranked


Part = tuple[float, Float32Array]
"""A factor and the scores of all users and games, float32 [B, N], that it multiplies."""


def summed_blocks(parts: Sequence[Part], history: Histories) -> Iterator[tuple[slice, Float32Array]]:
    """Sum the parts of scores for one block of users at a time, as `score_blocks` computes scores."""
    n_games, owners = parts[0][1].shape[1], history.owners
    block = max(1, TOP_K_SCORES // max(1, n_games))
    for start in range(0, len(history), block):
        rows = slice(start, min(start + block, len(history)))
        scores = np.zeros((rows.stop - rows.start, n_games), dtype=np.float32)
        for factor, part in parts:
            scores += np.float32(factor) * part[rows]
        entries = slice(history.offsets[rows.start], history.offsets[rows.stop])
        scores[owners[entries] - rows.start, history.games[entries]] = -np.inf
        yield rows, scores


def tune(
    data: TrainingData,
    validation: Validation,
    config: ModelConfig,
    trainer: Trainer,
    personal_budget: float,
    deadline: Deadline,
) -> TuningResult:
    """Choose everything that is served on the validation data.

    The scale controls capacity: dense data need much of it, sparse data little. It is doubled as long as that gives a
    more accurate setting, or one that would be chosen. With capacity bounded like this the number of steps needs no
    tuning: more of them change little once the learning rate is low.

    With a time budget, each step of the search ends in time for the final fit; a later and shorter one may still have
    time. The choice is made among what has been measured: at least the first scale, with every popularity weight.

    Args:
        data: Training data of the validation split.
        validation: The validation data.
        config: Hyperparameters to start from.
        trainer: Makes the fits.
        personal_budget: Largest share of the best NDCG@10 to give up for lists that differ more between users.
        deadline: Ends the search.

    Raises:
        UserError: The loss is not finite.
    """
    search = _Search(data, validation, config, deadline)
    steps = min(data.steps(config), config.trial_steps)

    def best() -> Setting:
        return most_accurate(search.settings.values())

    def chosen() -> Setting:
        return most_personal(search.settings.values(), personal_budget)

    # 1. Fit with the smallest scale, which every budget has time for.
    scale = config.scale
    search.fit(scale, trainer, steps)

    # 2. Double the scale while that helps, then try one between.
    with deadline.enforced():
        while scale < MAX_SCALE and scale in (best().config.scale, chosen().config.scale):
            scale *= 2
            search.fit(scale, trainer, steps)
        if (scale := chosen().config.scale) > config.scale:
            search.fit(1.5 * scale, trainer, steps)

    # 3. Improve the weights of histories, the weight of the sequential tower and the item-item weights, each given the
    # others: of the most accurate setting, which sets the standard, then of the one that would be chosen, which may
    # come closer to it.
    with deadline.enforced():
        search.improve_history_weights(best)
        search.fit_sequence(trainer, best())
    with deadline.enforced():
        for find in (best, chosen):
            for _ in range(ROUNDS):
                before = find()
                search.improve_history_weights(find)
                search.improve_sequence(find)
                search.improve_item_item(find)
                if find() is before:
                    break
            # 4. Try all scales and popularity weights with it.
            search.try_all_scales(find().config)
    if deadline.passed:
        log(
            "train",
            f"the search for settings is cut short after {len(search.settings):,} settings: the last "
            f"{max(deadline.left, 0.0):,.0f} s of training_minutes = {deadline.minutes:g} are for the final fit",
        )

    # 5. Choose.
    found = chosen()
    weight = validation.interests_weight(search.scorer(found.config))
    found = replace(found, config=replace(found.config, interests_weight=weight))
    progress("train", f"most accurate: {best()}")
    progress("train", f"chosen: {found}")
    return TuningResult(found, best(), tuple(search.trials), deadline.passed)


def most_accurate(settings: Iterable[Setting]) -> Setting:
    """Return the most accurate setting; of equally accurate ones the most personal."""
    return max(settings, key=lambda setting: (setting.mean, -setting.overlap))


def most_personal(settings: Iterable[Setting], budget: float) -> Setting:
    """Choose the setting with the least overlap among those that are about as accurate as the best.

    A per cent of NDCG@10 must lower the overlap by at least `POINTS_PER_PERCENT` percentage points: where the lists of
    two users hardly overlap anyway, little is given up.

    Args:
        settings: At least one setting.
        budget: See `is_level`.
    """
    settings = list(settings)
    best = most_accurate(settings)
    level = [setting for setting in settings if setting is best or is_level(setting, best, budget)]

    def cost(setting: Setting) -> tuple[float, float]:
        return setting.overlap - POINTS_PER_PERCENT * setting.mean / (best.mean or 1.0), -setting.mean

    return min(level, key=cost)


def is_level(setting: Setting, best: Setting, budget: float) -> bool:
    """Tell whether a setting may be chosen instead of the most accurate one.

    Its mean NDCG@10 is within one standard error of the mean of the best (the one-standard-error rule: Breiman et al.
    1984, "Classification and Regression Trees", section 3.4.3), and the loss is within the budget, by one standard
    error of the paired difference: of many settings, the one that just keeps to it on these users exceeds it on others.

    Args:
        setting: The setting.
        best: The most accurate setting.
        budget: Share of the best NDCG@10 that may be given up; with 0 nothing may.
    """
    if len(best.ndcg) < 2:  # a single user gives no standard error
        return False
    loss = best.mean - setting.mean
    return loss <= standard_error(best.ndcg) and (loss + standard_error(best.ndcg - setting.ndcg) <= budget * best.mean)


def is_clearly_better(one: Setting, other: Setting, n_candidates: int) -> bool:
    """Tell whether a setting gains NDCG@10 over another one, see `is_clear`."""
    return is_clear(one.ndcg - other.ndcg, n_candidates)


def is_clear(gains: Float64Array, n_candidates: int) -> bool:
    """Tell whether the confidence interval of a mean gain is above zero.

    The best of many is often better by chance, most of all on sparse reviews. So the interval is widened for the best
    of `n_candidates` (Bonferroni's correction: Dunn 1961, "Multiple Comparisons Among Means").

    Args:
        gains: Gain of each user, float64 [n_users].
        n_candidates: Number of candidates of which this is the best.
    """
    errors = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2 / n_candidates)
    enough = len(gains) > 1  # a single user gives no interval
    return enough and float(gains.mean()) > errors * standard_error(gains)


class _Search:
    """The search for settings.

    Attributes:
        settings: Everything that may be chosen, by configuration.
        trials: The fits so far.
    """

    def __init__(self, data: TrainingData, validation: Validation, config: ModelConfig, deadline: Deadline) -> None:
        self.settings: dict[ModelConfig, Setting] = {}
        self.trials: list[Trial] = []
        self._data, self._validation, self._config, self._deadline = data, validation, config, deadline
        self._known: dict[ModelConfig, Setting] = {}
        self._scorers: dict[float, Scorer] = {}
        self._rows = positions_of(validation.games.ids, data.games.ids)
        self._tables: dict[ItemItemKind, ItemItemWeights] = {}
        self._largest: dict[tuple[ItemItemKind, int], ItemItemWeights] = {}
        self._parts: dict[Any, Float32Array] = {}
        self._fitted_sequence: SequentialFit | None = None

    def fit(self, scale: float, trainer: Trainer, steps: int) -> None:
        """Fit the towers with one scale, and measure them with every popularity weight."""
        config = replace(self._config, scale=scale)
        sample = self._validation.sample(CHECK_USERS)

        def check(towers: Towers) -> float:
            self._deadline.check()
            ((ndcg, _),) = sample.measure(self._tower_scorer(towers, config), (1.0,))
            return float(ndcg.mean())

        with self._deadline.measure("towers", times=self._data.steps(config) / steps):
            fitted = trainer.fit(f"scale-{scale:g}", self._data, config, steps, check=check)
        self._scorers[scale] = self._tower_scorer(fitted.towers, config)
        best = max(self.measure(config, POPULARITY_WEIGHTS), key=lambda setting: setting.mean)
        self.trials.append(Trial(scale, fitted.losses, fitted.checks, best.mean))
        progress("train", f"scale {scale:g}: loss {fitted.losses[-1]:.4f}, {best}")

    def _tower_scorer(self, towers: Towers, config: ModelConfig) -> Scorer:
        """Return a scorer of the catalogue by the towers alone."""
        none = ItemItemWeights.empty(len(self._data.games))
        model = assemble_model(self._data, towers, none, config)
        return model.for_catalogue(self._validation.games, self._validation.popularity)

    def measure(self, config: ModelConfig, weights: Sequence[float]) -> list[Setting]:
        """Measure a configuration with several popularity weights; any of these settings may be chosen."""
        found = self._measured(config, weights)
        self._keep(found)
        return found

    def _keep(self, settings: Iterable[Setting]) -> None:
        self.settings |= {setting.config: setting for setting in settings}

    def _measured(self, config: ModelConfig, weights: Sequence[float]) -> list[Setting]:
        """Measure what has not been measured before."""
        configs = [replace(config, popularity_weight=weight) for weight in weights]
        new = [each for each in configs if each not in self._known]
        if not new:
            return [self._known[each] for each in configs]
        scorer, parts = self._all_towers(config), self._parts_of(config)
        with self._deadline.measure("choice"):
            measured = list(self._validation.measure(scorer, [each.popularity_weight for each in new], parts))
        self._known |= {each: Setting(each, ndcg, overlap) for each, (ndcg, overlap) in zip(new, measured, strict=True)}
        return [self._known[each] for each in configs]

    def scorer(self, config: ModelConfig) -> Scorer:
        """Return the scorer of a configuration, whose scale has been fitted."""
        tables = [self._table(kind, per_game).scaled(factor) for kind, factor, per_game in together(config)]
        item_item = summed(tables, len(self._validation.games))
        return replace(self._all_towers(config), item_item=item_item, next_games=self._next_games(config))

    def _all_towers(self, config: ModelConfig) -> Scorer:
        """Return the scorer of a configuration without its item-item weights."""
        scorer = replace(
            self._scorers[config.scale],
            history_weights=config.history_weights,
            popularity_weight=config.popularity_weight,
        )
        if not config.sequence.weight:
            return scorer
        return replace(scorer, sequence=self._sequence, sequence_scale=config.sequence.weight * config.sequence.scale)

    @cached_property
    def _sequence(self) -> SequentialTower:
        """The fitted sequential tower, with the catalogue's games."""
        assert self._fitted_sequence
        return self._fitted_sequence.tower.reindex(self._rows)

    def _next_games(self, config: ModelConfig) -> NextGames | None:
        """Return the weights of next games of a configuration between catalogue positions; None if it has none."""
        if not config.next_weight:
            return None
        table = self._table(next_kind(config), config.next_per_game)
        return NextGames(table.scaled(config.next_weight), config.next_recency)

    def _table(self, kind: ItemItemKind, per_game: int) -> ItemItemWeights:
        """Return the largest weights of a kind between catalogue positions; a regression is fitted once."""
        if (kind, per_game) not in self._largest:
            if isinstance(kind, Neighbours):  # quick, and its numbers are per recommended game
                found = self._fit_table(kind, per_game)
            else:
                if kind not in self._tables:
                    self._tables[kind] = self._fit_table(kind, MOST_PER_GAME)
                found = self._tables[kind].largest(per_game)
            while len(self._largest) >= KEPT_TABLES:
                del self._largest[next(iter(self._largest))]
            self._largest[kind, per_game] = found.reindex(self._rows)
        return self._largest[kind, per_game]

    def _fit_table(self, kind: ItemItemKind, per_game: int) -> ItemItemWeights:
        with self._deadline.measure(type(kind).__name__):
            return kind.fit(self._item_item_data, per_game)

    @cached_property
    def _item_item_data(self) -> ItemItemData:
        return item_item_data(self._data)

    def _parts_of(self, config: ModelConfig) -> list[Part]:
        """Return the parts of the taste of a configuration: all towers and kinds of item-item weights."""
        weights = config.history_weights
        parts = [(1.0, self._towers_part(config))]
        parts += [(factor, self._part((kind, per_game, weights))) for kind, factor, per_game in together(config)]
        if config.next_weight:
            parts.append((config.next_weight, self._part((next_kind(config), config.next_per_game, weights.disliked))))
        if config.sequence.weight:
            parts.append((config.sequence.weight * config.sequence.scale, self._part("sequence")))
        return parts

    def _towers_part(self, config: ModelConfig) -> Float32Array:
        return self._part((config.scale, config.history_weights))

    def _part(self, key: Any) -> Float32Array:
        """Compute one part of the scores of all validation users, or return what was computed before."""
        if key in self._parts:
            self._parts[key] = self._parts.pop(key)  # so that it is the newest
            return self._parts[key]
        history, n_games = self._validation.held_out.history, len(self._validation.games)
        match key:
            case "sequence":
                found = cosines(self._sequence, history)
            case float(scale), weights:
                found = replace(self._scorers[scale], history_weights=weights).taste(history)
            case Transitions() as kind, per_game, disliked:
                table = self._table(kind, per_game)
                counted = NextGames(table, kind.recency).weigh(history, disliked)
                found = table_scores(table, history, counted, n_games)
            case kind, per_game, weights:
                found = table_scores(self._table(kind, per_game), history, weights.weigh(history), n_games)
        while self._parts and sum(part.nbytes for part in self._parts.values()) + found.nbytes > PART_BYTES:
            del self._parts[next(iter(self._parts))]
        self._parts[key] = found
        return found

    def fit_sequence(self, trainer: Trainer, present: Setting) -> None:
        """Fit the sequential tower until the ranking by a setting with it no longer improves."""
        sample, config = self._validation.sample(CHECK_USERS), present.config
        scorer, history = self.scorer(config), sample.held_out.history
        without = scorer.taste(history)

        def check(tower: SequentialTower) -> float:
            self._deadline.check()
            parts = [
                (1.0, without),
                (CHECKED_SEQUENCE_WEIGHT * config.sequence.scale, cosines(tower.reindex(self._rows), history)),
            ]
            ((ndcg, _),) = sample.measure(scorer, (config.popularity_weight,), parts)
            return float(ndcg.mean())

        with self._deadline.measure("sequence"):
            self._fitted_sequence = fit_sequential_tower(self._data, self._config, trainer, "sequence", check)

    def improve_sequence(self, find: Callable[[], Setting]) -> None:
        """Try other weights of the sequential tower for a setting.

        A setting gets the tower only if that is clearly better with `LEAST_SEQUENCE_WEIGHT` by `SEQUENCE_METRIC`. If
        the order of the reviews means nothing, the tower adds nothing. The candidates of this test are the towers of
        all checks of the fit, since the validation data chose among them. The other weights take no part: they rank
        much alike.
        """
        if not self._fitted_sequence:
            return
        present, found = find(), []
        for weight in SEQUENCE_WEIGHTS:
            share = self._fitted_sequence.share if weight else self._config.sequence.share
            sequence = replace(self._config.sequence, weight=weight, share=share)
            found += self._measured(replace(present.config, sequence=sequence), (present.config.popularity_weight,))
        least = found[SEQUENCE_WEIGHTS.index(LEAST_SEQUENCE_WEIGHT)]
        if present.config.sequence.weight or is_clear(self._gains(least, present, SEQUENCE_METRIC), CHECKS):
            self._keep(found)
            self.measure(most_accurate(found).config, _near(present.config.popularity_weight))
        progress("train", f"sequence: {find()}")

    def _gains(self, one: Setting, other: Setting, metric: NDCG) -> Float64Array:
        """Measure what each user gains by one setting over another, float64 [n_users]."""
        with_one, with_other = (
            self._validation.figures(self._all_towers(config), config.popularity_weight, self._parts_of(config), metric)
            for config in (one.config, other.config)
        )
        return with_one - with_other

    def improve_history_weights(self, find: Callable[[], Setting]) -> None:
        """Try other weights of the games of histories for a setting, one kind after the other.

        A kind is used only if its best value is clearly better than the present one. Otherwise chance would choose on
        sparse reviews, and forget most of what long histories say about a taste.
        """
        history = self._validation.held_out.history
        tried: dict[str, Sequence[float]] = {"recency": RECENCIES}
        if np.isfinite(history.hours).any():
            tried["hours"] = HOURS
        if not history.recommended.all():
            tried["disliked"] = DISLIKED
        for name, values in tried.items():
            present = find()
            config, found = present.config, []
            for value in values:
                weights: HistoryWeights = replace(config.history_weights, **{name: value})
                if weights != config.history_weights:
                    found += self._measured(replace(config, history_weights=weights), (config.popularity_weight,))
            best = max(found, key=lambda setting: setting.mean)
            if is_clearly_better(best, present, len(found)):
                self._keep(found)
                self.measure(best.config, _near(config.popularity_weight))
            progress("train", f"{name}: {find()}")

    def improve_item_item(self, find: Callable[[], Setting]) -> None:
        """Try other item-item weights of each kind for a setting: with growing factors, then numbers per game.

        Weights of next games, and those by item-kNN, are used only if those of the first kind make the setting clearly
        better with `CHECKED_SPREAD`. The former add nothing if the order of the reviews means nothing, the latter
        little to a regression. Weights of next games come first, since the other kinds explain a part of the same
        reviews.
        """
        kinds_of_next = [
            {"next_recency": recency, "next_regularisation": regularisation} for recency, regularisation in NEXT_KINDS
        ]
        if self._helps(find(), "next_weight", kinds_of_next[0]):
            self._try_kinds(find, "next_weight", kinds_of_next)
        self._try_numbers(find, "next_weight", "next_per_game", NEXT_PER_GAME)
        kinds = REGRESSIONS if len(self._data.games) <= EASE_MAX_GAMES else LARGE_REGRESSIONS
        regressions = [{"regression_dropout": dropout, "regression_regularisation": size} for dropout, size in kinds]
        self._try_kinds(find, "regression_weight", regressions)
        self._try_numbers(find, "regression_weight", "regression_per_game", REGRESSION_PER_GAME)
        if len(self._data.games) <= EASE_MAX_GAMES:
            self._refine_regularisation(find)
        neighbours = [{"neighbour_exponent": exponent} for exponent in NEIGHBOUR_EXPONENTS]
        if self._helps(find(), "neighbour_weight", neighbours[0]):
            self._try_kinds(find, "neighbour_weight", neighbours)
        self._try_numbers(find, "neighbour_weight", "neighbours_per_game", NEIGHBOURS_PER_GAME)
        for factor in FACTORS:
            config = find().config
            for share in FINE_SHARES:
                value = float(f"{share * getattr(config, factor):.3g}")
                self.measure(_with(config, {factor: value}), _near(config.popularity_weight))
        progress("train", f"item-item weights: {find()}")

    def _helps(self, present: Setting, factor: str, kind: Mapping[str, Any]) -> bool:
        """Return whether a setting has item-item weights of a kind, or is clearly better with them.

        Args:
            present: The setting.
            factor: Name of the factor's field.
            kind: Values of other fields.
        """
        if getattr(present.config, factor):
            return True
        config = _with(present.config, kind)
        value = float(f"{CHECKED_SPREAD * self._unit(config, factor):.3g}")
        (checked,) = self._measured(_with(config, {factor: value}), (config.popularity_weight,))
        return is_clearly_better(checked, present, 1)

    def _refine_regularisation(self, find: Callable[[], Setting]) -> None:
        """Halve the λ of a setting's regression, or else double it, as long as that makes the setting better."""
        for step in (0.5, 2.0):
            start = find().config
            while (config := find().config).regression_weight:
                value = step * config.regression_regularisation
                if not LEAST_REGULARISATION <= value <= MOST_REGULARISATION:
                    break
                self._try_kinds(find, "regression_weight", [{"regression_regularisation": value}])
                if find().config.regression_regularisation != value:
                    break
            if find().config.regression_regularisation != start.regression_regularisation:
                return

    def _try_kinds(self, find: Callable[[], Setting], factor: str, kinds: Sequence[Mapping[str, Any]]) -> None:
        """Try settings of one kind of item-item weights, each with growing factors.

        Args:
            find: Finds the setting to improve.
            factor: Name of the factor's field.
            kinds: Values of other fields.
        """
        start = find().config
        for fields in kinds:
            config, figure = _with(start, fields), 0.0
            unit = self._unit(config, factor)
            for spread in SPREADS:
                value = float(f"{spread * unit:.3g}")
                found = self.measure(_with(config, {factor: value}), _near(start.popularity_weight))
                if (best := most_accurate(found).mean) < figure:
                    break
                figure = best

    def _try_numbers(self, find: Callable[[], Setting], factor: str, field: str, numbers: Sequence[int]) -> None:
        """Try other numbers of weights per game of a kind, if a setting has it; one must be clearly better."""
        present = find()
        others = [number for number in numbers if number != getattr(present.config, field)]
        if getattr(present.config, factor):
            for number in others:
                found = self._measured(_with(present.config, {field: number}), _near(present.config.popularity_weight))
                if is_clearly_better(most_accurate(found), present, len(others)):
                    self._keep(found)

    def _unit(self, config: ModelConfig, factor: str) -> float:
        """Return the factor with which a kind's scores of a user differ as much from game to game as the towers'."""
        alone = {**dict.fromkeys(FACTORS, 0.0), factor: 1.0, "sequence": self._config.sequence}
        _, (_, part) = self._parts_of(_with(config, alone))
        towers, added = (
            float(scores[:: max(1, len(scores) // SPREAD_USERS)].std(axis=1).mean())
            for scores in (self._towers_part(config), part)
        )
        return towers / added if added else 1.0

    def try_all_scales(self, config: ModelConfig) -> None:
        """Try every scale, every popularity weight and other factors of the item-item weights of a configuration."""
        for scale in self._scorers:
            ratio = scale / config.scale
            for share in {0.0, 0.5, 1.0, 2.0, ratio, 2 * ratio}:
                factors = {name: share * getattr(config, name) for name in FACTORS}
                self.measure(_with(config, {"scale": scale, **factors}), POPULARITY_WEIGHTS)


def assemble_model(
    data: TrainingData,
    towers: Towers,
    item_item: ItemItemWeights,
    config: ModelConfig,
    version: str = "",
    next_games: NextGames | None = None,
    sequence: SequentialTower | None = None,
) -> TwoTowerArrays:
    """Combine towers and item-item weights into a model that needs no TensorFlow."""
    return TwoTowerArrays(
        version=version,
        game_ids=data.games.ids,
        attribute_names=data.attribute_names,
        towers=towers,
        item_item=item_item,
        decay_weights=data.decay_weights,
        popularity_weight=config.popularity_weight,
        interests_weight=config.interests_weight,
        scale=config.scale,
        popularity_smoothing=config.popularity_smoothing,
        history_weights=config.history_weights,
        next_games=next_games,
        sequence=sequence,
        sequence_scale=config.sequence.weight * config.sequence.scale if sequence else 0.0,
    )


def fit_sequential_tower(
    data: TrainingData,
    config: ModelConfig,
    trainer: Trainer,
    name: str,
    check: Callable[[SequentialTower], float] | None = None,
) -> SequentialFit | None:
    """Fit the sequential tower to all histories of the training data; for the rest, see `fit_sequential`."""
    examples = data.examples.read()
    return fit_sequential(
        examples.histories,
        len(data.games),
        config.sequence,
        trainer.seed,
        periods=examples.periods,
        popularity_priors=data.popularity_priors,
        check=check,
        checkpoints=trainer.checkpoints,
        name=name,
    )


def fit_item_item(data: TrainingData, config: ModelConfig) -> tuple[ItemItemWeights, NextGames | None]:
    """Fit the item-item weights of a configuration: of games liked together, and of next games if it has any."""
    kinds, n_games = together(config), len(data.games)
    if not kinds and not config.next_weight:
        return ItemItemWeights.empty(n_games), None
    learned = item_item_data(data)
    item_item = summed([kind.fit(learned, per).scaled(factor) for kind, factor, per in kinds], n_games)
    if not config.next_weight:
        return item_item, None
    following = next_kind(config).fit(learned, config.next_per_game).scaled(config.next_weight)
    return item_item, NextGames(following, config.next_recency)


def item_item_data(data: TrainingData) -> ItemItemData:
    """Return what item-item weights are learned from: the games that users recommend."""
    return ItemItemData(data.histories.recommended_only(), len(data.games))


def together(config: ModelConfig) -> list[tuple[ItemItemKind, float, int]]:
    """List the kinds of weights of games liked together, each with its factor and its number of weights per game."""
    kinds: list[tuple[ItemItemKind, float, int]] = [
        (
            Regression(config.regression_dropout, config.regression_regularisation),
            config.regression_weight,
            config.regression_per_game,
        ),
        (Neighbours(config.neighbour_exponent), config.neighbour_weight, config.neighbours_per_game),
    ]
    return [(kind, factor, per_game) for kind, factor, per_game in kinds if factor]


def next_kind(config: ModelConfig) -> Transitions:
    """Return the kind of the weights of next games."""
    return Transitions(config.next_recency, config.next_regularisation)


def table_scores(table: ItemItemWeights, history: Histories, weights: Float32Array, n_games: int) -> Float32Array:
    """Compute what a table adds to the scores, float32 [B, N], if each of n games counts by its weight, float32 [n]."""
    users = csr_matrix((weights, history.games, history.offsets), shape=(len(history), n_games))
    rows = csr_matrix((table.weights, table.games, table.offsets), shape=(n_games, n_games))
    scores: Float32Array = (users @ rows).toarray()
    return scores


def cosines(tower: SequentialTower, history: Histories) -> Float32Array:
    """Compute the cosine of each user and each game in a sequential tower, float32 [B, N]."""
    found: Float32Array = tower.queries(history) @ tower.candidates.T
    return found


def _with(config: ModelConfig, fields: Mapping[str, Any]) -> ModelConfig:
    """Return the configuration with other values of some fields, by name."""
    return replace(config, **fields)


def _near(weight: float) -> tuple[float, ...]:
    """Return a popularity weight and its neighbours among those to choose from."""
    index = POPULARITY_WEIGHTS.index(weight)
    return POPULARITY_WEIGHTS[max(0, index - 1) : index + 2]
