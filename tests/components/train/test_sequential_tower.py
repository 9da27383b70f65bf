from dataclasses import replace

import numpy as np
import pytest

from components.train.sequential_tower import (
    Dropout,
    SequenceConfig,
    SequentialEncoder,
    SequentialModel,
    ServingSequence,
    initial_tower,
)
from components.train.tensorflow_runtime import tf
from steam_recsys.data.histories import Histories
from tests.steam_recsys.model.models import GAMES, random_tower

TOWER = random_tower()
CONFIG = SequenceConfig(dimensions=6, length=5, scale=4.0)
PRIORS = np.random.default_rng(0).standard_normal((3, GAMES)).astype(np.float32)
GAMES_OF_BATCH = np.array([[1, 2, 3], [4, 5, 0]], dtype=np.int32)
INPUTS = {
    "games": GAMES_OF_BATCH, "indices": np.array([0, 1, 2, 3, 4], np.int32),
    "targets": np.array([2, 3, 6, 5, 7], np.int32), "periods": np.array([0, 0, 1, 2, 2], np.int32),
    "step": np.int64(0),
}  # fmt: skip
PREFIXES = Histories.from_games([1], [1, 2], [1, 2, 3], [4], [4, 5])


def logits() -> np.ndarray:
    scores = CONFIG.scale * TOWER.queries(PREFIXES) @ TOWER.candidates.T + PRIORS[INPUTS["periods"]]
    return np.asarray(scores, dtype=np.float64)


def test_the_vector_after_each_game_is_that_of_a_history_that_ends_there() -> None:
    vectors = SequentialEncoder(TOWER, trainable=False).encode(tf.constant(GAMES_OF_BATCH)).numpy()
    assert vectors.reshape(-1, 6)[INPUTS["indices"]] == pytest.approx(TOWER.queries(PREFIXES), abs=1e-6)


def test_served_user_vectors_of_ragged_histories_equal_numpy() -> None:
    rows = np.arange(GAMES, dtype=np.int32)
    rows[::9] = -1
    tower = TOWER.reindex(rows)
    random = np.random.default_rng(0)
    for lengths in ([3, 0, 12, 1], [0, 0]):
        games = [random.permutation(GAMES)[:length].tolist() for length in lengths]
        ragged = tf.ragged.constant(games, dtype=tf.int32, ragged_rank=1, row_splits_dtype=tf.int64)
        found = ServingSequence(tower).queries(ragged).numpy()
        assert found == pytest.approx(tower.queries(Histories.from_games(*games)), abs=1e-6)


def test_loss_is_the_mean_log_probability_of_the_next_games_with_the_prior_of_their_time() -> None:
    scores, rows = logits(), np.arange(5)
    expected = np.log(np.exp(scores).sum(axis=1)) - scores[rows, INPUTS["targets"]]
    model = SequentialModel(TOWER, PRIORS, CONFIG, 0)
    assert float(model.compute_loss(INPUTS)) == pytest.approx(expected.mean(), rel=1e-5)


def test_with_all_games_as_negatives_the_sampled_loss_is_the_full_one() -> None:
    model = SequentialModel(TOWER, PRIORS, CONFIG, 0)
    sampled = {**INPUTS, "negatives": np.arange(GAMES, dtype=np.int32), "corrections": np.zeros(GAMES, np.float32)}
    assert float(model.compute_loss(sampled)) == pytest.approx(float(model.compute_loss(INPUTS)), rel=1e-5)


def test_dropout_depends_on_seed_step_and_call_only() -> None:
    def hidden(seed: int, step: int, calls: int = 1) -> np.ndarray:
        dropout = Dropout(0.5, seed, tf.constant(step))
        return np.asarray([dropout(tf.ones(1000)).numpy() for _ in range(calls)][-1])

    assert np.array_equal(hidden(1, 2), hidden(1, 2))
    for other in (hidden(2, 2), hidden(1, 3), hidden(1, 2, calls=2)):
        assert 0.3 < np.mean(other == hidden(1, 2)) < 0.7
    assert hidden(1, 2).mean() == pytest.approx(1, abs=0.2)


def test_training_hides_activations() -> None:
    model = SequentialModel(TOWER, PRIORS, replace(CONFIG, dropout=0.5), 0)
    assert float(model.compute_loss(INPUTS, training=True)) != float(model.compute_loss(INPUTS))


def test_all_weights_are_trained() -> None:
    model = SequentialModel(TOWER, PRIORS, CONFIG, 0)
    assert len(model.trainable_variables) == len(TOWER.arrays())


def test_initial_weights_depend_on_the_random_numbers_only() -> None:
    towers = [initial_tower(GAMES, CONFIG, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(towers[0].games, towers[1].games)
    assert not np.array_equal(towers[0].games, towers[2].games)
    assert {array.dtype for array in towers[0].arrays().values()} == {np.dtype(np.float32)}
    assert towers[0].length == CONFIG.length
