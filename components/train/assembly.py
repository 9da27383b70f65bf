"""What a configuration consists of: its kinds of item-item weights, its sequential tower, and the whole model."""

from __future__ import annotations

from collections.abc import Callable

from components.train.sequential_trainer import SequentialFit, fit_sequential
from components.train.trainer import Trainer
from components.train.training_data import TrainingData
from components.train.two_tower_model import ModelConfig
from steam_recsys.model.item_item import ItemItemWeights, NextGames
from steam_recsys.model.item_item_fits import ItemItemData, ItemItemKind, ItemKNN, Regression, Transitions, summed
from steam_recsys.model.sequential import SequentialTower
from steam_recsys.model.two_tower import Towers, TwoTowerArrays


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
        top_weight=config.top_weight,
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
        (ItemKNN(config.neighbour_exponent), config.neighbour_weight, config.neighbours_per_game),
    ]
    return [(kind, factor, per_game) for kind, factor, per_game in kinds if factor]


def next_kind(config: ModelConfig) -> Transitions:
    """Return the kind of the weights of next games."""
    return Transitions(config.next_recency, config.next_regularisation)
