"""Fitting: epochs over a corpus, watched by the recall on a validation period."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf

from components.predict.recommender import Recommender, Towers
from components.shared.console import progress
from components.shared.errors import UserError
from components.train.corpus import Corpus
from components.train.model import Config, TwoTowerModel, genre_shares

Measure = Callable[[Recommender], float]
"""The recall on the validation period."""


@dataclass(frozen=True)
class Epoch:
    """What one epoch of a search came to."""

    scale: float
    epoch: int
    loss: float
    recall_at_20: float


@dataclass(frozen=True)
class Choice:
    """The scale and the number of epochs that did best on the validation period, and every epoch tried."""

    scale: float
    epochs: int
    recall_at_20: float
    tried: tuple[Epoch, ...]


def choose(corpus: Corpus, measure: Measure, config: Config, seed: int) -> Choice:
    """Choose the scale and the number of epochs by recall.

    Validation loss will not do: it can rise while recall still improves (tensorflow/recommenders #263). The scale is
    doubled for as long as that brings a better recall: on dense data more capacity pays, on sparse data little does.

    Raises:
        UserError: the loss is not finite.
    """
    tried: list[Epoch] = []
    scale, best = config.scale, None
    while True:
        tried += (found := _search(corpus, measure, replace(config, scale=scale), seed))
        candidate = max(found, key=lambda epoch: epoch.recall_at_20)
        if best is not None and candidate.recall_at_20 <= best.recall_at_20:
            return Choice(best.scale, best.epoch, best.recall_at_20, tuple(tried))
        scale, best = scale * 2, candidate


def _search(corpus: Corpus, measure: Measure, config: Config, seed: int) -> list[Epoch]:
    """Epochs until the recall has not improved for `patience` of them."""
    epochs: list[Epoch] = []
    best = 0
    for number, (loss, towers) in enumerate(_epochs(corpus, config, seed, config.max_epochs), start=1):
        recall = measure(recommender(corpus, towers, config))
        epochs.append(Epoch(config.scale, number, loss, recall))
        progress("train", f"scale {config.scale:g}, epoch {number}: loss {loss:.4f}, validation recall@20 {recall:.4f}")
        if recall > epochs[best].recall_at_20:
            best = number - 1
        if number - 1 - best >= config.patience:
            break
    return epochs


def fit(corpus: Corpus, config: Config, seed: int, epochs: int) -> Towers:
    """Train for a number of epochs; the towers.

    Raises:
        UserError: the loss is not finite.
    """
    trained = enumerate(_epochs(corpus, config, seed, epochs), start=1)
    for number, (loss, towers) in trained:  # noqa: B007 - the last epoch's towers are the result
        progress("train", f"final fit, epoch {number} of {epochs}: loss {loss:.4f}")
    return towers


def recommender(corpus: Corpus, towers: Towers, config: Config, version: str = "") -> Recommender:
    """Towers as they answer without TensorFlow."""
    constants = (config.scale, config.popularity_weight, config.popularity_smoothing)
    return Recommender(version, corpus.game_ids, corpus.genre_names, towers, *constants)


def _epochs(corpus: Corpus, config: Config, seed: int, epochs: int) -> Iterator[tuple[float, Towers]]:
    """The loss and the towers after each epoch; equal seeds give equal weights, bit for bit."""
    tf.keras.utils.set_random_seed(seed)
    shares = genre_shares(corpus.genre_offsets, corpus.genre_rows, len(corpus.genre_names))
    model = TwoTowerModel(shares, config.dimensions, config.scale, corpus.popularity_offsets)
    model.compile(optimizer=tf.keras.optimizers.Adam(config.learning_rate))
    batches = _dataset(corpus, config, np.random.default_rng(seed))
    watch = _LossWatch()
    for _ in range(epochs):
        model.fit(batches, epochs=1, verbose=0, callbacks=[watch])
        yield watch.mean, model.towers()


class _LossWatch(tf.keras.callbacks.Callback):
    """Averages an epoch's loss, which TFRS reports for the last step only, and stops at one that is not finite."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0
        self.losses: list[float] = []

    @property
    def mean(self) -> float:
        return sum(self.losses) / len(self.losses)

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.losses = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float]) -> None:
        self.step += 1
        self.losses.append(float(logs["loss"]))
        if not math.isfinite(self.losses[-1]):
            raise UserError(
                f"The training loss is {self.losses[-1]} at step {self.step}: lower the learning rate in "
                f"components/train/model.py."
            )


def _dataset(corpus: Corpus, config: Config, random: np.random.Generator) -> tf.data.Dataset:
    def batches() -> Iterator[dict[str, Any]]:
        for batch in corpus.batches(config, random):
            yield {
                "history": tf.RaggedTensor.from_row_lengths(batch.history, batch.history_lengths, validate=False),
                "targets": tf.RaggedTensor.from_row_lengths(batch.targets, batch.target_lengths, validate=False),
                "periods": batch.periods,
            }

    ragged = tf.RaggedTensorSpec((None, None), tf.int32, row_splits_dtype=tf.int64)
    signature = {"history": ragged, "targets": ragged, "periods": tf.TensorSpec((None,), tf.int32)}
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(1)
