"""Tuning of the scale, the item-item weights and the history weights on validation data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

from components.train.trainer import Trainer
from components.train.training_data import TrainingData
from components.train.two_tower_model import ModelConfig
from steam_recsys.arrays import Float32Array, Float64Array
from steam_recsys.evaluation.baselines import EASE_MAX_GAMES, EASE_REGULARISATIONS, cooccurrences, ease
from steam_recsys.evaluation.intervals import standard_error
from steam_recsys.logging import progress
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.two_tower import Towers, TwoTowerArrays

Quality = Callable[[TwoTowerArrays], Float64Array]
"""Measures NDCG@10 of each validation user, float64 [n_users]."""

ITEM_ITEM_FACTORS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
RECENCIES = (0.25, 0.5, 1.0, 2.0)
HOURS = (0.1, 0.2, 0.4)
DISLIKED = (0.5, 0.0, -0.5)
MAX_SCALE = 32.0
"""Far below the scale at which exp(1.5 * scale) overflows float32, and above what any data set has chosen."""

CONFIDENCE = 0.95
"""Confidence level at which one candidate counts as clearly better than another."""


@dataclass(frozen=True)
class Trial:
    """One fit of the search for the scale.

    Attributes:
        scale: The scale.
        losses: The learning curve.
        ndcg_at_10: Mean NDCG@10 on the validation data.
    """

    scale: float
    losses: tuple[float, ...]
    ndcg_at_10: float


@dataclass(frozen=True)
class TuningResult:
    """The outcome of tuning.

    Attributes:
        config: The best configuration.
        ndcg_at_10: Its mean NDCG@10 on the validation data.
        trials: The fits of the search for the scale.
    """

    config: ModelConfig
    ndcg_at_10: float
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class _Candidate:
    """A configuration with its model and the NDCG@10 of each validation user, float64 [n_users]."""

    config: ModelConfig
    model: TwoTowerArrays
    ndcg: Float64Array

    @property
    def mean(self) -> float:
        return float(self.ndcg.mean())

    def clearly_better_than(self, other: _Candidate, n_candidates: int) -> bool:
        """Whether the confidence interval of the gain is above zero.

        The best of many is often better by chance, most of all on sparse reviews: two of a period's most popular games
        are nearly level, and whatever swaps them changes everybody's metric. So the interval is widened for the best of
        `n_candidates` (Bonferroni's correction: Dunn 1961, "Multiple Comparisons Among Means").
        """
        errors = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2 / n_candidates)
        enough = len(self.ndcg) > 1  # a single user gives no interval
        return enough and self.mean - other.mean > errors * standard_error(self.ndcg - other.ndcg)


def tune(data: TrainingData, quality: Quality, config: ModelConfig, trainer: Trainer) -> TuningResult:
    """Choose the scale, the item-item weights and the history weights by the metric that the gate uses.

    The scale controls capacity: dense data need much of it, sparse data little. It is doubled as long as the ranking
    improves; then 1.5 times the best is tried, unless the smallest scale was best. With capacity bounded like this the
    number of steps needs no tuning: more of them change little once the learning rate is low.

    The scale that ranks best is chosen if histories help at all. If the smallest scale is not clearly better than
    popularity alone, a larger one must be clearly better than the smallest. Item-item and history weights must always
    be clearly better than none.

    Args:
        data: Training data of the validation split.
        quality: Measures a model on the validation data.
        config: Hyperparameters to start from.
        trainer: Makes the fits.

    Raises:
        UserError: The loss is not finite.
    """
    # 1. Double the scale while that helps.
    trials: list[Trial] = []
    steps = min(data.steps(config), config.trial_steps)

    def try_scale(scale: float) -> _Candidate:
        at_scale = replace(config, scale=scale)
        fit = trainer.fit(f"scale-{scale:g}", data, at_scale, steps)
        model = assemble_model(data, fit.towers, ItemItemWeights.empty(len(data.games)), at_scale)
        candidate = _Candidate(at_scale, model, quality(model))
        trials.append(Trial(scale, fit.losses, candidate.mean))
        progress("train", f"scale {scale:g}: loss {fit.losses[-1]:.4f}, validation NDCG@10 {candidate.mean:.4f}")
        return candidate

    scales = [try_scale(config.scale)]
    while scales[-1].config.scale < MAX_SCALE and (len(scales) == 1 or scales[-1].mean > scales[-2].mean):
        scales.append(try_scale(2 * scales[-1].config.scale))
    if (highest := max(scales, key=lambda candidate: candidate.mean)).config.scale > config.scale:
        scales.append(try_scale(1.5 * highest.config.scale))
        highest = max(scales, key=lambda candidate: candidate.mean)

    # 2. Choose one.
    best = highest if _histories_help(scales[0], quality) else _better_of(scales[0], scales[1:], "scale")
    progress("train", f"chose scale {best.config.scale:g}")

    # 3. Add item-item weights and history weights if they clearly help.
    best = _better_of(best, _with_item_item(best, data, quality), "item-item weights")
    for name, values in (("recency", RECENCIES), ("hours", HOURS), ("disliked", DISLIKED)):
        best = _better_of(best, _with_history_weights(best, name, values, quality), name)
    return TuningResult(best.config, best.mean, tuple(trials))


def assemble_model(
    data: TrainingData, towers: Towers, item_item: ItemItemWeights, config: ModelConfig, version: str = ""
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
    )


def fit_item_item(data: TrainingData, config: ModelConfig) -> ItemItemWeights:
    """Fit item-item weights: EASE's largest weights; none if they are switched off or there are too many games."""
    n_games = len(data.games)
    if n_games > EASE_MAX_GAMES or not config.link_weight:
        return ItemItemWeights.empty(n_games)
    weights = ease(_cooccurrences(data), config.link_regularisation)
    return ItemItemWeights.from_matrix(weights, config.links_per_game).scaled(config.link_weight)


def _histories_help(smallest: _Candidate, quality: Quality) -> bool:
    """Whether the model with the smallest scale is clearly better than its popularity alone."""
    popularity = replace(smallest.model, scale=0.0)
    alone = _Candidate(replace(smallest.config, scale=0.0), popularity, quality(popularity))
    clear = smallest.clearly_better_than(alone, 1)
    what = "histories clearly help" if clear else "histories do not clearly help"
    progress("train", f"popularity alone: validation NDCG@10 {alone.mean:.4f}, {what}")
    return clear


def _better_of(current: _Candidate, candidates: Iterable[_Candidate], what: str) -> _Candidate:
    """Return the best of the candidates if it is clearly better than the current one, otherwise the current one."""
    everything = [current, *candidates]
    best = max(everything, key=lambda candidate: candidate.mean)
    if best is current:
        progress("train", f"{what}: no gain over NDCG@10 {current.mean:.4f}")
        return current
    chosen = best.clearly_better_than(current, len(everything) - 1)
    verdict = "chosen" if chosen else "not chosen, the gain may be chance"
    progress("train", f"{what}: NDCG@10 {best.mean:.4f} instead of {current.mean:.4f}, {verdict}")
    return best if chosen else current


def _with_item_item(current: _Candidate, data: TrainingData, quality: Quality) -> Iterator[_Candidate]:
    if len(data.games) > EASE_MAX_GAMES:
        return
    counts = _cooccurrences(data)
    for regularisation in EASE_REGULARISATIONS:
        item_item = ItemItemWeights.from_matrix(ease(counts, regularisation), current.config.links_per_game)
        for factor in ITEM_ITEM_FACTORS:
            config = replace(current.config, link_weight=factor, link_regularisation=regularisation)
            model = replace(current.model, item_item=item_item.scaled(factor))
            yield _Candidate(config, model, quality(model))


def _with_history_weights(
    current: _Candidate, name: str, values: tuple[float, ...], quality: Quality
) -> Iterator[_Candidate]:
    for value in values:
        weights: HistoryWeights = replace(current.config.history_weights, **{name: value})
        model = replace(current.model, history_weights=weights)
        yield _Candidate(replace(current.config, history_weights=weights), model, quality(model))


def _cooccurrences(data: TrainingData) -> Float32Array:
    return cooccurrences(data.histories.recommended_only(), len(data.games))
