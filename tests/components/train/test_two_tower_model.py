from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.train.tensorflow_runtime import Workers, tf
from components.train.trainer import Trainer, model_inputs
from components.train.training_data import Batch, Negatives, TrainingData
from components.train.two_tower_model import ModelConfig, TwoTowerModel, pooled, with_ragged_games
from steam_recsys.data.interactions import Interactions
from steam_recsys.model.history_weights import HistoryWeights
from tests.components.train.checkerboard import (
    GAMES,
    catalogue,
    interactions,
    model_of,
    share_of_own_colour,
    training_data,
)

CONFIG = ModelConfig(dimensions=8, scale=3.0, period_days=10, learning_rate=0.05)
SAMPLED = replace(CONFIG, full_softmax_games=0, negatives=16)
ALONE = Workers(tf.distribute.get_strategy(), 0, 1)


def model(data: TrainingData, *, sampled: bool = False, config: ModelConfig = CONFIG) -> TwoTowerModel:
    tf.keras.utils.set_random_seed(0)
    return TwoTowerModel(data.attributes, len(data.attribute_names), data.popularity_priors, config, sampled=sampled)


def batch_of(data: TrainingData, config: ModelConfig = CONFIG, step: int = 0) -> Batch:
    return next(data.batches(config, step, step + 1))


def naive_loss(data: TrainingData, batch: Batch, two_towers: TwoTowerModel) -> float:
    """The mean over users of -log p, summed over targets and divided by the root of their number."""
    towers, known = two_towers.towers(), batch.known_ids
    shares = np.zeros((len(data.games), len(data.attribute_names)))
    for game in range(len(data.games)):
        for entry in range(data.attributes.offsets[game], data.attributes.offsets[game + 1]):
            shares[game, data.attributes.rows[entry]] += data.attributes.weights[entry]
    histories = towers.history_games * known[:, None] + shares @ towers.history_attributes
    candidates = towers.candidate_games * known[:, None] + shares @ towers.candidate_attributes
    candidates /= np.linalg.norm(candidates, axis=1)[:, None]
    starts, ends = np.cumsum(batch.history_lengths) - batch.history_lengths, np.cumsum(batch.history_lengths)
    row_ends = np.cumsum(batch.target_lengths)
    targets_of = np.bincount(batch.row_users, weights=batch.target_lengths, minlength=len(batch.history_lengths))
    loss = 0.0
    for row, (user, period) in enumerate(zip(batch.row_users, batch.row_periods, strict=True)):
        query = histories[batch.history[starts[user] : ends[user]]].sum(axis=0)
        query = query / (np.linalg.norm(query) or 1)
        logits = CONFIG.scale * candidates @ query + data.popularity_priors[period]
        for target in batch.targets[row_ends[row] - batch.target_lengths[row] : row_ends[row]]:
            p = np.exp(logits[target]) / np.exp(logits).sum()
            loss -= np.log(p) / np.sqrt(targets_of[user]) / len(batch.history_lengths)
    return loss


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.floats(0, 1), st.floats(0, 1))
def test_loss_equals_a_naive_softmax(step: int, dropout: float, hidden: float) -> None:
    config = replace(CONFIG, history_dropout=dropout, id_dropout=hidden)
    data = training_data(config)
    batch, two_towers = batch_of(data, config, step), model(data)
    found = float(two_towers.compute_loss(model_inputs(batch)))
    assert found == pytest.approx(naive_loss(data, batch, two_towers), rel=1e-4)


def loss_and_gradients(two_towers: TwoTowerModel) -> Any:
    """A graph of the loss and its gradients, which takes a batch's inputs: many times faster than op by op."""

    @tf.function(reduce_retracing=True)
    def compute(inputs: dict[str, Any]) -> tuple[Any, list[Any]]:
        with tf.GradientTape() as tape:
            loss = two_towers.compute_loss(inputs)
        return loss, [tf.convert_to_tensor(part) for part in tape.gradient(loss, two_towers.tables)]

    return compute


