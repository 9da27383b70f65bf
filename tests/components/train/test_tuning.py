"""Tuning with a fake quality that depends only on the scale."""

from dataclasses import replace

import numpy as np
import pytest

from components.train.tensorflow_runtime import Workers, tf
from components.train.trainer import Checkpoints, Trainer
from components.train.tuning import TuningResult, _better_of, _Candidate, tune
from components.train.two_tower_model import ModelConfig
from steam_recsys.model.two_tower import TwoTowerArrays
from tests.components.train.checkerboard import training_data

USERS = 400
CONFIG = ModelConfig(dimensions=8, scale=0.5, trial_steps=2)
LEAST, NEXT = 0.5, 1.0


@pytest.fixture(autouse=True)
def repeatable() -> None:
    tf.config.experimental.enable_op_determinism()


def chosen(store: str, means: dict[float, float]) -> TuningResult:
    """Tune with a given mean NDCG@10 by scale (0 is popularity alone) and random differences between users."""

    def quality(model: TwoTowerArrays) -> np.ndarray:
        users = np.random.default_rng(int(8 * model.scale)).normal(0, 0.2, USERS)
        return users - users.mean() + means.get(model.scale, 0.1)

    trainer = Trainer(0, Workers(tf.distribute.get_strategy(), 0, 1), Checkpoints.for_version(store, "v1"))
    return tune(training_data(CONFIG), quality, CONFIG, trainer)


def test_larger_scale_needs_a_clear_gain_if_popularity_ranks_as_well(store: str) -> None:
    assert chosen(store, {0: 0.3, LEAST: 0.3, NEXT: 0.31}).config == CONFIG
    clear = chosen(store, {0: 0.3, LEAST: 0.3, NEXT: 0.4})
    assert clear.config == replace(CONFIG, scale=NEXT)
    assert clear.ndcg_at_10 == pytest.approx(0.4)


def test_best_scale_is_chosen_if_histories_help(store: str) -> None:
    assert chosen(store, {0: 0.1, LEAST: 0.3, NEXT: 0.31}).config.scale == NEXT
    assert chosen(store, {0: 0.1, LEAST: 0.3, NEXT: 0.29}).config == CONFIG


def test_scale_is_doubled_while_the_ranking_improves_then_one_intermediate_value_is_tried(store: str) -> None:
    found = chosen(store, {0: 0.1, 0.5: 0.2, 1.0: 0.3, 2.0: 0.4, 4.0: 0.35, 3.0: 0.38})
    assert [trial.scale for trial in found.trials] == [0.5, 1.0, 2.0, 4.0, 3.0]
    assert found.config.scale == 2.0


def candidate(figures: np.ndarray) -> _Candidate:
    return _Candidate(CONFIG, None, figures)


@pytest.mark.parametrize(
    ("gain", "others", "taken"), [(2.2, 0, True), (1.5, 0, False), (-2.2, 0, False), (2.2, 9, False), (3.0, 9, True)]
)
def test_candidate_is_chosen_only_if_the_interval_of_its_gain_is_above_zero(
    gain: float, others: int, taken: bool
) -> None:
    """Gains in standard errors: one candidate needs 1.96, the best of ten 2.81."""
    noise = np.random.default_rng(0).standard_normal(400)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    plain, refined = candidate(np.full(400, 0.5)), candidate(0.5 + 0.01 * (noise + gain / np.sqrt(400)))
    worse = [candidate(np.full(400, 0.4))] * others
    assert (_better_of(plain, [refined, *worse], "item-item weights") is refined) == taken


def test_tie_keeps_the_current_candidate() -> None:
    plain, same = candidate(np.full(400, 0.5)), candidate(np.full(400, 0.5))
    assert _better_of(plain, [same, same], "hours") is plain
