import itertools
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.train.tensorflow_runtime import Workers, tf
from components.train.trainer import Arrays, Checkpoints, FusedAdam, TowerFit, Trainer
from components.train.training_data import Batch, TrainingData
from components.train.two_tower_model import ModelConfig
from steam_recsys.errors import UserError
from steam_recsys.model.two_tower import Towers
from steam_recsys.storage.folder import open_folder
from tests.components.train.checkerboard import model_of, share_of_own_colour, training_data
from tests.damage import fail_removals

CONFIG = ModelConfig(dimensions=8, scale=4.0, learning_rate=0.05)
SAMPLED = replace(CONFIG, full_softmax_games=0, negatives=12)
STEPS = 20
ALONE = Workers(tf.distribute.get_strategy(), 0, 1)


class Died(Exception):
    """A simulated crash."""


@dataclass
class Mortal(Checkpoints):
    """Checkpoints that crash after writing a given step; `written` has the steps written so far."""

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
    """Checkpoints that are written at every step."""
    found = Mortal.for_version(store, "v1")
    found.every_seconds = 0.0
    return found


def assert_equal(found: TowerFit, expected: TowerFit) -> None:
    """Bit for bit."""
    assert found.losses == expected.losses
    for name, table in vars(expected.towers).items():
        assert np.array_equal(vars(found.towers)[name], table), name


@cache
def alone(steps: int, config: ModelConfig = CONFIG) -> TowerFit:
    """A fit of its own trainer and without checkpoints, which others are compared with."""
    return Trainer(0, ALONE).fit("alone", training_data(config), config, steps)