def test_sampled_loss_and_gradients_equal_the_full_softmax_if_every_game_is_drawn() -> None:
    data = training_data(CONFIG)
    every = Negatives(np.arange(GAMES, dtype=np.int32), np.zeros(GAMES, np.float32), np.zeros((0, 2), np.int64))
    of_all, of_drawn = loss_and_gradients(model(data)), loss_and_gradients(model(data, sampled=True))
    for step in range(40):
        batch = batch_of(data, step=step)
        drawn = replace(batch, negatives=every.with_hits(batch.targets, batch.target_lengths))
        (full_loss, full), (sampled_loss, sampled) = of_all(model_inputs(batch)), of_drawn(model_inputs(drawn))
        assert float(sampled_loss) == pytest.approx(float(full_loss), rel=1e-5)
        for expected, found in zip(full, sampled, strict=True):
            assert found.numpy() == pytest.approx(expected.numpy(), abs=1e-5)


def test_target_drawn_as_negative_is_counted_once() -> None:
    data = training_data(SAMPLED)
    batch, two_towers = batch_of(data, SAMPLED), model(data, sampled=True)
    assert batch.negatives
    assert len(batch.negatives.hits)
    twice = replace(batch, negatives=replace(batch.negatives, hits=np.zeros((0, 2), np.int64)))
    assert float(two_towers.compute_loss(model_inputs(twice))) > float(two_towers.compute_loss(model_inputs(batch)))


def test_sampled_loss_approaches_the_full_loss_with_more_draws() -> None:
    """From below: by Jensen's inequality the logarithm of a mean exceeds the mean of the logarithms."""
    data = training_data(SAMPLED)
    batch = batch_of(data, SAMPLED)
    full = float(model(data).compute_loss(model_inputs(replace(batch, negatives=None))))
    two_towers, random = model(data, sampled=True), np.random.default_rng(0)
    compute_loss = tf.function(two_towers.compute_loss, reduce_retracing=True)  # many times faster than op by op
    gaps = []
    for draws in (8, 64, 512):
        assert data.sampler
        sampler = replace(data.sampler, draws=draws)
        losses = []
        for _ in range(60):
            negatives = sampler.draw(random).with_hits(batch.targets, batch.target_lengths)
            losses.append(float(compute_loss(model_inputs(replace(batch, negatives=negatives)))))
        gaps.append(abs(np.mean(losses) - full) / full)
    assert gaps[0] > gaps[1] > gaps[2]
    assert gaps[2] < 2e-3


def test_catalogue_size_selects_full_or_sampled_softmax() -> None:
    for largest, sampled in ((GAMES, False), (GAMES - 1, True)):
        config = replace(CONFIG, full_softmax_games=largest)
        data = training_data(config)
        assert (data.sampler is not None) is sampled
        assert (batch_of(data, config).negatives is not None) is sampled


def test_sampled_softmax_trains_as_good_a_model_as_the_full_softmax() -> None:
    shares, losses = [], []
    for config in (CONFIG, SAMPLED):
        data = training_data(config)
        fitted = Trainer(0, ALONE).fit("final", data, config, 120)
        shares.append(share_of_own_colour(model_of(data, fitted.towers, config)))
        trained = model(training_data(CONFIG))
        for table, array in zip(trained.tables, vars(fitted.towers).values(), strict=True):
            table.assign(array)
        losses.append(float(trained.compute_loss(model_inputs(batch_of(training_data(CONFIG))))))
    assert shares == [1, 1]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


@pytest.mark.parametrize("config", [CONFIG, SAMPLED], ids=["full softmax", "sampled"])
def test_step_without_any_history_can_be_trained_on(config: ModelConfig) -> None:
    dropped = replace(config, history_dropout=1.0)
    data = training_data(dropped)
    batch, two_towers = batch_of(data, dropped), model(data, sampled=data.sampler is not None)
    assert not len(batch.history)
    assert len(batch.targets)
    inputs = model_inputs(batch)
    with tf.GradientTape() as tape:
        queries = two_towers.query_tower(with_ragged_games(inputs))
        loss = two_towers.compute_loss(inputs)
    assert not queries.numpy().any()
    assert np.isfinite(loss)
    for gradient in tape.gradient(loss, two_towers.tables):
        assert gradient is None or np.isfinite(tf.convert_to_tensor(gradient)).all()
    fitted = Trainer(0, ALONE).fit("final", data, dropped, 3)
    assert all(np.isfinite(table).all() for table in vars(fitted.towers).values())


