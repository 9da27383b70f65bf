"""Fits of the sequential tower: windows of histories, batches of them, early stopping, and checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.train.sequential_tower import SequenceConfig, SequentialModel, initial_tower
from components.train.tensorflow_runtime import tf
from components.train.trainer import Arrays, Checkpoints, FusedAdam
from components.train.training_data import NegativeSampler
from steam_recsys.arrays import Float32Array, Int32Array, Int64Array, offsets_from_lengths
from steam_recsys.data.histories import Histories
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.model.sequential import SequentialTower

CHECKS = 8
"""Points of the schedule at which the tower is checked on validation data."""

PATIENCE = 2
"""Checks without a better figure after which a fit stops."""

REMEDY = "lower the learning rate in components/train/sequential_tower.py"

ORDER, INITIAL, NEGATIVES = 10, 11, 12
"""Streams of random numbers, apart from those of the training data: an epoch's batches, initial weights, negatives."""


@dataclass(frozen=True)
class Windows:
    """The sequences that a fit learns from: each next game of every user is predicted once.

    A history with more than L games before the last one is cut into windows of L next games, counted from the end.

    Attributes:
        games: int32 [n], the games that the users like, concatenated over users, each user's in the order of time.
        periods: int32 [n], the period of each of them.
        starts: int64 [W], the first game of each window; its next games begin one later.
        lengths: int64 [W], number of next games of each window, 1 to L.
    """

    games: Int32Array
    periods: Int32Array
    starts: Int64Array
    lengths: Int64Array

    @classmethod
    def from_histories(cls, histories: Histories, periods: Int32Array, length: int) -> Windows:
        """Cut histories into windows.

        Args:
            histories: The users' games as rows of the vocabulary; those that the user does not recommend are left out.
            periods: int32, the period of each game of the histories.
            length: L, the longest window.
        """
        liked = histories.recommended_only()
        targets = np.maximum(liked.lengths - 1, 0)
        counts = -(-targets // length)
        owners = np.repeat(np.arange(len(liked)), counts)
        later = np.repeat(np.cumsum(counts), counts) - 1 - np.arange(len(owners))  # windows of the same user
        ends = targets[owners] - length * later
        firsts = np.maximum(ends - length, 0)
        return cls(liked.games, periods[histories.recommended], liked.offsets[owners] + firsts, ends - firsts)

    def __len__(self) -> int:
        return len(self.starts)

    @property
    def targets(self) -> int:
        """Number of next games of all windows."""
        return int(self.lengths.sum())

    def batch(self, rows: Int64Array) -> dict[str, Any]:
        """Return the inputs of the model for some windows, without the step and negatives.

        `games` is int32 [B, n], one window per row, padded at the end. For each of the T next games, int32 [T]:
        `indices` is the index of the game before it in the flat `games`, `targets` the game, `periods` its period.
        """
        starts, lengths = self.starts[rows], self.lengths[rows]
        owners = np.repeat(np.arange(len(rows)), lengths)
        columns = np.arange(len(owners)) - offsets_from_lengths(lengths)[owners]
        indices = starts[owners] + columns
        games = np.zeros((len(rows), int(lengths.max())), dtype=np.int32)
        games[owners, columns] = self.games[indices]
        return {
            "games": games,
            "indices": (owners * games.shape[1] + columns).astype(np.int32),
            "targets": self.games[indices + 1],
            "periods": self.periods[indices + 1],
        }

    def epoch(self, steps: int, random: np.random.Generator) -> list[Int64Array]:
        """Deal all windows out to the steps of an epoch, with about as many next games each, in a random order.

        Windows of about the same length share a step, so that there is little padding.
        """
        order = np.lexsort((random.random(len(self)), self.lengths))
        ends = np.cumsum(self.lengths[order])
        inner = np.arange(1, steps)
        splits = np.searchsorted(ends, self.targets / steps * inner)
        splits = np.maximum.accumulate(np.maximum(splits, 1) - inner) + inner  # no step is without windows
        parts = np.split(order, np.minimum(splits, len(self) - steps + inner))
        return [parts[part] for part in random.permutation(steps).tolist()]


@dataclass(frozen=True)
class SequentialFit:
    """The result of a fit.

    Attributes:
        tower: The weights: of the best check, or after the last step if there is no check.
        share: Share of the schedule's steps after which the tower had these weights.
        losses: The mean loss of each of up to 8 equal parts of the schedule's steps.
        checks: The figure at the end of each of them; empty without a check.
    """

    tower: SequentialTower
    share: float
    losses: tuple[float, ...]
    checks: tuple[float, ...] = ()


def fit_sequential(
    histories: Histories,
    n_games: int,
    config: SequenceConfig,
    seed: int,
    *,
    periods: Int32Array,
    popularity_priors: Float32Array,
    check: Callable[[SequentialTower], float] | None = None,
    checkpoints: Checkpoints | None = None,
    name: str = "sequence",
) -> SequentialFit | None:
    """Fit a sequential tower to histories, or continue an interrupted fit of the same name.

    Args:
        histories: The users' games as rows of a vocabulary, in the order of time.
        n_games: Size of the vocabulary.
        config: Hyperparameters; the fit stops after their share of the schedule.
        seed: Random seed; the same seed gives identical weights, also after an interruption.
        periods: int32, the period of each game of the histories.
        popularity_priors: float32 [P, n_games], what popularity adds to the scores in each period.
        check: Computes the figure of a tower on validation data, higher for better ones: the fit keeps the best tower,
            and stops if the figure does not get better. None to fit without validation data.
        checkpoints: Checkpoints; None for a fit that is too short to need them.
        name: Name of the fit, for its checkpoints.

    Returns:
        The fit; None if no user likes more than one game, so that there is no next game to learn from.

    Raises:
        UserError: The loss or the weights are not finite.
    """
    windows = Windows.from_histories(histories, periods, config.length)
    if not len(windows):
        return None
    counts = np.bincount(windows.games, minlength=n_games).astype(np.float64)
    sampler = NegativeSampler.from_popularity(counts, config.negatives) if n_games > config.full_softmax_games else None
    fit = _Fit(windows, sampler, config, seed, name)
    fit.build(n_games, popularity_priors)
    if checkpoints and (saved := checkpoints.read(name)) and not fit.restore(saved, checked=check is not None):
        log("train", f"the checkpoint of the {name} fit belongs to another fit: restarting the fit")
    fit.run(check, checkpoints)
    fitted = fit.result()
    log("train", f"{name} fit: loss {fitted.losses[-1]:.4f}, tower of {fitted.share:.0%} of the schedule")
    return fitted


def schedule(windows: Windows, config: SequenceConfig) -> tuple[int, int]:
    """Return the number of steps per epoch, and of the whole schedule."""
    per_epoch = max(1, round(windows.targets / config.batch_targets))
    per_epoch = min(per_epoch, len(windows))
    most = max(1, round(per_epoch * config.max_targets / windows.targets))
    return per_epoch, min(config.epochs * per_epoch, most)


class _Fit:
    """The state of a fit."""

    def __init__(
        self, windows: Windows, sampler: NegativeSampler | None, config: SequenceConfig, seed: int, name: str
    ) -> None:
        self._windows, self._sampler, self._config, self._seed, self._name = windows, sampler, config, seed, name
        self._per_epoch, self._steps = schedule(windows, config)
        self._stop = max(1, round(config.share * self._steps))
        self._check_steps = sorted({-(-self._steps * (part + 1) // CHECKS) for part in range(CHECKS)})
        self._losses: list[float] = []
        self._checks: list[float] = []
        self._best: SequentialTower | None = None

    def build(self, n_games: int, popularity_priors: Float32Array) -> None:
        """Create the model with its initial weights."""
        tower = initial_tower(n_games, self._config, np.random.default_rng([self._seed, INITIAL]))
        self._model = SequentialModel(tower, popularity_priors, self._config, self._seed)
        rate = self._config.learning_rate
        self._model.compile(
            optimizer=FusedAdam(tf.keras.optimizers.schedules.PolynomialDecay(rate, self._steps, rate / 100))
        )
        self._tables = list(self._model.encoder.tables.values())
        self._model.optimizer.build(self._tables)

    @property
    def _variables(self) -> list[tf.Variable]:
        return [*self._tables, *self._model.optimizer.variables]

    def restore(self, saved: Arrays, *, checked: bool) -> bool:
        """Restore the state from a checkpoint and return True, or return False if it belongs to another fit.

        Args:
            saved: The arrays of the checkpoint.
            checked: Whether this fit checks its towers on validation data.
        """
        shapes = {f"variable_{number}": tuple(variable.shape) for number, variable in enumerate(self._variables)}
        stored = {name: array.shape for name, array in saved.items() if name.startswith("variable_")}
        if stored != shapes or not {"losses", "checks", "steps"} <= set(saved) or saved["steps"] != self._steps:
            return False
        step = len(saved["losses"])
        done = sum(each <= step for each in self._check_steps) if checked else 0
        if step > self._stop or len(saved["checks"]) != done:
            return False
        best = {f"best_{name}" for name in self._model.encoder.tables} if done else set()
        if not best <= set(saved):
            return False
        self._losses, self._checks = saved["losses"].tolist(), saved["checks"].tolist()
        for number, variable in enumerate(self._variables):
            variable.assign(saved[f"variable_{number}"])
        if self._checks:
            self._best = SequentialTower.from_arrays(saved, "best_")
        return True

    def run(self, check: Callable[[SequentialTower], float] | None, checkpoints: Checkpoints | None) -> None:
        """Make the steps that are left."""
        step_function = tf.function(self._model.train_step, input_signature=[_signature(self._sampler is not None)])
        for step, inputs in self._batches(len(self._losses)):
            loss = float(step_function(inputs)["loss"])
            self._losses.append(loss)
            if not math.isfinite(loss):
                raise UserError(f"The training loss is {loss} at step {step + 1} of the {self._name} fit: {REMEDY}.")
            if check and step + 1 in self._check_steps:
                tower = self._model.encoder.tower()
                figure = check(tower)
                if figure > max(self._checks, default=-math.inf):
                    self._best = tower
                self._checks.append(figure)
            if checkpoints and (step + 1 == self._stop or self._exhausted or checkpoints.due()):
                checkpoints.write(self._name, self._state())

    @property
    def _exhausted(self) -> bool:
        """Whether the last checks were no better than the ones before."""
        return int(np.argmax([*self._checks, -math.inf])) < len(self._checks) - PATIENCE

    def _state(self) -> dict[str, Any]:
        best = self._best.arrays() if self._best else {}
        return {
            "losses": np.array(self._losses),
            "checks": np.array(self._checks),
            "steps": np.array(self._steps),
            **{f"variable_{number}": variable.numpy() for number, variable in enumerate(self._variables)},
            **{f"best_{name}": array for name, array in best.items()},
        }

    def _batches(self, first: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the numbers of the steps from `first` on and their inputs, which depend on the number only."""
        parts: list[Int64Array] = []
        for step in range(first, self._stop):
            if self._exhausted:
                return
            epoch, number = divmod(step, self._per_epoch)
            if not number or not parts:
                parts = self._windows.epoch(self._per_epoch, np.random.default_rng([self._seed, ORDER, epoch]))
            inputs = {**self._windows.batch(parts[number]), "step": np.int64(step)}
            if self._sampler:
                drawn = self._sampler.draw(np.random.default_rng([self._seed, NEGATIVES, step]))
                inputs |= {"negatives": drawn.games, "corrections": drawn.corrections}
            yield step, inputs

    def result(self) -> SequentialFit:
        """Return the best tower, or the last one if none was checked."""
        steps, tower = len(self._losses), self._best
        if tower is None or not self._checks:
            tower = self._model.encoder.tower()
        else:
            steps = self._check_steps[int(np.argmax(self._checks))]
        if not all(np.isfinite(array).all() for array in tower.arrays().values()):
            raise UserError(f"The weights are not finite after step {steps} of the {self._name} fit: {REMEDY}.")
        ends = [end for end in self._check_steps[:-1] if end < len(self._losses)]
        losses = tuple(float(part.mean()) for part in np.split(np.array(self._losses), ends))
        return SequentialFit(tower, steps / self._steps, losses, tuple(self._checks))


def _signature(sampled: bool) -> dict[str, Any]:
    integers, floats = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.float32)
    signature = {
        "games": tf.TensorSpec((None, None), tf.int32), "indices": integers, "targets": integers, "periods": integers,
        "step": tf.TensorSpec((), tf.int64),
    }  # fmt: skip
    if sampled:
        signature |= {"negatives": integers, "corrections": floats}
    return signature
