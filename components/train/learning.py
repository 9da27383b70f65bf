"""Learning from interactions: choices on held-out rows, then a fit on everything that may be known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.train.model import Config
from components.train.trainer import Trainer
from components.train.training_data import TrainingData
from components.train.tuning import Choice, choose, links_of, recommender
from components.train.warm_start import warm_towers
from steam_recsys.arrays import Float64Array
from steam_recsys.data.games import Games
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import popularity_as_of
from steam_recsys.evaluation.holdout import HeldOut, hold_out
from steam_recsys.evaluation.metrics import HEADLINE_METRIC, measure
from steam_recsys.evaluation.rankers import ModelRanker
from steam_recsys.evaluation.splits import Split
from steam_recsys.logging import log
from steam_recsys.model.two_tower import TwoTowerArrays


@dataclass(frozen=True)
class Learned:
    """A model, what it was made from, and the steps and the learning curve of its last fit."""

    recommender: TwoTowerArrays
    corpus: TrainingData
    config: Config
    steps: int
    losses: tuple[float, ...]


def learn(
    past: Interactions,
    validation: Split,
    games: Games,
    config: Config,
    trainer: Trainer,
    version: str,
    champion: TwoTowerArrays | None = None,
) -> tuple[Learned, Choice]:
    """Choose on the validation rows, then train afresh, with the same seed, on the whole past.

    Args:
        past: everything that may be known.
        validation: the same, split as the model will be asked.
        games: the catalogue, in the order of ids.
        config: of the model; what is chosen goes over it.
        trainer: makes the fits.
        version: of the model.
        champion: to start the last fit from; it may know no more than the past. The fits before it start from nothing,
            as it knows the validation rows.

    Raises:
        UserError: the loss is not finite.
    """
    held_out = _some_of(hold_out(validation.past, validation.future, games.ids), config.choice_users, trainer.seed)
    recent = popularity_as_of(validation.past, games.ids, validation.as_of)

    def quality(model: TwoTowerArrays) -> Float64Array:
        return measure(ModelRanker(model.for_catalogue(games, recent)), held_out, (HEADLINE_METRIC,))[
            HEADLINE_METRIC.name
        ]

    log("train", f"choosing on the new games of {len(held_out):,} users")
    choice = choose(
        TrainingData.from_interactions(validation.past, games, config, trainer.seed), quality, config, trainer
    )
    log("train", f"chosen: {_words(choice.config)}, NDCG@10 {choice.ndcg_at_10:.4f}")
    learned = fit_all(past, games, choice.config, trainer, "final", version, start=champion)
    return learned, choice


def fit_all(
    interactions: Interactions,
    games: Games,
    config: Config,
    trainer: Trainer,
    name: str,
    version: str,
    *,
    start: TwoTowerArrays | None = None,
    steps: int | None = None,
) -> Learned:
    """Fit towers and links to all of some interactions, under a configuration that was chosen.

    Args:
        interactions: to learn from.
        games: the catalogue, in the order of ids.
        config: with the choices in it.
        trainer: makes the fit.
        name: of the fit, for its checkpoints.
        version: of the model.
        start: the model whose weights are the first ones, where it has them.
        steps: how many; as many as the interactions ask for where left out.

    Raises:
        UserError: the loss is not finite.
    """
    corpus = TrainingData.from_interactions(interactions, games, config, trainer.seed)
    steps = steps or corpus.steps(config)
    first = warm_towers(corpus, config, start, trainer.seed) if start else None
    fitted = trainer.fit(name, corpus, config, steps, first)
    log("train", f"{name} fit: loss {fitted.losses[-1]:.4f} after {steps:,} steps")
    made = recommender(corpus, fitted.towers, links_of(corpus, config), config, version)
    return Learned(made, corpus, config, steps, fitted.losses)


def _some_of(held_out: HeldOut, most: int, seed: int) -> HeldOut:
    """As many users as decide a choice: ranking for millions would take longer than the fits."""
    if len(held_out) <= most:
        return held_out
    return held_out.take(np.sort(np.random.default_rng(seed).permutation(len(held_out))[:most]))


def _words(config: Config) -> str:
    weights = config.history_weights
    return (
        f"scale {config.scale:g}, links under λ = {config.link_regularisation:g} times {config.link_weight:g}, recency "
        f"{weights.recency:g}, hours {weights.hours:g}, disliked {weights.disliked:g}"
    )