def rows(days: Sequence[int], recommended: Sequence[bool] | None = None) -> Interactions:
    """One user's reviews of the games 1, 2, … on the given days."""
    n_games = len(days)
    return Interactions(
        np.ones(n_games, np.int64), np.arange(1, n_games + 1, dtype=np.int32), np.array(days, np.int32),
        np.ones(n_games, bool) if recommended is None else np.array(recommended), np.full(n_games, np.nan, np.float32),
    )  # fmt: skip


@pytest.mark.parametrize("config", [CONFIG, SAMPLED], ids=["full softmax", "sampled"])
def test_users_with_one_review_can_be_trained_on(config: ModelConfig) -> None:
    everyone = interactions([(user, 1 + user % GAMES, None) for user in range(1, 60)])
    data = TrainingData.from_interactions(everyone, catalogue(), config, 0)
    fitted = Trainer(0, ALONE).fit("final", data, config, 5)
    assert np.isfinite(fitted.losses).all()


@pytest.mark.parametrize("config", [CONFIG, SAMPLED], ids=["full softmax", "sampled"])
def test_worker_without_users_in_a_step_has_zero_loss_and_gradients(config: ModelConfig) -> None:
    data = TrainingData.from_interactions(rows([1, 2, 3]), catalogue(), config, 0)
    one, other = (next(data.batches(config, 0, 1, worker, 2)) for worker in range(2))
    assert (len(one.history_lengths), len(other.history_lengths)) == (1, 0)
    two_towers = model(data, sampled=data.sampler is not None, config=config)
    with tf.GradientTape() as tape:
        loss = two_towers.compute_loss(model_inputs(other))
    assert float(loss) == 0
    for gradient in tape.gradient(loss, two_towers.tables):
        assert gradient is None or not tf.convert_to_tensor(gradient).numpy().any()


def test_game_treated_as_new_is_the_sum_of_its_attributes() -> None:
    data = training_data(CONFIG)
    tower = model(data).candidate_tower
    known = np.ones(GAMES, np.float32)
    known[[3, 8]] = 0
    seen, all_known = tower(tf.constant(known)).numpy(), tower(tf.ones(GAMES)).numpy()
    vectors = tower.items.attributes.numpy()
    names = list(data.attribute_names)
    for game, genre in ((3, "Even"), (8, "Odd")):  # the rows of games 4 and 9
        expected = 0.5 * (vectors[names.index(f"genre {genre}")] + vectors[names.index("genre Indie")])
        assert seen[game] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
        assert seen[game] != pytest.approx(all_known[game], abs=1e-3)
    others = known == 1
    assert np.array_equal(seen[others], all_known[others])


def test_pooled_history_has_length_one_or_zero_if_empty() -> None:
    vectors = tf.constant([[3.0, 0.0], [0.0, 4.0], [1.0, 1.0]])
    history = tf.ragged.constant([[0, 1], [], [2]], dtype=tf.int32)
    assert pooled(vectors, history).numpy() == pytest.approx(
        np.array([[0.6, 0.8], [0, 0], [0.5**0.5, 0.5**0.5]]), abs=1e-6
    )
    weighted = pooled(vectors, history, tf.constant([4.0, 0.0, -1.0]))
    assert weighted.numpy() == pytest.approx(np.array([[1, 0], [0, 0], [-(0.5**0.5), -(0.5**0.5)]]), abs=1e-6)


def test_config_survives_conversion_to_plain_values() -> None:
    config = ModelConfig(scale=7.0, history_weights=HistoryWeights(disliked=-0.5, hours=0.2, recency=1.0))
    assert ModelConfig.from_dict(asdict(config)) == config
