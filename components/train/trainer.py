"""Fitting the towers by gradient steps, which can stop anywhere and go on as if nothing had happened."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from components.train.adam import OnePassAdam
from components.train.checkpoints import Arrays, Checkpoints
from components.train.model import Config, TwoTowerModel
from components.train.training_data import Batch, TrainingData
from components.train.workers import Workers
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.model.two_tower import Towers

CURVE_POINTS = 24
REMEDY = "lower the learning rate in components/train/model.py"


@dataclass(frozen=True)
class Fitted:
    """The towers, and the learning curve: the mean loss of each of up to 24 equal stretches of the steps."""

    towers: Towers
    losses: tuple[float, ...]


@dataclass(frozen=True)
class Trainer:
    """What all fits of a training share.

    Attributes:
        seed: of everything random; equal seeds give equal weights, bit for bit.
        workers: that the fits run on.
        checkpoints: None for short fits that nobody waits for.
    """

    seed: int
    workers: Workers
    checkpoints: Checkpoints | None = None

    def fit(self, name: str, corpus: TrainingData, config: Config, steps: int, start: Towers | None = None) -> Fitted:
        """Fit, or go on with a fit of this name that was interrupted.

        Args:
            name: of the fit, for its checkpoints.
            corpus: what it learns from.
            config: of the model.
            steps: how many to make.
            start: the towers to start from, of the corpus' rows; random ones where left out.

        Raises:
            UserError: the loss is not finite.
        """
        tf.keras.utils.set_random_seed(self.seed)
        with self.workers.strategy.scope():
            model = _model(corpus, config, steps)
            if start:
                for table, array in zip(model.tables, vars(start).values(), strict=True):
                    table.assign(array)
        checkpoints = self.checkpoints if self.workers.chief else None
        progress = _Progress(name, model, steps, checkpoints)
        if self.checkpoints and (saved := self.checkpoints.read(name)) and not progress.restored(saved):
            log("train", f"the checkpoint of the {name} fit is of another one: it starts anew")
        if (first := len(progress.losses)) < steps:
            batches = self.workers.distributed(lambda: self._dataset(corpus, config, first, steps))
            model.fit(batches, epochs=1, steps_per_epoch=steps - first, verbose=0, callbacks=[progress])
        towers = model.towers()
        if not all(np.isfinite(table).all() for table in vars(towers).values()):
            raise UserError(f"The weights are not finite after step {steps} of the {name} fit: {REMEDY}.")
        return Fitted(towers, _curve(progress.losses))

    def clear(self) -> None:
        """Remove the checkpoints, once nothing has to go on from them."""
        if self.checkpoints:
            self.checkpoints.clear()

    def _dataset(self, corpus: TrainingData, config: Config, first: int, steps: int) -> tf.data.Dataset:
        def batches() -> Iterator[dict[str, Any]]:
            for batch in corpus.batches(config, first, steps, self.workers.index, self.workers.count):
                yield inputs_of(batch)

        dataset = tf.data.Dataset.from_generator(
            batches, output_signature=_signature(sampled=corpus.sampler is not None)
        )
        return dataset.prefetch(2)


class _Progress(tf.keras.callbacks.Callback):
    """Keeps every step's loss, stops at one that is not finite, and writes checkpoints."""

    def __init__(self, name: str, model: TwoTowerModel, steps: int, checkpoints: Checkpoints | None) -> None:
        super().__init__()
        self._name = name
        self._variables = [*model.tables, *model.optimizer.variables]
        self._steps = steps
        self._checkpoints = checkpoints
        self.losses: list[float] = []

    def restored(self, saved: Arrays) -> bool:
        """Put everything back to where it was, if what was saved is of this fit; whether it is."""
        arrays = {name: array for name, array in saved.items() if name != "losses"}
        shapes = {f"variable_{number}": tuple(variable.shape) for number, variable in enumerate(self._variables)}
        if {name: array.shape for name, array in arrays.items()} != shapes or "losses" not in saved:
            return False
        if len(saved["losses"]) > self._steps:
            return False
        self.losses = saved["losses"].tolist()
        for number, variable in enumerate(self._variables):
            variable.assign(saved[f"variable_{number}"])
        return True

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.losses.append(float(logs["loss"]))
        step = len(self.losses)
        if not math.isfinite(self.losses[-1]):
            raise UserError(f"The training loss is {self.losses[-1]} at step {step} of the {self._name} fit: {REMEDY}.")
        if self._checkpoints and (step == self._steps or self._checkpoints.due()):
            variables = {f"variable_{number}": variable.numpy() for number, variable in enumerate(self._variables)}
            self._checkpoints.write(self._name, {"losses": np.array(self.losses), **variables})


def _model(corpus: TrainingData, config: Config, steps: int) -> TwoTowerModel:
    model = TwoTowerModel(
        corpus.attributes, len(corpus.attribute_names), corpus.popularity_offsets, config, sampled=bool(corpus.sampler)
    )
    rate = tf.keras.optimizers.schedules.PolynomialDecay(config.learning_rate, steps, config.learning_rate / 100)
    model.compile(optimizer=OnePassAdam(rate))
    model.optimizer.build(model.tables)
    return model


def _curve(losses: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(part.mean()) for part in np.array_split(losses, min(CURVE_POINTS, len(losses))))


def inputs_of(batch: Batch) -> dict[str, Any]:
    """A batch as the model takes it."""
    inputs = {
        "history": tf.RaggedTensor.from_row_lengths(batch.history, batch.history_lengths, validate=False),
        "targets": tf.RaggedTensor.from_row_lengths(batch.targets, batch.target_lengths, validate=False),
        "weights": batch.weights,
        "row_users": batch.row_users,
        "row_periods": batch.row_periods,
        "known_ids": batch.known_ids,
    }
    if batch.negatives:
        inputs["negatives"] = batch.negatives.games
        inputs["corrections"] = batch.negatives.corrections
        inputs["hits"] = batch.negatives.hits
    return inputs


def _signature(*, sampled: bool) -> dict[str, Any]:
    ragged = tf.RaggedTensorSpec((None, None), tf.int32, row_splits_dtype=tf.int64)
    integers, floats = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None,), tf.float32)
    signature = {
        "history": ragged, "targets": ragged, "weights": floats, "row_users": integers, "row_periods": integers,
        "known_ids": floats,
    }  # fmt: skip
    if sampled:
        signature |= {"negatives": integers, "corrections": floats, "hits": tf.TensorSpec((None, 2), tf.int64)}
    return signature