def record_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Record the numbers of the steps that later fits make."""
    steps: list[int] = []
    batches = TrainingData.batches

    def noted(
        self: TrainingData, config: ModelConfig, start: int, stop: int, worker: int, workers: int
    ) -> Iterator[Batch]:
        for step in range(start, stop):
            steps.append(step)
            yield from batches(self, config, step, step + 1, worker, workers)

    monkeypatch.setattr(TrainingData, "batches", noted)
    return steps


def test_fit_learns_what_sets_users_apart() -> None:
    data = training_data(CONFIG)
    fitted = Trainer(0, ALONE).fit("final", data, CONFIG, 100)
    assert fitted.losses[-1] < fitted.losses[0]
    assert share_of_own_colour(model_of(data, fitted.towers, CONFIG)) == 1


def test_learning_curve_is_the_mean_loss_of_equal_parts(checkpoints: Mortal) -> None:
    data, trainer = training_data(CONFIG), Trainer(0, ALONE, checkpoints)
    assert len(trainer.fit("short", data, CONFIG, 5).losses) == 5
    curve = trainer.fit("long", data, CONFIG, 48).losses
    losses = checkpoints.read("long")["losses"]
    assert curve == pytest.approx(losses.reshape(24, 2).mean(axis=1))


def test_the_towers_are_checked_after_equal_parts_of_the_steps_also_after_an_interruption(checkpoints: Mortal) -> None:
    data = training_data(CONFIG)

    def size(towers: Towers) -> float:
        return float(np.abs(towers.history_games).sum())

    whole = Trainer(0, ALONE).fit("final", data, CONFIG, STEPS, check=size)
    assert len(whole.checks) == len(set(whole.checks)) == 8
    assert whole.checks[-1] == size(whole.towers)
    checkpoints.last = 12
    with pytest.raises(Died):
        Trainer(0, ALONE, checkpoints).fit("final", data, CONFIG, STEPS, check=size)
    checkpoints.last = 0
    resumed = Trainer(0, ALONE, checkpoints).fit("final", data, CONFIG, STEPS, check=size)
    assert resumed.checks == whole.checks
    assert_equal(resumed, whole)
    assert len(Trainer(0, ALONE).fit("few", data, CONFIG, 3, check=size).checks) == 3


def test_checks_do_not_change_the_weights() -> None:
    checked = Trainer(0, ALONE).fit("final", training_data(CONFIG), CONFIG, STEPS, check=lambda towers: 0.0)
    assert alone(STEPS).checks == ()
    assert_equal(checked, alone(STEPS))


def test_a_fit_does_not_depend_on_the_trainers_fits_before() -> None:
    data, trainer, other = training_data(CONFIG), Trainer(0, ALONE), replace(CONFIG, scale=2 * CONFIG.scale)
    first = trainer.fit("first", data, CONFIG, 5)
    second = trainer.fit("second", data, other, 5)
    assert_equal(second, alone(5, other))
    assert second.losses != first.losses
    assert_equal(trainer.fit("again", data, CONFIG, 5), first)


def test_seed_determines_the_weights() -> None:
    fits = [Trainer(seed, ALONE).fit("final", training_data(CONFIG, seed=seed), CONFIG, 4) for seed in (0, 1)]
    assert_equal(fits[0], alone(4))
    assert not np.array_equal(fits[1].towers.history_games, fits[0].towers.history_games)


@pytest.mark.parametrize(("config", "last"), [(CONFIG, 1), (CONFIG, STEPS - 1), (SAMPLED, 17)])
def test_interrupted_fit_resumes_to_identical_weights(
    last: int, config: ModelConfig, checkpoints: Mortal, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = training_data(config)
    checkpoints.last = last
    with pytest.raises(Died):
        Trainer(0, ALONE, checkpoints).fit("final", data, config, STEPS)
    checkpoints.last = 0
    tf.random.uniform(())  # anything else that the process may do
    steps = record_steps(monkeypatch)
    resumed = Trainer(0, ALONE, checkpoints).fit("final", data, config, STEPS)
    assert steps == list(range(last, STEPS))
    assert_equal(resumed, alone(STEPS, config))


def test_finished_fit_is_not_repeated(checkpoints: Mortal, monkeypatch: pytest.MonkeyPatch) -> None:
    data = training_data(CONFIG)
    whole = Trainer(0, ALONE, checkpoints).fit("final", data, CONFIG, STEPS)
    steps = record_steps(monkeypatch)
    assert_equal(Trainer(0, ALONE, checkpoints).fit("final", data, CONFIG, STEPS), whole)
    assert steps == []


def test_fit_resumes_from_a_bucket(remote_store: str) -> None:
    data, checkpoints = training_data(CONFIG), Mortal.for_version(remote_store, "v1")
    checkpoints.every_seconds, checkpoints.last = 0.0, 3
    with pytest.raises(Died):
        Trainer(0, ALONE, checkpoints).fit("final", data, CONFIG, 6)
    resumed = Trainer(0, ALONE, Checkpoints.for_version(remote_store, "v1")).fit("final", data, CONFIG, 6)
    assert_equal(resumed, alone(6))


@pytest.mark.parametrize("content", [b"half", None], ids=["half a file", "of another model"])
def test_unusable_checkpoint_is_reported_and_the_fit_restarts(
    content: bytes | None, checkpoints: Mortal, capsys: pytest.CaptureFixture[str]
) -> None:
    data = training_data(CONFIG)
    if content:
        checkpoints.folder.write("final.npz", content)
    else:
        wider = replace(CONFIG, dimensions=16)
        Trainer(0, ALONE, checkpoints).fit("final", training_data(wider), wider, 2)
    found = Trainer(0, ALONE, checkpoints).fit("final", data, CONFIG, 4)
    assert_equal(found, alone(4))
    assert "restarting the fit" in capsys.readouterr().out


def test_checkpoint_of_a_longer_fit_is_not_used(checkpoints: Mortal) -> None:
    data = training_data(CONFIG)
    Trainer(0, ALONE, checkpoints).fit("final", data, CONFIG, 9)
    found = Trainer(0, ALONE, checkpoints).fit("final", data, CONFIG, 4)
    assert_equal(found, alone(4))


def test_fits_with_different_names_are_independent(checkpoints: Mortal) -> None:
    data, other = training_data(CONFIG), replace(CONFIG, scale=1.0)
    trainer = Trainer(0, ALONE, checkpoints)
    trainer.fit("scale-1", data, other, 4)
    assert_equal(trainer.fit("final", data, CONFIG, 4), alone(4))
    trainer.clear_checkpoints()
    assert checkpoints.folder.names("") == []


@pytest.mark.parametrize(("every_seconds", "written"), [(0.0, [1, 2, 3, 4]), (float("inf"), [4])])
def test_checkpoints_are_written_when_due_and_at_the_last_step(
    every_seconds: float, written: list[int], checkpoints: Mortal
) -> None:
    checkpoints.every_seconds = every_seconds
    Trainer(0, ALONE, checkpoints).fit("final", training_data(CONFIG), CONFIG, 4)
    assert checkpoints.written == written


def test_fit_starts_from_given_towers() -> None:
    data = training_data(CONFIG)
    found = Trainer(0, ALONE).fit("final", data, CONFIG, 1)
    still = replace(CONFIG, learning_rate=0.0)
    start = Towers(*(table + 1 for table in vars(found.towers).values()))
    assert_equal(
        Trainer(0, ALONE).fit("final", data, still, 1, start),
        TowerFit(start, Trainer(0, ALONE).fit("final", data, still, 1, start).losses),
    )


def loss_at(step: int, trainer: Trainer, config: ModelConfig) -> None:
    """Damage the weights that the fit resumes from before a step."""
    data = training_data(config)
    trainer.fit("final", data, config, step - 1)
    assert trainer.checkpoints
    saved = dict(trainer.checkpoints.read("final"))
    trainer.checkpoints.write("final", {**saved, "variable_0": np.full_like(saved["variable_0"], np.nan)})
    trainer.fit("final", data, config, STEPS)


def test_step_of_a_nan_loss_is_counted_from_the_first_step_after_a_resume(checkpoints: Mortal) -> None:
    with pytest.raises(UserError, match="The training loss is nan at step 12 of the final fit: lower the learning"):
        loss_at(12, Trainer(0, ALONE, checkpoints), CONFIG)
    assert len(checkpoints.read("final")["losses"]) == 11


def test_infinite_loss_stops_the_fit() -> None:
    config = replace(CONFIG, dimensions=1, scale=3e38)  # all cosines are 1 or -1
    with pytest.raises(UserError, match="The training loss is inf at step 1 of the final fit"):
        Trainer(0, ALONE).fit("final", training_data(config), config, 3)


def test_nan_weights_after_the_last_step_are_refused(tmp_path: Path) -> None:
    """The loss of a step is computed before its update."""
    config = replace(CONFIG, learning_rate=float("nan"))
    with pytest.raises(UserError, match="The weights are not finite after step 1 of the final fit: lower the learning"):
        Trainer(0, ALONE).fit("final", training_data(config), config, 1)


ARRAYS = {"losses": np.arange(3.0), "variable_0": np.ones((4, 2), dtype=np.float32), "variable_1": np.int64(7)}


def test_last_checkpoint_is_read_back(any_store: str) -> None:
    checkpoints = Checkpoints.for_version(any_store, "v1")
    assert checkpoints.read("final") == {}
    checkpoints.write("final", {"losses": np.zeros(1)})
    checkpoints.write("final", ARRAYS)
    checkpoints.write("scale-2", {"losses": np.zeros(2)})
    read = Checkpoints.for_version(any_store, "v1").read("final")
    assert read.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert read[name].dtype == array.dtype
        assert np.array_equal(read[name], array)


def test_clear_removes_only_the_checkpoints_of_one_training(any_store: str) -> None:
    for version in ("v1", "v10"):
        for name in ("final", "scale-2"):
            Checkpoints.for_version(any_store, version).write(name, ARRAYS)
    Checkpoints.for_version(any_store, "v1").clear()
    Checkpoints.for_version(any_store, "v1").clear()
    assert open_folder(any_store).names("checkpoints") == ["checkpoints/v10/final.npz", "checkpoints/v10/scale-2.npz"]


def test_checkpoints_that_cannot_be_removed_fail_no_training(
    bucket_store: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints.for_version(bucket_store, "v1")
    checkpoints.write("final", {"losses": np.zeros(1)})
    fail_removals(monkeypatch, bucket_store, 0, killed=False)
    Trainer(0, ALONE, checkpoints).clear_checkpoints()
    warning = f"[train] warning: the checkpoints in {bucket_store}/checkpoints/v1 could not be removed"
    assert capsys.readouterr().out.startswith(warning)


def test_checkpoint_is_due_after_the_interval(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter((159.0, 160.0, 200.0, 259.0, 260.0))
    # Not `time.monotonic` itself, which threads of other tests call too.
    monkeypatch.setattr("components.train.trainer.time", SimpleNamespace(monotonic=lambda: next(clock)))
    checkpoints = Checkpoints(open_folder(store), _written=100.0)
    assert [checkpoints.due(), checkpoints.due()] == [False, True]
    checkpoints.write("final", ARRAYS)
    assert [checkpoints.due(), checkpoints.due()] == [False, True]


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive", b"\x93NUMPY\x01"])
def test_invalid_checkpoint_is_ignored_and_logged(
    content: bytes, any_store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoints = Checkpoints.for_version(any_store, "v1")
    checkpoints.folder.write("final.npz", content)
    assert checkpoints.read("final") == {}
    assert f"[train] cannot read the checkpoint {any_store}/checkpoints/v1/final.npz" in capsys.readouterr().out


@settings(max_examples=200)
@given(damage=st.data())
def test_damaged_checkpoint_never_gives_wrong_arrays(
    damage: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Truncated, or with one byte changed; the names of arrays may differ, and `fit` checks those."""
    checkpoints = Checkpoints.for_version(str(tmp_path_factory.getbasetemp() / "damaged"), "v1")
    checkpoints.write("final", ARRAYS)
    content = bytearray(checkpoints.folder.read("final.npz") or b"")
    index = damage.draw(st.integers(0, len(content) - 1))
    if damage.draw(st.booleans()):
        del content[index:]
    else:
        content[index] ^= damage.draw(st.integers(1, 255))
    checkpoints.folder.write("final.npz", bytes(content))
    for name, array in checkpoints.read("final").items():
        if name in ARRAYS:
            assert np.array_equal(array, ARRAYS[name])


