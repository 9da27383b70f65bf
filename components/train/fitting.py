"""Fitting: the towers by gradient steps, the links in closed form, and the choice of how much of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from components.evaluate.ease import MAX_GAMES, REGULARISATIONS, cooccurrences, ease
from components.predict.links import Links
from components.predict.recommender import Recommender, Towers
from components.shared.console import progress
from components.shared.errors import UserError
from components.train.corpus import Corpus
from components.train.model import Config, TwoTowerModel, genre_shares

Quality = Callable[[Recommender], float]
"""NDCG@10 on the validation rows."""

LINK_WEIGHTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


@dataclass(frozen=True)
class Trial:
    """One fit of the search: its scale, the mean loss of each of its epochs, and what the ranking came to."""

    scale: float
    losses: tuple[float, ...]
    ndcg_at_10: float


@dataclass(frozen=True)
class Choice:
    """What did best on the validation rows, and every fit on the way to it.

    Attributes:
        scale: what the cosine is multiplied by.
        link_weight: what the links are multiplied by; 0 leaves them out.
        link_regularisation: EASE's λ.
        ndcg_at_10: what it came to.
        trials: in their order.
    """

    scale: float
    link_weight: float
    link_regularisation: float
    ndcg_at_10: float
    trials: tuple[Trial, ...]


def choose(corpus: Corpus, quality: Quality, config: Config, seed: int) -> Choice:
    """Choose the scale and the links by the metric that the gate decides on.

    The scale is the capacity: on dense data much of it pays, on sparse data little. It is doubled for as long as that
    brings a better ranking; then one half-way to the next is tried, unless the least was best. With the capacity
    bounded so, the number of steps needs no choice: more of them change little once the rate has come down.

    Raises:
        UserError: the loss is not finite.
    """
    trials: list[Trial] = []

    def tried(scale: float) -> _Fitted:
        at_scale = replace(config, scale=scale)
        losses, towers = _fit(corpus, at_scale, seed)
        figure = quality(recommender(corpus, towers, Links.none(len(corpus.game_ids)), at_scale))
        trials.append(Trial(scale, losses, figure))
        progress("train", f"scale {scale:g}: loss {losses[-1]:.4f}, validation NDCG@10 {figure:.4f}")
        return _Fitted(figure, scale, towers)

    best = tried(config.scale)
    while (candidate := tried(2 * best.scale)).figure > best.figure:
        best = candidate
    if best.scale > config.scale:
        best = max(best, tried(1.5 * best.scale), key=lambda fitted: fitted.figure)
    links = _choose_links(corpus, quality, replace(config, scale=best.scale), best)
    return Choice(best.scale, *links, tuple(trials))


class _Fitted(NamedTuple):
    figure: float
    scale: float
    towers: Towers


def _choose_links(corpus: Corpus, quality: Quality, config: Config, fitted: _Fitted) -> tuple[float, float, float]:
    """The best weight of the links beside the towers and their regularisation, and what the ranking comes to."""
    best = (0.0, config.link_regularisation, fitted.figure)
    if len(corpus.game_ids) > MAX_GAMES:
        return best
    counts = cooccurrences(corpus.histories, len(corpus.game_ids))
    for regularisation in REGULARISATIONS:
        links = Links.strongest(ease(counts, regularisation), config.links_per_game)
        for weight in LINK_WEIGHTS:
            figure = quality(recommender(corpus, fitted.towers, links.times(weight), config))
            best = max(best, (weight, regularisation, figure), key=lambda found: found[2])
        progress("train", f"links, λ = {regularisation:g} tried: validation NDCG@10 {best[2]:.4f} at best")
    return best


def fit(corpus: Corpus, config: Config, seed: int) -> Towers:
    """Train; the towers.

    Raises:
        UserError: the loss is not finite.
    """
    losses, towers = _fit(corpus, config, seed)
    progress("train", f"final fit: loss {losses[-1]:.4f} after {len(losses)} epochs")
    return towers


def recommender(corpus: Corpus, towers: Towers, links: Links, config: Config, version: str = "") -> Recommender:
    """Towers and links as they answer without TensorFlow."""
    constants = (config.scale, config.popularity_weight, config.popularity_smoothing)
    return Recommender(version, corpus.game_ids, corpus.genre_names, towers, links, *constants)


def links_of(corpus: Corpus, config: Config) -> Links:
    """The links between the games of a corpus: EASE's strongest weights; none where there are too many games for it."""
    n_games = len(corpus.game_ids)
    if n_games > MAX_GAMES or not config.link_weight:
        return Links.none(n_games)
    weights = ease(cooccurrences(corpus.histories, n_games), config.link_regularisation)
    return Links.strongest(weights, config.links_per_game).times(config.link_weight)


def _fit(corpus: Corpus, config: Config, seed: int) -> tuple[tuple[float, ...], Towers]:
    """Each epoch's mean loss, and the towers; equal seeds give equal weights, bit for bit."""
    tf.keras.utils.set_random_seed(seed)
    shares = genre_shares(corpus.genre_offsets, corpus.genre_rows, len(corpus.genre_names))
    model = TwoTowerModel(shares, config.dimensions, config.scale, corpus.popularity_offsets)
    epochs = corpus.epochs(config)
    steps = epochs * corpus.steps_per_epoch(config)
    rate = tf.keras.optimizers.schedules.PolynomialDecay(config.learning_rate, steps, config.learning_rate / 100)
    model.compile(optimizer=tf.keras.optimizers.Adam(rate))
    watch = _LossWatch()
    batches = _dataset(corpus, config, np.random.default_rng(seed))
    model.fit(batches, epochs=epochs, verbose=0, callbacks=[watch])
    return tuple(watch.means), model.towers()


class _LossWatch(tf.keras.callbacks.Callback):
    """Averages each epoch's loss, which TFRS reports for the last step only, and stops at one that is not finite."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0
        self.losses: list[float] = []
        self.means: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.means.append(sum(self.losses) / len(self.losses))
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
                "weights": batch.weights,
                "row_users": batch.row_users,
                "row_periods": batch.row_periods,
            }

    ragged = tf.RaggedTensorSpec((None, None), tf.int32, row_splits_dtype=tf.int64)
    rows = tf.TensorSpec((None,), tf.int32)
    signature = {
        "history": ragged,
        "targets": ragged,
        "weights": tf.TensorSpec((None,), tf.float32),
        "row_users": rows,
        "row_periods": rows,
    }
    return tf.data.Dataset.from_generator(batches, output_signature=signature).prefetch(1)
