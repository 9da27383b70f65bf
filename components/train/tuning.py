"""The choice of capacity, links and history weights, by what they bring on validation rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

from components.train.model import Config
from components.train.trainer import Trainer
from components.train.training_data import TrainingData
from steam_recsys.arrays import Float32Array, Float64Array
from steam_recsys.evaluation.ease import MAX_GAMES, REGULARISATIONS, cooccurrences, ease
from steam_recsys.evaluation.intervals import standard_error
from steam_recsys.logging import progress
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.two_tower import Towers, TwoTowerArrays

Quality = Callable[[TwoTowerArrays], Float64Array]
"""NDCG@10 of each of the validation users."""

LINK_WEIGHTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
RECENCIES = (0.25, 0.5, 1.0, 2.0)
HOURS = (0.1, 0.2, 0.4)
DISLIKED = (0.5, 0.0, -0.5)
LARGEST_SCALE = 32.0
"""Far from where exp(1.5 * scale) no longer fits a float32, and above what any data set has chosen."""

CONFIDENCE = 0.95
"""That what counts as clearly better is so, and not by chance."""


@dataclass(frozen=True)
class Trial:
    """One fit of the search: its scale, its learning curve, and what the ranking came to."""

    scale: float
    losses: tuple[float, ...]
    ndcg_at_10: float


@dataclass(frozen=True)
class Choice:
    """The configuration that did best on the validation rows, what it came to, and the fits on the way to it."""

    config: Config
    ndcg_at_10: float
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class _Tried:
    config: Config
    recommender: TwoTowerArrays
    figures: Float64Array

    @property
    def mean(self) -> float:
        return float(self.figures.mean())

    def clearly_above(self, other: _Tried, tried: int) -> bool:
        """Whether the interval of the gain is above zero.

        The best of many is often so by chance, on sparse reviews above all: of a period's most popular games two are
        nearly level, and whatever turns them round moves the metric of everybody. So the interval is that of the best
        of `tried` candidates (Bonferroni's correction: Dunn 1961, "Multiple Comparisons Among Means").
        """
        errors = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2 / tried)
        enough = len(self.figures) > 1  # one user's gain has no interval
        return enough and self.mean - other.mean > errors * standard_error(self.figures - other.figures)


def choose(corpus: TrainingData, quality: Quality, config: Config, trainer: Trainer) -> Choice:
    """Choose the scale, the links and the history's weights by the metric that the gate decides on.

    Where histories tell nothing clear, as popularity alone ranks as well as the least capacity does, more than that is
    taken only where it is clearly better; elsewhere the capacity that ranks best is. Links and weights are taken only
    where they are clearly better.

    The scale is the capacity: on dense data much of it pays, on sparse data little. It is doubled for as long as that
    brings a better ranking; then one half-way to the next is tried, unless the least was best. With the capacity
    bounded so, the number of steps needs no choice: more of them change little once the rate has come down.

    Raises:
        UserError: the loss is not finite.
    """
    trials: list[Trial] = []
    steps = min(corpus.steps(config), config.trial_steps)

    def tried(scale: float) -> _Tried:
        at_scale = replace(config, scale=scale)
        fitted = trainer.fit(f"scale-{scale:g}", corpus, at_scale, steps)
        model = recommender(corpus, fitted.towers, ItemItemWeights.none(len(corpus.games)), at_scale)
        found = _Tried(at_scale, model, quality(model))
        trials.append(Trial(scale, fitted.losses, found.mean))
        progress("train", f"scale {scale:g}: loss {fitted.losses[-1]:.4f}, validation NDCG@10 {found.mean:.4f}")
        return found

    found = [tried(config.scale)]
    while found[-1].config.scale < LARGEST_SCALE and (len(found) == 1 or found[-1].mean > found[-2].mean):
        found.append(tried(2 * found[-1].config.scale))
    if (highest := max(found, key=lambda tried: tried.mean)).config.scale > config.scale:
        found.append(tried(1.5 * highest.config.scale))
        highest = max(found, key=lambda tried: tried.mean)
    best = highest if _is_personal(found[0], quality) else _refined(found[0], found[1:], "scale")
    progress("train", f"scale {best.config.scale:g} is taken")
    best = _refined(best, _with_links(best, corpus, quality), "links")
    for kind, values in (("recency", RECENCIES), ("hours", HOURS), ("disliked", DISLIKED)):
        best = _refined(best, _with_weights(best, kind, values, quality), kind)
    return Choice(best.config, best.mean, tuple(trials))


def _is_personal(least: _Tried, quality: Quality) -> bool:
    """Whether the model of the least capacity is clearly better than its popularity alone."""
    popularity = replace(least.recommender, scale=0.0)
    alone = _Tried(replace(least.config, scale=0.0), popularity, quality(popularity))
    personal = least.clearly_above(alone, 1)
    what = "histories tell more" if personal else "histories tell nothing clear"
    progress("train", f"popularity alone: validation NDCG@10 {alone.mean:.4f}, {what}")
    return personal


def _refined(best: _Tried, candidates: Iterable[_Tried], kind: str) -> _Tried:
    """The best of the candidates, if it is clearly better than what there is."""
    every = [best, *candidates]
    found = max(every, key=lambda tried: tried.mean)
    kept = found if found is not best and found.clearly_above(best, len(every) - 1) else best
    what = (
        "nothing"
        if found is best
        else f"{found.mean:.4f} at best, {'taken' if kept is found else 'left out, as it may be chance'}"
    )
    progress("train", f"{kind}: {what}, without {best.mean:.4f}")
    return kept


def _with_links(best: _Tried, corpus: TrainingData, quality: Quality) -> Iterator[_Tried]:
    if len(corpus.games) > MAX_GAMES:
        return
    counts = _cooccurrences(corpus)
    for regularisation in REGULARISATIONS:
        links = ItemItemWeights.strongest(ease(counts, regularisation), best.config.links_per_game)
        for weight in LINK_WEIGHTS:
            config = replace(best.config, link_weight=weight, link_regularisation=regularisation)
            model = replace(best.recommender, links=links.times(weight))
            yield _Tried(config, model, quality(model))


def _with_weights(best: _Tried, kind: str, values: tuple[float, ...], quality: Quality) -> Iterator[_Tried]:
    for value in values:
        weights: HistoryWeights = replace(best.config.history_weights, **{kind: value})
        model = replace(best.recommender, history_weights=weights)
        yield _Tried(replace(best.config, history_weights=weights), model, quality(model))


def recommender(
    corpus: TrainingData, towers: Towers, links: ItemItemWeights, config: Config, version: str = ""
) -> TwoTowerArrays:
    """Towers and links as they answer without TensorFlow."""
    weights = corpus.popularity_weights, config.scale, config.popularity_smoothing, config.history_weights
    return TwoTowerArrays(version, corpus.games.ids, corpus.attribute_names, towers, links, *weights)


def links_of(corpus: TrainingData, config: Config) -> ItemItemWeights:
    """The links between the games of a corpus: EASE's strongest weights; none where there are too many games for it."""
    n_games = len(corpus.games)
    if n_games > MAX_GAMES or not config.link_weight:
        return ItemItemWeights.none(n_games)
    weights = ease(_cooccurrences(corpus), config.link_regularisation)
    return ItemItemWeights.strongest(weights, config.links_per_game).times(config.link_weight)


def _cooccurrences(corpus: TrainingData) -> Float32Array:
    return cooccurrences(corpus.histories.recommended_only(), len(corpus.games))
