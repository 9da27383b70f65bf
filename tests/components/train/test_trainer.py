from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.train.checkpoints import Arrays, Checkpoints
from components.train.model import Config
from components.train.trainer import Fitted, Trainer
from components.train.training_data import Batch, TrainingData
from components.train.workers import Workers
from steam_recsys.errors import UserError
from steam_recsys.model.two_tower import Towers
from tests.components.train.checkerboard import corpus, model_of, share_of_own_colour

CONFIG = Config(dimensions=8, scale=4.0, learning_rate=0.05)
SAMPLED = replace(CONFIG, full_softmax_games=0, negatives=12)
STEPS = 20
ALONE = Workers(tf.distribute.get_strategy(), 0, 1)


class Died(Exception):
    """The machine went away."""


@dataclass
class Mortal(Checkpoints):
    """Checkpoints whose process dies once it has written that of a step; the steps that were written."""

    last: int = 0
    written: list[int] = field(default_factory=list)

    def write(self, name: str, arrays: Arrays) -> None:
        super().write(name, arrays)
        self.written.append(len(arrays["losses"]))
        if self.written[-1] == self.last:
            raise Died


@pytest.fixture(autouse=True)
def repeatable() -> None:
    tf.config.experimental.enable_op_determinism()


@pytest.fixture
def checkpoints(store: str) -> Mortal:
    """Written at every step."""
    found = Mortal.of(store, "v1")
    found.every_seconds = 0.0
    return found


def assert_equal(found: Fitted, expected: Fitted) -> None:
    """Bit for bit."""
    assert found.losses == expected.losses
    for name, table in vars(expected.towers).items():
        assert np.array_equal(vars(found.towers)[name], table), name


