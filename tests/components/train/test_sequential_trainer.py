from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.train.sequential_tower import SequenceConfig
from components.train.sequential_trainer import CHECKS, SequentialFit, Windows, fit_sequential, schedule
from components.train.tensorflow_runtime import tf
from components.train.trainer import Arrays, Checkpoints
from steam_recsys.data.histories import Histories
from steam_recsys.errors import UserError
from steam_recsys.model.sequential import SequentialTower

GAMES = 20
CONFIG = SequenceConfig(dimensions=8, blocks=1, length=6, batch_targets=100, epochs=16, dropout=0.1)


class Died(Exception):
    """A simulated crash."""


@dataclass
class Mortal(Checkpoints):
    """Checkpoints at every step that crash after writing a given one."""

    last: int = 0

    def due(self) -> bool:
        return True

    def write(self, name: str, arrays: Arrays) -> None:
        super().write(name, arrays)
        if len(arrays["losses"]) == self.last:
            raise Died


@pytest.fixture(autouse=True)
def repeatable() -> None:
    tf.config.experimental.enable_op_determinism()


def chains(users: int = 60) -> Histories:
    """Users who play the games in the order of their numbers, from a random one on."""
    random = np.random.default_rng(0)
    starts, lengths = random.integers(0, GAMES, users), random.integers(1, 12, users)
    return Histories.from_games(
        *((start + np.arange(n)) % GAMES for start, n in zip(starts.tolist(), lengths.tolist(), strict=True))
    )


def share_of_next_games(tower: SequentialTower) -> float:
    best = (tower.queries(Histories.from_games(*([game] for game in range(GAMES)))) @ tower.candidates.T).argmax(axis=1)
    return float(np.mean(best == (np.arange(GAMES) + 1) % GAMES))


def fit_all_at_once(histories: Histories, config: SequenceConfig, seed: int, **options: object) -> SequentialFit | None:
    """Fit as if all games had been played on one day, with their shares of the histories as popularity."""
    counts = np.bincount(histories.games, minlength=GAMES) + 1.0
    priors = np.log(counts / counts.sum()).astype(np.float32)[None]
    time = {"periods": np.zeros(len(histories.games), dtype=np.int32), "popularity_priors": priors}
    return fit_sequential(histories, GAMES, config, seed, **(time | options))


def fit(config: SequenceConfig = CONFIG, seed: int = 0, **options: object) -> SequentialFit:
    found = fit_all_at_once(chains(), config, seed, **options)
    assert found
    return found


@cache
def alone(config: SequenceConfig = CONFIG) -> SequentialFit:
    """The same without checkpoints, which other fits are compared with."""
    return fit(config)


def assert_equal(found: SequentialFit, expected: SequentialFit) -> None:
    """Bit for bit."""
    assert (found.losses, found.checks, found.share) == (expected.losses, expected.checks, expected.share)
    for name, array in expected.tower.arrays().items():
        assert np.array_equal(found.tower.arrays()[name], array), name


@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=9), max_size=6), st.integers(1, 4))
def test_windows_have_each_next_liked_game_once_after_the_games_before_it(
    reviews: list[list[tuple[int, bool]]], length: int
) -> None:
    histories = Histories.from_games(*([game for game, _ in user] for user in reviews))
    histories = replace(histories, recommended=np.array([liked for user in reviews for _, liked in user], dtype=bool))
    windows = Windows.from_histories(histories, histories.games * 10, length)
    expected = []
    for user in reviews:
        games = [game for game, liked in user if liked]
        expected += [(games[index], games[index + 1]) for index in range(len(games) - 1)]
    assert windows.targets == len(expected)
    found = []
    for row in range(len(windows)):
        batch = windows.batch(np.array([row]))
        assert 1 <= len(batch["targets"]) <= length
        assert np.array_equal(batch["periods"], batch["targets"] * 10)
        found += list(zip(batch["games"].ravel()[batch["indices"]].tolist(), batch["targets"].tolist(), strict=True))
    assert sorted(found) == sorted(expected)
    for row in range(1, len(windows)):  # only a user's first window is shorter than the longest
        if windows.starts[row] == windows.starts[row - 1] + windows.lengths[row - 1]:
            assert windows.lengths[row] == length


@given(st.lists(st.integers(2, 9), min_size=1, max_size=30), st.data())
def test_an_epoch_has_each_window_once_and_no_step_is_empty(lengths: list[int], data: st.DataObject) -> None:
    windows = Windows.from_histories(Histories.from_games(*(range(n) for n in lengths)), np.zeros(sum(lengths)), 4)
    steps = data.draw(st.integers(1, len(windows)))
    parts = windows.epoch(steps, np.random.default_rng(0))
    assert len(parts) == steps
    assert min(map(len, parts)) > 0
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(windows)))


