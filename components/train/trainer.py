"""Fits of the towers: gradient steps, a fused Adam, and checkpoints from which an interrupted fit continues."""

from __future__ import annotations

import io
import math
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from components.train.tensorflow_runtime import Workers, tf
from components.train.training_data import Batch, TrainingData
from components.train.two_tower_model import ModelConfig, TwoTowerModel
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.model.two_tower import Towers
from steam_recsys.storage.folder import Folder, open_folder
from steam_recsys.storage.manifest import clean_up
from steam_recsys.storage.model_store import CHECKPOINTS_FOLDER

CURVE_POINTS = 24
"""Points of the learning curve of the loss."""

CHECKS = 8
"""Points of the learning curve of the figure on validation data."""

CHECKPOINT_SECONDS = 60.0
REMEDY = "lower the learning rate in components/train/two_tower_model.py"

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass
class Checkpoints:
    """The checkpoints of one training, one file per fit.

    Attributes:
        folder: Folder of this training only, removed once the model is written.
        every_seconds: Smallest number of seconds between two checkpoints.
    """

    folder: Folder
    every_seconds: float = CHECKPOINT_SECONDS
    _written: float = field(default_factory=time.monotonic)

    @classmethod
    def for_version(cls, store: str, version: str) -> Checkpoints:
        """Return the checkpoints of the training of a model version."""
        return cls(open_folder(f"{store.rstrip('/')}/{CHECKPOINTS_FOLDER}/{version}"))

    def read(self, name: str) -> Arrays:
        """Read the last checkpoint of a fit; an empty mapping if there is none or it is damaged."""
        content = self.folder.read(f"{name}.npz")
        if content is None:
            return {}
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return dict(arrays)
        except (ValueError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
            log("train", f"cannot read the checkpoint {self.folder.uri}/{name}.npz ({error}): restarting the fit")
            return {}

    def due(self) -> bool:
        """Whether it is time for the next checkpoint."""
        return time.monotonic() - self._written >= self.every_seconds

    def write(self, name: str, arrays: Arrays) -> None:
        """Replace the checkpoint of a fit, atomically."""
        content = io.BytesIO()
        np.savez(content, allow_pickle=False, **arrays)
        self.folder.write(f"{name}.npz", content.getvalue())
        self._written = time.monotonic()

    def clear(self) -> None:
        """Remove all checkpoints."""
        self.folder.remove("")


@dataclass(frozen=True)
class TowerFit:
    """The result of a fit.

    Attributes:
        towers: The weights.
        losses: The learning curve: the mean loss of each of up to 24 equal parts of the steps.
        checks: A figure of the towers after each of up to 8 equal parts of the steps; empty without a check.
    """

    towers: Towers
    losses: tuple[float, ...]
    checks: tuple[float, ...] = ()


@dataclass
class Trainer:
    """What all fits of a training share.

    Attributes:
        seed: Random seed; the same seed gives identical weights, bit for bit.
        workers: Workers that the fits run on. The chief calls `fit` for each fit and then `end_fits`; each of the
            others calls `follow`.
        checkpoints: Checkpoints; None for fits that are too short to need them.
    """

    seed: int
    workers: Workers
    checkpoints: Checkpoints | None = None
    _last: _Built | None = field(default=None, init=False, repr=False)

    def fit(
        self,
        name: str,
        data: TrainingData,
        config: ModelConfig,
        steps: int,
        start: Towers | None = None,
        check: Callable[[Towers], float] | None = None,
    ) -> TowerFit:
        """Fit the towers, or continue an interrupted fit of the same name.

        Args:
            name: Name of the fit, for its checkpoints.
            data: Training data.
            config: Hyperparameters.
            steps: Number of steps.
            start: Initial towers, with the rows of `data`; None for random ones.
            check: Computes the figure of the towers that is recorded from time to time; None for none.

        Raises:
            UserError: The loss is not finite.
        """
        self.workers.broadcast({"name": name, "config": asdict(config), "steps": steps})
        built = self._build(data, config, steps, start)
        progress = _Progress(name, built.model, steps, self.workers, self.checkpoints, check)
        if self.checkpoints and (saved := self.checkpoints.read(name)) and not progress.restore(saved):
            log("train", f"the checkpoint of the {name} fit belongs to another fit: restarting the fit")
        first = len(progress.losses)
        self.workers.broadcast({"first": first, "check_steps": sorted(progress.check_steps)})
        self._take_steps(built, data, config, first, steps, progress)
        towers = built.model.towers()
        if not all(np.isfinite(table).all() for table in vars(towers).values()):
            raise UserError(f"The weights are not finite after step {steps} of the {name} fit: {REMEDY}.")
        return TowerFit(towers, _curve(progress.losses), tuple(progress.checks))

    def follow(self, data: TrainingData) -> None:
        """Take part in the chief's fits to some data, until the chief has made all of them.

        Args:
            data: Training data, prepared like the chief's.

        Raises:
            UserError: The loss is not finite.
        """
        while fit := self.workers.broadcast():
            config, steps = ModelConfig.from_dict(fit["config"]), fit["steps"]
            built = self._build(data, config, steps)
            progress = self.workers.broadcast()
            first = progress["first"]
            following = _Following(fit["name"], first, frozenset(progress["check_steps"]), self.workers)
            with suppress(_StoppedError):
                self._take_steps(built, data, config, first, steps, following)

    def end_fits(self) -> None:
        """Let the other workers go: the chief makes no other fit to the same data."""
        self.workers.broadcast()

    def _take_steps(
        self,
        built: _Built,
        data: TrainingData,
        config: ModelConfig,
        first: int,
        steps: int,
        progress: _Progress | _Following,
    ) -> None:
        """Make the steps that are left, on all workers from the chief's weights.

        For small batches, `Model.fit` and `tf.data` would take twice as long as the step itself.
        """
        if first == steps:
            return
        self.workers.broadcast_values(_variables(built.model))
        for batch in data.batches(config, first, steps, self.workers.rank, self.workers.count):
            progress.record(float(built.take_step(model_inputs(batch))))

    def _build(self, data: TrainingData, config: ModelConfig, steps: int, start: Towers | None = None) -> _Built:
        """Build a model, or reset the last fit's if only the scale differs: tracing a graph takes a second."""
        fits = (data, replace(config, scale=0.0), steps)
        with self.workers.strategy.scope():
            if not self._last or not self._last.is_for(*fits):
                tf.keras.utils.set_random_seed(self.seed)
                model = _model(data, config, steps)
                self._last = _Built(*fits, model, _step_function(model, self.workers, sampled=data.sampler is not None))
            self._last.reset(config.scale)
            if start:
                for table, array in zip(self._last.model.tables, vars(start).values(), strict=True):
                    table.assign(array)
        return self._last

    def clear_checkpoints(self) -> None:
        """Remove the checkpoints once the model is written."""
        if self.checkpoints:
            with clean_up("train", f"the checkpoints in {self.checkpoints.folder.uri}"):
                self.checkpoints.clear()


class _Built:
    """A model that was built for some data, hyperparameters other than the scale, and number of steps."""

    def __init__(
        self,
        data: TrainingData,
        config: ModelConfig,
        steps: int,
        model: TwoTowerModel,
        take_step: Callable[[dict[str, Any]], tf.Tensor],
    ) -> None:
        self.model, self.take_step = model, take_step
        self._data, self._config, self._steps = data, config, steps
        self._initial = [variable.numpy() for variable in _variables(model)]

    def is_for(self, data: TrainingData, config: ModelConfig, steps: int) -> bool:
        """Return whether it was built for these."""
        return self._data is data and (self._config, self._steps) == (config, steps)

    def reset(self, scale: float) -> None:
        """Give all variables their initial values again, and the model a scale."""
        for variable, array in zip(_variables(self.model), self._initial, strict=True):
            variable.assign(array)
        self.model.scale.assign(scale)


def _variables(model: TwoTowerModel) -> list[tf.Variable]:
    """List what a fit changes."""
    return [*model.tables, *model.optimizer.variables]


class _Progress:
    """Records the loss of every step, stops at one that is not finite, checks the towers, and writes checkpoints."""

    def __init__(
        self,
        name: str,
        model: TwoTowerModel,
        steps: int,
        workers: Workers,
        checkpoints: Checkpoints | None,
        check: Callable[[Towers], float] | None,
    ) -> None:
        self._workers = workers
        self._name = name
        self._towers = model.towers
        self._check = check
        self.check_steps = {steps * (part + 1) // CHECKS for part in range(CHECKS)} if check else set()
        self._variables = _variables(model)
        self._steps = steps
        self._checkpoints = checkpoints
        self.losses: list[float] = []
        self.checks: list[float] = []

    def restore(self, saved: Arrays) -> bool:
        """Restore all variables from a checkpoint and return True, or return False if it belongs to another fit."""
        arrays = {name: array for name, array in saved.items() if name not in ("losses", "checks")}
        shapes = {f"variable_{number}": tuple(variable.shape) for number, variable in enumerate(self._variables)}
        if {name: array.shape for name, array in arrays.items()} != shapes or not {"losses", "checks"} <= set(saved):
            return False
        step = len(saved["losses"])
        done = sum(0 < each <= step for each in self.check_steps)
        if step > self._steps or len(saved["checks"]) != done:
            return False
        self.losses, self.checks = saved["losses"].tolist(), saved["checks"].tolist()
        for number, variable in enumerate(self._variables):
            variable.assign(saved[f"variable_{number}"])
        return True

    def record(self, loss: float) -> None:
        """Record the loss of the next step."""
        self.losses.append(loss)
        step = len(self.losses)
        _require_finite(loss, step, self._name)
        if self._check and step in self.check_steps:
            stopped = True
            try:
                self.checks.append(self._check(self._towers()))
                stopped = False
            finally:
                self._workers.broadcast({"stopped": stopped})
        if self._checkpoints and (step == self._steps or self._checkpoints.due()):
            variables = {f"variable_{number}": variable.numpy() for number, variable in enumerate(self._variables)}
            self._checkpoints.write(
                self._name, {"losses": np.array(self.losses), "checks": np.array(self.checks), **variables}
            )


class _StoppedError(Exception):
    """The chief stopped the fit at a check."""


class _Following:
    """Stops a fit on a worker other than the chief when the chief does."""

    def __init__(self, name: str, first: int, check_steps: Set[int], workers: Workers) -> None:
        self._name, self._step, self._check_steps, self._workers = name, first, check_steps, workers

    def record(self, loss: float) -> None:
        """Check the loss of the next step."""
        self._step += 1
        _require_finite(loss, self._step, self._name)
        if self._step in self._check_steps and self._workers.broadcast()["stopped"]:
            raise _StoppedError


def _require_finite(loss: float, step: int, name: str) -> None:
    if not math.isfinite(loss):
        raise UserError(f"The training loss is {loss} at step {step} of the {name} fit: {REMEDY}.")


class FusedAdam(tf.keras.optimizers.Adam):
    """Adam as one fused TensorFlow operation; Keras makes a dozen passes over each table.

    The weights are the same except for rounding (Kingma and Ba 2015, "Adam: A Method for Stochastic Optimization", the
    form before section 2.1).
    """

    def update_step(self, gradient: tf.Tensor | tf.IndexedSlices, variable: tf.Variable) -> None:
        """Update a table; rows that are missing from a sparse gradient have a gradient of zero."""
        index = self._index_dict[self._var_key(variable)]
        step = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].handle,
            v=self._velocities[index].handle,
            beta1_power=tf.pow(self.beta_1, step),
            beta2_power=tf.pow(self.beta_2, step),
            lr=tf.cast(self.learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=tf.convert_to_tensor(gradient),
        )


def _model(data: TrainingData, config: ModelConfig, steps: int) -> TwoTowerModel:
    model = TwoTowerModel(
        data.attributes, len(data.attribute_names), data.popularity_priors, config, sampled=bool(data.sampler)
    )
    rate = tf.keras.optimizers.schedules.PolynomialDecay(config.learning_rate, steps, config.learning_rate / 100)
    model.compile(optimizer=FusedAdam(rate))
    model.optimizer.build(model.tables)
    return model


def _step_function(model: TwoTowerModel, workers: Workers, *, sampled: bool) -> Callable[[dict[str, Any]], tf.Tensor]:
    """Return a function that takes a step on this worker's part of a batch and returns the loss of the whole batch."""
    strategy = workers.strategy

    @tf.function(input_signature=[_signature(sampled=sampled)])
    def take_step(inputs: dict[str, Any]) -> tf.Tensor:
        part = strategy.run(model.train_step, args=(inputs,))["loss"]
        return strategy.reduce(tf.distribute.ReduceOp.SUM, part, axis=None)

    found: Callable[[dict[str, Any]], tf.Tensor] = take_step
    return found


def _curve(losses: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(part.mean()) for part in np.array_split(losses, min(CURVE_POINTS, len(losses))))


def model_inputs(batch: Batch) -> dict[str, Any]:
    """Convert a batch to the inputs of `TwoTowerModel`: flat arrays, as ragged ones pass to TensorFlow much slower.

    `history_users` and `target_rows`, int64, are the user of each game and the row of each target: NumPy repeats
    numbers much faster than TensorFlow, which takes memory for the longest history of every user.
    """
    without = ("negatives", "target_lengths")
    inputs: dict[str, Any] = {name: array for name, array in vars(batch).items() if name not in without}
    for name, lengths in (("history_users", batch.history_lengths), ("target_rows", batch.target_lengths)):
        inputs[name] = np.repeat(np.arange(len(lengths)), lengths)
    if batch.negatives:
        inputs["negatives"] = batch.negatives.games
        inputs["corrections"] = batch.negatives.corrections
        inputs["hits"] = batch.negatives.hits
    return inputs


def _signature(*, sampled: bool) -> dict[str, Any]:
    integers, floats = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.float32)
    numbers = tf.TensorSpec((None,), tf.int64)
    signature = {
        "history": integers, "history_lengths": numbers, "history_users": numbers,
        "targets": integers, "target_rows": numbers,
        "weights": floats, "row_users": integers, "row_periods": integers, "known_ids": floats,
    }  # fmt: skip
    if sampled:
        signature |= {"negatives": integers, "corrections": floats, "hits": tf.TensorSpec((None, 2), tf.int64)}
    return signature
