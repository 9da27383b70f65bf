"""Tuning on validation data: the most personal setting that accuracy cannot tell from the best.

Everything that is served is chosen together: the scale of the cosine, the item-item weights, the weights of a history's
games, the weight of the sequential tower, and how much popularity counts. The next review is mostly of what is popular
now, so NDCG@10 alone would choose the least personal of settings that are level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from components.train.assembly import assemble_model, fit_sequential_tower, item_item_data, next_kind, together
from components.train.choice import Setting, is_clear, is_clearly_better, most_accurate, most_personal
from components.train.deadline import Deadline
from components.train.sequential_trainer import CHECKS, SequentialFit
from components.train.trainer import Trainer
from components.train.training_data import TrainingData
from components.train.two_tower_model import ModelConfig
from components.train.validation_data import POPULARITY_WEIGHTS, Part, Validation, cosines, table_scores
from steam_recsys.arrays import Float32Array, Float64Array
from steam_recsys.data.histories import positions_of
from steam_recsys.evaluation.metrics import NDCG
from steam_recsys.logging import log, progress
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights, NextGames
from steam_recsys.model.item_item_fits import (
    EASE_MAX_GAMES,
    ItemItemData,
    ItemItemKind,
    ItemKNN,
    Transitions,
    summed,
)
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.sequential import SequentialTower
from steam_recsys.model.two_tower import Towers, with_top_weight

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

TOP_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0)
"""How much more popularity may count above that of the tenth most popular game."""

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
"""About how many validation users' scores are used to measure spreads: less than twice as many."""

KEPT_TABLES = 8
"""Largest number of tables between catalogue positions that are kept for the next settings. Regressions and weights of
next games are kept as they were fitted, weights by item-kNN only here."""

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
out, NDCG@10 of most users is 0, whatever the tower adds; on public data, the longer list shows more reliably whether
order matters."""

MAX_SCALE = 32.0
"""Far below the scale at which exp(1.5 * scale) overflows float32, and above what any data set has chosen."""

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
            # 4. Try all scales and popularity weights with it, then the top weights.
            search.try_all_scales(find().config)
            search.try_top_weights(find().config)
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
            ((ndcg, *_),) = sample.measure(self._tower_scorer(towers, config), (1.0,))
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
        model = assemble_model(self._data, towers, none, replace(config, top_weight=0.0))
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
        with self._deadline.measure("choice", times=0.0):  # the final fit makes no choice
            measured = list(self._validation.measure(scorer, [each.popularity_weight for each in new], parts))
        self._known |= {each: Setting(each, *figures) for each, figures in zip(new, measured, strict=True)}
        return [self._known[each] for each in configs]

    def scorer(self, config: ModelConfig) -> Scorer:
        """Return the scorer of a configuration, whose scale has been fitted."""
        tables = [self._table(kind, per_game).scaled(factor) for kind, factor, per_game in together(config)]
        item_item = summed(tables, len(self._validation.games))
        return replace(self._all_towers(config), item_item=item_item, next_games=self._next_games(config))

    def _all_towers(self, config: ModelConfig) -> Scorer:
        """Return the scorer of a configuration without its item-item weights."""
        scorer = self._scorers[config.scale]
        scorer = replace(
            scorer,
            history_weights=config.history_weights,
            popularity_weight=config.popularity_weight,
            popularity_prior=with_top_weight(scorer.popularity_prior, config.top_weight),
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
        """Return the largest weights of a kind between catalogue positions; only item-kNN is fitted again."""
        if (kind, per_game) not in self._largest:
            if isinstance(kind, ItemKNN):  # quick, and its numbers are per recommended game
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
            ((ndcg, *_),) = sample.measure(scorer, (config.popularity_weight,), parts)
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
        """Try other numbers of weights per game of a kind, if a setting has it; one must be clearly better.

        It must be with the same weight of popularity: a setting may be personal at the cost of accuracy, and another
        weight would be better than it with any number.
        """
        present = find()
        weight = present.config.popularity_weight
        others = [number for number in numbers if number != getattr(present.config, field)]
        if getattr(present.config, factor):
            for number in others:
                (found,) = self._measured(_with(present.config, {field: number}), (weight,))
                if is_clearly_better(found, present, len(others)):
                    self.measure(found.config, _near(weight))

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

    def try_top_weights(self, config: ModelConfig) -> None:
        """Try all top weights, each with every popularity weight up to 1, which is that of the fits."""
        weights = [weight for weight in POPULARITY_WEIGHTS if weight <= 1]
        for top_weight in TOP_WEIGHTS:
            self.measure(replace(config, top_weight=top_weight), weights)


def _with(config: ModelConfig, fields: Mapping[str, Any]) -> ModelConfig:
    """Return the configuration with other values of some fields, by name."""
    return replace(config, **fields)


def _near(weight: float) -> tuple[float, ...]:
    """Return a popularity weight and its neighbours among those to choose from."""
    index = POPULARITY_WEIGHTS.index(weight)
    return POPULARITY_WEIGHTS[max(0, index - 1) : index + 2]