def test_batches_of_several_windows_are_padded_at_the_end() -> None:
    windows = Windows.from_histories(Histories.from_games([1, 2, 3], [4, 5]), np.arange(5, dtype=np.int32), 4)
    batch = windows.batch(np.array([0, 1]))
    assert batch["games"].tolist() == [[1, 2], [4, 0]]
    assert batch["indices"].tolist() == [0, 1, 2]
    assert batch["targets"].tolist() == [2, 3, 5]
    assert batch["periods"].tolist() == [1, 2, 4]


def test_the_schedule_follows_the_size_of_the_data() -> None:
    windows = Windows.from_histories(chains(), np.zeros(len(chains().games), np.int32), CONFIG.length)
    per_epoch, steps = schedule(windows, CONFIG)
    assert per_epoch == round(windows.targets / 100)
    assert steps == 16 * per_epoch
    assert schedule(windows, replace(CONFIG, max_targets=2 * windows.targets))[1] == 2 * per_epoch
    assert schedule(windows, replace(CONFIG, max_targets=1))[1] == 1


@pytest.mark.parametrize(
    "config", [CONFIG, replace(CONFIG, full_softmax_games=0, negatives=12)], ids=["full", "sampled"]
)
def test_the_tower_learns_which_game_follows(config: SequenceConfig) -> None:
    fitted = fit(replace(config, epochs=40))
    assert fitted.losses[-1] < fitted.losses[0]
    assert share_of_next_games(fitted.tower) > 0.8
    assert (fitted.share, fitted.checks) == (1.0, ())


def test_the_log_says_which_tower_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    fitted = fit(replace(CONFIG, epochs=1), name="final-sequence")
    message = f"final-sequence fit: loss {fitted.losses[-1]:.4f}, tower of 100% of the schedule"
    assert message in capsys.readouterr().out


def test_the_same_seed_gives_the_same_tower_and_another_seed_another_one() -> None:
    assert_equal(fit(), alone())
    assert not np.array_equal(fit(seed=1).tower.games, alone().tower.games)


def test_an_interrupted_fit_continues_to_the_same_tower(store: str) -> None:
    sampled = replace(CONFIG, full_softmax_games=0, negatives=12)
    whole = fit(sampled, check=share_of_next_games)
    checkpoints = Mortal.for_version(store, "v1")
    for last in (3, 20):
        checkpoints.last = last
        with pytest.raises(Died):
            fit(sampled, check=share_of_next_games, checkpoints=checkpoints)
    checkpoints.last = 0
    assert_equal(fit(sampled, check=share_of_next_games, checkpoints=checkpoints), whole)
    assert_equal(fit(sampled, check=share_of_next_games, checkpoints=checkpoints), whole)  # from its last checkpoint


def test_a_checkpoint_of_another_fit_is_not_used(store: str) -> None:
    checkpoints = Mortal.for_version(store, "v1")
    fit(replace(CONFIG, epochs=1), checkpoints=checkpoints)
    assert_equal(fit(checkpoints=checkpoints), alone())


def test_a_checkpoint_with_more_steps_or_without_checks_is_not_used(store: str) -> None:
    checkpoints = Mortal.for_version(store, "v1")
    fit(checkpoints=checkpoints)
    half = replace(CONFIG, share=0.5)
    assert_equal(fit(half, checkpoints=checkpoints), alone(half))
    checked = fit(half, check=share_of_next_games)
    assert_equal(fit(half, check=share_of_next_games, checkpoints=checkpoints), checked)
    assert_equal(fit(half, checkpoints=checkpoints), alone(half))


def test_the_best_checked_tower_is_kept_and_the_fit_stops_if_none_gets_better() -> None:
    figures = iter([0.1, 0.3, 0.2, 0.3, 0.5, 0.6, 0.7, 0.8])
    seen = []

    def check(tower: SequentialTower) -> float:
        seen.append(tower)
        return next(figures)

    fitted = fit(check=check)
    assert fitted.checks == (0.1, 0.3, 0.2, 0.3)
    assert len(fitted.losses) == 4
    assert fitted.tower is seen[1]
    assert fitted.share == pytest.approx(2 / CHECKS, abs=0.02)
    repeated = fit(replace(CONFIG, share=fitted.share))
    assert np.array_equal(repeated.tower.games, fitted.tower.games)


def test_without_a_next_game_there_is_no_tower() -> None:
    assert fit_all_at_once(Histories.from_games([1], [], [2]), CONFIG, 0) is None


def test_a_loss_that_is_not_finite_is_reported() -> None:
    priors = np.full((1, GAMES), np.nan, dtype=np.float32)
    with pytest.raises(
        UserError, match="The training loss is nan at step 1 of the sequence fit: lower the learning rate"
    ):
        fit(popularity_priors=priors)
