"""The parts of a configuration."""

from components.train.assembly import fit_item_item
from components.train.two_tower_model import ModelConfig
from tests.components.train.checkerboard import training_data

CONFIG = ModelConfig(dimensions=8)


def test_without_factors_a_model_has_no_item_item_weights() -> None:
    item_item, next_games = fit_item_item(training_data(CONFIG), CONFIG)
    assert not len(item_item.games)
    assert next_games is None