def steps_made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that fits write the numbers of their steps to."""
    made: list[int] = []
    batches = TrainingData.batches

    def noted(self: TrainingData, config: Config, start: int, stop: int, worker: int, workers: int) -> Iterator[Batch]:
        for step in range(start, stop):
            made.append(step)
            yield from batches(self, config, step, step + 1, worker, workers)

    monkeypatch.setattr(TrainingData, "batches", noted)
    return made


def test_a_fit_learns_what_sets_users_apart() -> None:
    data = corpus(CONFIG)
    fitted = Trainer(0, ALONE).fit("final", data, CONFIG, 100)
    assert fitted.losses[-1] < fitted.losses[0]
    assert share_of_own_colour(model_of(data, fitted.towers, CONFIG)) == 1


def test_the_learning_curve_is_the_mean_loss_of_equal_stretches(checkpoints: Mortal) -> None:
    data, trainer = corpus(CONFIG), Trainer(0, ALONE, checkpoints)
    assert len(trainer.fit("short", data, CONFIG, 5).losses) == 5
    curve = trainer.fit("long", data, CONFIG, 48).losses
    losses = checkpoints.read("long")["losses"]
    assert curve == pytest.approx(losses.reshape(24, 2).mean(axis=1))


def test_equal_seeds_make_equal_weights_and_others_others() -> None:
    fits = [Trainer(seed, ALONE).fit("final", corpus(CONFIG, seed=seed), CONFIG, 5) for seed in (3, 3, 4)]
    assert_equal(fits[1], fits[0])
    assert not np.array_equal(fits[2].towers.history_games, fits[0].towers.history_games)


@pytest.mark.parametrize(("config", "last"), [(CONFIG, 1), (CONFIG, STEPS - 1), (SAMPLED, 17)])
def test_a_fit_that_was_interrupted_goes_on_as_if_nothing_had_happened(
    last: int, config: Config, checkpoints: Mortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = corpus(config)
    whole = Trainer(0, ALONE).fit("final", data, config, STEPS)
    checkpoints.last = last
    with pytest.raises(Died):
        Trainer(0, ALONE, checkpoints).fit("final", data, config, STEPS)
    checkpoints.last = 0
    tf.random.uniform(())  # whatever else the process did
    made = steps_made(monkeypatch)
    resumed = Trainer(0, ALONE, checkpoints).fit("final", data, config, STEPS)
    assert made == list(range(last, STEPS))
    assert_equal(resumed, whole)


def test_a_fit_that_was_finished_is_not_made_again(checkpoints: Mortal, monkeypatch: pytest.MonkeyPatch) -> None:
    data = corpus(CONFIG)
    whole = Trainer(0, ALONE, checkpoints).fit("final", data, CONFIG, STEPS)
    made = steps_made(monkeypatch)
    assert_equal(Trainer(0, ALONE, checkpoints).fit("final", data, CONFIG, STEPS), whole)
    assert made == []


def test_a_fit_in_a_bucket_goes_on_too(bucket_store: str) -> None:
    data, checkpoints = corpus(CONFIG), Mortal.of(bucket_store, "v1")
    checkpoints.every_seconds, checkpoints.last = 0.0, 3
    with pytest.raises(Died):
        Trainer(0, ALONE, checkpoints).fit("final", data, CONFIG, 6)
    resumed = Trainer(0, ALONE, Checkpoints.for_version(bucket_store, "v1")).fit("final", data, CONFIG, 6)
    assert_equal(resumed, Trainer(0, ALONE).fit("final", data, CONFIG, 6))


@pytest.mark.parametrize("content", [b"half", None], ids=["half a file", "of another model"])
def test_a_checkpoint_that_is_of_no_use_is_named_and_the_fit_starts_anew(
    content: bytes | None, checkpoints: Mortal, capsys: pytest.CaptureFixture[str]
) -> None:
    data = corpus(CONFIG)
    if content:
        checkpoints.folder.write("final.npz", content)
    else:
        wider = replace(CONFIG, dimensions=16)
        Trainer(0, ALONE, checkpoints).fit("final", corpus(wider), wider, 2)
    found = Trainer(0, ALONE, checkpoints).fit("final", data, CONFIG, 4)
    assert_equal(found, Trainer(0, ALONE).fit("final", data, CONFIG, 4))
    assert "starts anew" in capsys.readouterr().out


def test_a_checkpoint_of_a_longer_fit_is_not_gone_on_from(checkpoints: Mortal) -> None:
    data = corpus(CONFIG)
    Trainer(0, ALONE, checkpoints).fit("final", data, CONFIG, 9)
    found = Trainer(0, ALONE, checkpoints).fit("final", data, CONFIG, 4)
    assert_equal(found, Trainer(0, ALONE).fit("final", data, CONFIG, 4))


def test_fits_of_other_names_do_not_see_each_other(checkpoints: Mortal) -> None:
    data, other = corpus(CONFIG), replace(CONFIG, scale=1.0)
    trainer = Trainer(0, ALONE, checkpoints)
    trainer.fit("scale-1", data, other, 4)
    assert_equal(trainer.fit("final", data, CONFIG, 4), Trainer(0, ALONE).fit("final", data, CONFIG, 4))
    trainer.clear()
    assert checkpoints.folder.names("") == []


@pytest.mark.parametrize(("every_seconds", "written"), [(0.0, [1, 2, 3, 4]), (float("inf"), [4])])
def test_a_checkpoint_is_written_when_it_is_due_and_at_the_last_step(
    every_seconds: float, written: list[int], checkpoints: Mortal
) -> None:
    checkpoints.every_seconds = every_seconds
    Trainer(0, ALONE, checkpoints).fit("final", corpus(CONFIG), CONFIG, 4)
    assert checkpoints.written == written


def test_a_worker_that_is_not_the_chief_writes_no_checkpoint_and_sees_its_part(checkpoints: Mortal) -> None:
    data = corpus(CONFIG)
    workers = [Workers(tf.distribute.get_strategy(), index, 2) for index in range(2)]
    half = Trainer(0, workers[1], checkpoints).fit("final", data, CONFIG, 1)
    assert checkpoints.folder.names("") == []
    rest = Trainer(0, workers[0], checkpoints).fit("final", data, CONFIG, 1)
    assert checkpoints.folder.names("") == ["final.npz"]
    whole = Trainer(0, ALONE).fit("final", data, CONFIG, 1)
    assert half.losses[0] + rest.losses[0] == pytest.approx(whole.losses[0], rel=1e-5)


def test_a_fit_starts_from_the_towers_that_it_is_given() -> None:
    data = corpus(CONFIG)
    found = Trainer(0, ALONE).fit("final", data, CONFIG, 1)
    still = replace(CONFIG, learning_rate=0.0)
    start = Towers(*(table + 1 for table in vars(found.towers).values()))
    assert_equal(
        Trainer(0, ALONE).fit("final", data, still, 1, start),
        Fitted(start, Trainer(0, ALONE).fit("final", data, still, 1, start).losses),
    )


def loss_at(step: int, trainer: Trainer, config: Config) -> None:
    """Spoil what the fit goes on from after a step."""
    data = corpus(config)
    trainer.fit("final", data, config, step - 1)
    assert trainer.checkpoints
    saved = dict(trainer.checkpoints.read("final"))
    trainer.checkpoints.write("final", {**saved, "variable_0": np.full_like(saved["variable_0"], np.nan)})
    trainer.fit("final", data, config, STEPS)


def test_the_step_at_which_a_loss_is_not_a_number_is_counted_from_the_beginning(checkpoints: Mortal) -> None:
    with pytest.raises(UserError, match="The training loss is nan at step 12 of the final fit: lower the learning"):
        loss_at(12, Trainer(0, ALONE, checkpoints), CONFIG)
    assert len(checkpoints.read("final")["losses"]) == 11


def test_a_loss_that_is_not_finite_stops_the_fit() -> None:
    config = replace(CONFIG, dimensions=1, scale=3e38)  # all cosines are 1 or -1
    with pytest.raises(UserError, match="The training loss is inf at step 1 of the final fit"):
        Trainer(0, ALONE).fit("final", corpus(config), config, 3)


def test_weights_that_the_last_step_spoilt_are_no_model(tmp_path: Path) -> None:
    """Its loss is that of the weights before it."""
    config = replace(CONFIG, learning_rate=float("nan"))
    with pytest.raises(UserError, match="The weights are not finite after step 1 of the final fit: lower the learning"):
        Trainer(0, ALONE).fit("final", corpus(config), config, 1)
