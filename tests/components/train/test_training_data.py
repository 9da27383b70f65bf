from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.train.training_data import TrainingData
from components.train.two_tower_model import ModelConfig
from steam_recsys.data.games import Games
from steam_recsys.data.interactions import Interactions

GAMES = 6
CATALOGUE = Games(np.arange(1, GAMES + 1, dtype=np.int32), [{"genre Action": 1.0}] * GAMES)
CONFIG = ModelConfig(period_days=10, history_dropout=0.5)
NOTHING_DROPPED = replace(CONFIG, history_dropout=0.0)


def interactions(rows: list[tuple[int, int, int]]) -> Interactions:
    """Interactions from users, games and days, sorted as in a snapshot."""
    users, games, days = (
        np.array(column) for column in zip(*sorted(rows, key=lambda row: (row[0], row[2])), strict=True)
    )
    return Interactions(
        users.astype(np.int64), games.astype(np.int32), days.astype(np.int32),
        np.ones(len(rows), bool), np.zeros(len(rows), np.float32),
    )  # fmt: skip


ROWS = st.dictionaries(st.tuples(st.integers(1, 8), st.integers(1, GAMES)), st.integers(100, 160), min_size=2).map(
    lambda found: [(user, game, day) for (user, game), day in found.items()]
)


@given(ROWS, st.integers(0, 5))
def test_epoch_has_every_interaction_as_target_once_and_drops_part_of_the_histories(
    rows: list[tuple[int, int, int]], seed: int
) -> None:
    data = TrainingData.from_interactions(interactions(rows), CATALOGUE, CONFIG, seed)
    steps = data.steps_per_epoch(CONFIG)
    batches = list(data.batches(CONFIG, steps, 2 * steps))
    assert sum(len(batch.targets) for batch in batches) == len(rows)
    for batch in batches:
        assert batch.target_lengths.sum() == len(batch.targets)
        assert batch.history_lengths.sum() == len(batch.history) <= len(batch.targets)
        assert (np.diff(batch.row_users) >= 0).all()
        owners = np.repeat(batch.row_users, batch.target_lengths)
        lengths = np.bincount(owners, minlength=len(batch.history_lengths))
        assert batch.weights == pytest.approx(1 / np.sqrt(lengths[batch.row_users]) / len(lengths))


@given(ROWS, st.integers(0, 30), st.integers(1, 3))
def test_batch_does_not_depend_on_the_first_step_or_the_number_of_workers(
    rows: list[tuple[int, int, int]], step: int, workers: int
) -> None:
    data = TrainingData.from_interactions(interactions(rows), CATALOGUE, CONFIG, 0)
    *_, late = data.batches(CONFIG, 0, step + 1)
    (whole,) = data.batches(CONFIG, step, step + 1)
    assert all(np.array_equal(vars(late)[name], array) for name, array in vars(whole).items() if array is not None)
    shares = [next(data.batches(CONFIG, step, step + 1, worker, workers)) for worker in range(workers)]
    assert sorted(np.concatenate([share.history for share in shares])) == sorted(whole.history)
    assert sorted(np.concatenate([share.targets for share in shares])) == sorted(whole.targets)
    counts = [(share.weights * share.target_lengths).sum() for share in shares]
    assert sum(counts) == pytest.approx((whole.weights * whole.target_lengths).sum(), abs=1e-5)


def test_disliked_game_is_part_of_the_history_but_no_target() -> None:
    rows = interactions([(1, 1, 100), (1, 2, 101), (2, 3, 100)])
    data = TrainingData.from_interactions(
        replace(rows, recommended=np.array([True, False, False])), CATALOGUE, NOTHING_DROPPED, 0
    )
    (batch,) = data.batches(NOTHING_DROPPED, 0, 1)
    assert data.games.ids[batch.history].tolist() == [1, 2]
    assert data.games.ids[batch.targets].tolist() == [1]
    assert batch.weights.tolist() == [1.0]


def test_only_games_with_attributes_are_treated_as_new() -> None:
    games = Games(np.array([1, 2], dtype=np.int32), [{"genre Action": 1.0}, {}])
    rows = interactions([(user, game, 100) for user in range(5) for game in (1, 2)])
    config = replace(CONFIG, id_dropout=1.0)
    known = replace(games, attributes=[{"genre Action": 1.0}] * 2)
    for catalogue, expected in ((games, [1, 1]), (known, [0, 0])):
        (batch,) = TrainingData.from_interactions(rows, catalogue, config, 0).batches(config, 0, 1)
        assert batch.known_ids.tolist() == expected  # an attribute of a single game is not in the vocabulary


def test_small_data_have_more_epochs() -> None:
    data = TrainingData.from_interactions(
        interactions([(user, 1 + user % GAMES, 100) for user in range(64)]), CATALOGUE, CONFIG, 0
    )
    assert data.steps_per_epoch(CONFIG) == 4
    assert data.steps(CONFIG) == 480
    assert data.steps(ModelConfig(min_steps=1)) == 8


def test_large_data_have_larger_batches() -> None:
    data = TrainingData.from_interactions(
        interactions([(user, 1 + user % GAMES, 100) for user in range(640)]), CATALOGUE, CONFIG, 0
    )
    assert data.steps_per_epoch(replace(CONFIG, max_steps_per_epoch=10)) == 10