def write_forever(store: str) -> None:
    checkpoints = Checkpoints.for_version(store, "v1")
    for number in itertools.count():
        checkpoints.write("final", {name: np.full(300_000, number) for name in ("losses", "variable_0")})


def test_killed_writer_leaves_one_complete_checkpoint(tmp_path: Path) -> None:
    for attempt in range(5):
        checkpoints = Checkpoints.for_version(str(tmp_path / str(attempt)), "v1")
        # Forked, so that it does not take seconds to import TensorFlow, which it does not use.
        writer = multiprocessing.get_context("fork").Process(target=write_forever, args=[str(tmp_path / str(attempt))])
        writer.start()
        while len(checkpoints.folder.names("")) < 2:  # one is complete, and the next is being written
            assert writer.is_alive()
            time.sleep(0.001)
        writer.kill()
        writer.join()
        numbers = np.concatenate(list(checkpoints.read("final").values()))
        assert len(numbers) == 600_000
        assert len(np.unique(numbers)) == 1
        checkpoints.clear()
        assert checkpoints.folder.names("") == []


def trained(optimizer: tf.keras.optimizers.Optimizer, *, slices: bool) -> np.ndarray:
    """A table after some steps; each step changes some rows, one of them twice."""
    random = np.random.default_rng(0)
    table = tf.Variable(random.standard_normal((6, 3)).astype(np.float32))
    optimizer.build([table])
    for _ in range(8):
        values, rows = random.standard_normal((4, 3)).astype(np.float32), random.integers(0, 5, 4)
        gradient = tf.IndexedSlices(values, rows, (6, 3))
        optimizer.apply_gradients([(gradient if slices else tf.convert_to_tensor(gradient), table)])
    return table.numpy()


@pytest.mark.parametrize("slices", [False, True])
def test_fused_adam_equals_keras_adam(slices: bool) -> None:
    """Except for rounding: 1 - 0.999 is 4.7e-5 larger in float32."""
    rate = tf.keras.optimizers.schedules.PolynomialDecay(0.1, 8, 0.001)
    expected = trained(tf.keras.optimizers.Adam(rate), slices=slices)
    assert trained(FusedAdam(rate), slices=slices) == pytest.approx(expected, abs=1e-5)


def test_fused_adam_is_deterministic() -> None:
    assert np.array_equal(trained(FusedAdam(0.1), slices=True), trained(FusedAdam(0.1), slices=True))
