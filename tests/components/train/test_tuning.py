"""What is chosen, of rankings whose quality is given by their scale: links and weights change nothing."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from components.train.checkpoints import Checkpoints
from components.train.model import Config
from components.train.trainer import Trainer
from components.train.tuning import Choice, choose
from components.train.workers import Workers
from steam_recsys.model.two_tower import TwoTowerArrays
from tests.components.train.checkerboard import corpus

USERS = 400
CONFIG = Config(dimensions=8, scale=0.5, trial_steps=2)
LEAST, NEXT = 0.5, 1.0


@pytest.fixture(autouse=True)
def repeatable() -> None:
    tf.config.experimental.enable_op_determinism()


def chosen(store: str, means: dict[float, float]) -> Choice:
    """What comes of mean NDCG@10 by scale, 0 that of popularity alone; the users of each scale differ by chance."""

    def quality(model: TwoTowerArrays) -> np.ndarray:
        users = np.random.default_rng(int(8 * model.scale)).normal(0, 0.2, USERS)
        return users - users.mean() + means.get(model.scale, 0.1)

    trainer = Trainer(0, Workers(tf.distribute.get_strategy(), 0, 1), Checkpoints.for_version(store, "v1"))
    return choose(corpus(CONFIG), quality, CONFIG, trainer)


def test_where_popularity_ranks_as_well_capacity_is_taken_only_for_a_clear_gain(store: str) -> None:
    assert chosen(store, {0: 0.3, LEAST: 0.3, NEXT: 0.31}).config == CONFIG
    clear = chosen(store, {0: 0.3, LEAST: 0.3, NEXT: 0.4})
    assert clear.config == replace(CONFIG, scale=NEXT)
    assert clear.ndcg_at_10 == pytest.approx(0.4)


def test_where_histories_tell_more_than_popularity_what_ranks_best_is_taken(store: str) -> None:
    assert chosen(store, {0: 0.1, LEAST: 0.3, NEXT: 0.31}).config.scale == NEXT
    assert chosen(store, {0: 0.1, LEAST: 0.3, NEXT: 0.29}).config == CONFIG


def test_capacity_is_doubled_while_that_ranks_better_and_halved_once_on_the_way(store: str) -> None:
    found = chosen(store, {0: 0.1, 0.5: 0.2, 1.0: 0.3, 2.0: 0.4, 4.0: 0.35, 3.0: 0.38})
    assert [trial.scale for trial in found.trials] == [0.5, 1.0, 2.0, 4.0, 3.0]
    assert found.config.scale == 2.0
