import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.train import training_data
from components.train.training_data import SHUFFLE, Batch, ExampleFile, TrainingData
from components.train.two_tower_model import ModelConfig
from steam_recsys.data.games import Games
from steam_recsys.data.interactions import Interactions

USERS, GAMES = 60, 6
CATALOGUE = Games(np.arange(1, GAMES + 1, dtype=np.int32), [{}] * GAMES)
CONFIG = ModelConfig(period_days=10, history_dropout=0.0, batch_users=4)


@pytest.fixture(autouse=True, scope="module")
def small_windows() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_data, "WINDOW_INTERACTIONS", 40)
        patch.setattr(training_data, "GROUP_USERS", 3)
        yield


def shop(seed: int, users: int = USERS) -> Interactions:
    """Random interactions: some users recommend nothing, the first one recommends everything."""
    random = np.random.default_rng(seed)
    rows = [
        (user, int(game), 100 + day)
        for user in range(1, users + 1)
        for day, game in enumerate(random.permutation(GAMES)[: random.integers(1, GAMES)] + 1)
    ]
    columns = np.array(rows).T
    recommended = (random.random(len(rows)) < 0.6) | (columns[0] == 1)
    return Interactions(
        columns[0], columns[1].astype(np.int32), columns[2].astype(np.int32), recommended,
        np.zeros(len(rows), np.float32),
    )  # fmt: skip


def users_with_targets(interactions: Interactions) -> Interactions:
    """The interactions of users who recommend something, naively."""
    users = set(interactions.users[interactions.recommended].tolist())
    return interactions.take(np.array([user in users for user in interactions.users.tolist()]))


def epoch(data: TrainingData, number: int, config: ModelConfig = CONFIG) -> list[Batch]:
    steps = data.steps_per_epoch(config)
    return list(data.batches(config, number * steps, (number + 1) * steps))


@given(st.integers(0, 50), st.integers(0, 3))
def test_epoch_over_windows_has_every_interaction_once(seed: int, number: int) -> None:
    expected = users_with_targets(shop(seed))
    data = TrainingData.from_interactions(shop(seed), CATALOGUE, CONFIG, 0)
    assert data.examples.windows > 1
    batches = epoch(data, number)
    seen = np.concatenate([batch.history for batch in batches])
    assert np.bincount(seen, minlength=len(data.games)).tolist() == [
        np.count_nonzero(expected.games == game) for game in data.games.ids
    ]
    assert sum(len(batch.targets) for batch in batches) == expected.recommended.sum()
    sizes = [len(batch.history_lengths) for batch in batches]
    assert sum(sizes) == len(np.unique(expected.users))
    assert max(sizes) - min(sizes) <= 2


@given(st.integers(0, 50), st.integers(0, 60), st.integers(1, 3))
def test_batch_does_not_depend_on_the_first_step_or_the_number_of_workers(seed: int, step: int, workers: int) -> None:
    data = TrainingData.from_interactions(shop(seed), CATALOGUE, replace(CONFIG, history_dropout=0.5), 0)
    *_, late = data.batches(CONFIG, 0, step + 1)
    (whole,) = data.batches(CONFIG, step, step + 1)
    assert all(np.array_equal(vars(late)[name], array) for name, array in vars(whole).items() if array is not None)
    shares = [next(data.batches(CONFIG, step, step + 1, worker, workers)) for worker in range(workers)]
    for name in ("history", "targets"):
        assert sorted(np.concatenate([vars(share)[name] for share in shares])) == sorted(vars(whole)[name])


def test_windows_are_of_equal_size_and_differ_between_epochs() -> None:
    expected = users_with_targets(shop(0))
    written = ExampleFile.write(shop(0), np.zeros(len(shop(0)), np.int32), CATALOGUE.ids)
    users = set(expected.users.tolist())
    assert written.users == len(users)
    dealt = []
    for number in range(3):
        windows = [written.window(index, np.random.default_rng(number)).histories for index in range(written.windows)]
        assert sorted(user for window in windows for user in window.users.tolist()) == sorted(users)
        assert max(len(window.games) for window in windows) <= 1.5 * len(expected) / written.windows
        dealt.append([set(window.users.tolist()) for window in windows])
    assert all(before != after for before, after in pairwise(dealt))


def test_all_users_are_shuffled_if_there_is_one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_data, "WINDOW_INTERACTIONS", 1_000)
    data = TrainingData.from_interactions(shop(0), CATALOGUE, CONFIG, 7)
    expected = users_with_targets(shop(0))
    games = [data.games.ids.searchsorted(expected.games[expected.users == user]) for user in np.unique(expected.users)]
    for number in range(3):
        order = np.random.default_rng([7, SHUFFLE, number]).permutation(len(games))
        expected = np.concatenate([games[row] for row in order])
        assert np.concatenate([batch.history for batch in epoch(data, number)]).tolist() == expected.tolist()


@given(st.integers(0, 50), st.integers(1, 20))
def test_written_examples_are_read_back(seed: int, users: int) -> None:
    interactions = shop(seed, users)
    expected, periods = users_with_targets(interactions), interactions.days // 3
    written = ExampleFile.write(interactions, periods, CATALOGUE.ids)
    read = written.read()
    assert np.repeat(read.histories.users, read.histories.lengths).tolist() == expected.users.tolist()
    assert (CATALOGUE.ids[read.histories.games]).tolist() == expected.games.tolist()
    assert read.histories.recommended.tolist() == expected.recommended.tolist()
    assert read.periods.tolist() == (expected.days // 3).tolist()
    rows = np.random.default_rng(seed).permutation(len(read.histories))[:3]
    taken = read.take(rows)
    assert taken.histories.users.tolist() == read.histories.users[rows].tolist()
    assert taken.histories.games.tolist() == read.histories.take(rows).games.tolist()
    assert taken.periods.tolist() == [
        period for row in rows for period in read.periods[read.histories.offsets[row] : read.histories.offsets[row + 1]]
    ]


def test_no_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    written = ExampleFile.write(shop(0), np.zeros(len(shop(0)), np.int32), CATALOGUE.ids)
    assert len(written.read().histories) == written.users
    assert not any(tmp_path.iterdir())  # not even if the process is killed
    file = written.file
    del written
    assert file.closed
