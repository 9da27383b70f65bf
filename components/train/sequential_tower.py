"""The sequential tower in TensorFlow Recommenders: attention over the last games that a user likes.

`steam_recsys.model.sequential` describes the tower and computes the same vectors in NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from components.train.tensorflow_runtime import tf, tfrs
from steam_recsys.arrays import Float32Array
from steam_recsys.model.sequential import EPSILON, SequentialTower

NEVER = np.float32(-1e9)
"""Added to logits of games that must not count."""


@dataclass(frozen=True, kw_only=True)
class SequenceConfig:
    """Hyperparameters of the sequential tower.

    Attributes:
        weight: Factor of the tower's score, tuned in training; 0 for no tower.
        share: Share of the schedule's steps after which the fit stops, tuned in training.
        dimensions: Width of the vectors.
        blocks: Number of attention blocks.
        heads: Number of heads per block.
        length: Number of games of a history that the tower reads, the last ones.
        scale: Factor of the cosine, the inverse of the softmax temperature.
        dropout: Share of the activations that dropout sets to zero in a training step.
        learning_rate: Initial learning rate of Adam; it decreases to a hundredth of that over the schedule.
        batch_targets: Number of next games per step.
        epochs: Number of epochs of the schedule.
        max_targets: Largest number of next games in the schedule; larger data have fewer epochs.
        full_softmax_games: Largest catalogue for which the softmax covers all games.
        negatives: Number of negatives drawn for a larger catalogue.
    """

    weight: float = 0.0
    share: float = 1.0
    dimensions: int = 64
    blocks: int = 2
    heads: int = 2
    length: int = 50
    scale: float = 6.0
    dropout: float = 0.2
    learning_rate: float = 0.01
    batch_targets: int = 1_024
    epochs: int = 20
    max_targets: int = 3_000_000
    full_softmax_games: int = 4_000
    negatives: int = 1_024


def initial_tower(n_games: int, config: SequenceConfig, random: np.random.Generator) -> SequentialTower:
    """Draw initial weights for a catalogue of `n_games`.

    Weights that are multiplied by a vector have a standard deviation of 1 / √(its width), and the games' vectors one of
    1 / √d. Biases, shifts and distances are zero, scales are one.
    """
    blocks, d, hidden = config.blocks, config.dimensions, config.dimensions

    def normal(*shape: int) -> Float32Array:
        drawn: Float32Array = (random.standard_normal(shape) * shape[-2] ** -0.5).astype(np.float32)
        return drawn

    def zeros(*shape: int) -> Float32Array:
        return np.zeros(shape, dtype=np.float32)

    norm = np.stack([np.ones(d, np.float32), np.zeros(d, np.float32)])
    return SequentialTower(
        games=(random.standard_normal((n_games, d)) * d**-0.5).astype(np.float32),
        distances=zeros(blocks, config.heads, config.length),
        attention_norm=np.tile(norm, (blocks, 1, 1)),
        attention_input=normal(blocks, d, 3 * d),
        attention_output=normal(blocks, d, d),
        forward_norm=np.tile(norm, (blocks, 1, 1)),
        forward_input=normal(blocks, d, hidden),
        forward_input_bias=zeros(blocks, hidden),
        forward_output=normal(blocks, hidden, d),
        forward_output_bias=zeros(blocks, d),
        output_norm=norm,
    )


class SequentialEncoder(tf.Module):
    """The weights of a `SequentialTower` as variables, and the vectors after each game of a sequence."""

    def __init__(self, tower: SequentialTower, *, trainable: bool) -> None:
        super().__init__(name="sequential_tower")
        self.tables = {
            name: tf.Variable(array, trainable=trainable, name=name) for name, array in tower.arrays().items()
        }

    def tower(self) -> SequentialTower:
        """Return the weights as plain arrays."""
        return SequentialTower(**{name: table.numpy() for name, table in self.tables.items()})

    def encode(self, games: tf.Tensor, dropout: Dropout | None = None) -> tf.Tensor:
        """Compute the user vector after each game of some sequences.

        Args:
            games: Rows of the games, int32 [B, n], n at most L. Shorter sequences are padded at the end; padding does
                not change the vectors before it.
            dropout: Dropout in training; None in serving.

        Returns:
            float32 [B, n, d], of length one.
        """
        tables, drop = self.tables, dropout or _keep
        blocks, heads, _ = tables["distances"].shape
        width = tables["games"].shape[1]
        shape = tf.shape(games)
        positions = tf.range(shape[1])
        distances = positions[:, None] - positions
        later = tf.where(distances < 0, NEVER, np.float32(0))
        x = drop(tf.gather(tables["games"], games) * np.float32(width**0.5))
        for block in range(blocks):
            y = _layer_norm(x, tables["attention_norm"][block])
            parts = tf.reshape(
                tf.tensordot(y, tables["attention_input"][block], 1), [shape[0], shape[1], 3, heads, width // heads]
            )
            queries, keys, values = tf.unstack(tf.transpose(parts, [2, 0, 3, 1, 4]))
            logits = tf.matmul(queries, keys, transpose_b=True) / np.float32((width // heads) ** 0.5)
            logits += tf.gather(tables["distances"][block], tf.maximum(distances, 0), axis=1) + later
            attended = tf.transpose(tf.matmul(drop(tf.nn.softmax(logits)), values), [0, 2, 1, 3])
            attended = tf.reshape(attended, [shape[0], shape[1], width])
            x += drop(tf.tensordot(attended, tables["attention_output"][block], 1))
            y = _layer_norm(x, tables["forward_norm"][block])
            y = tf.tensordot(y, tables["forward_input"][block], 1) + tables["forward_input_bias"][block]
            y = tf.tensordot(drop(tf.nn.relu(y)), tables["forward_output"][block], 1)
            x += drop(y + tables["forward_output_bias"][block])
        return tf.math.l2_normalize(_layer_norm(x, tables["output_norm"]), axis=-1)


class ServingSequence(tf.Module):
    """A `SequentialTower` in a SavedModel."""

    def __init__(self, tower: SequentialTower) -> None:
        super().__init__(name="sequence")
        self.encoder = SequentialEncoder(tower, trainable=False)
        self.known = tf.Variable(tower.known, trainable=False)
        self.length = tower.length

    def queries(self, history: tf.RaggedTensor) -> tf.Tensor:
        """Compute user vectors like `SequentialTower.queries`, float32 [B, d].

        Args:
            history: Rows of the games that the users like, in the order of time, int32 [B, (games)].
        """
        history = tf.ragged.boolean_mask(history, history.with_values(tf.gather(self.known, history.values)))
        history = history[:, -self.length :]
        lengths = history.row_lengths()
        rows = history.to_tensor()
        rows = tf.pad(rows, [[0, 0], [0, tf.cast(tf.shape(rows)[1] == 0, tf.int32)]])
        vectors = tf.gather(self.encoder.encode(rows), tf.maximum(lengths - 1, 0), batch_dims=1)
        return vectors * tf.cast(lengths > 0, tf.float32)[:, None]


class Dropout:
    """Sets a share of the activations to zero; the random numbers depend on the seed, the step and the call only."""

    def __init__(self, share: float, seed: int, step: tf.Tensor) -> None:
        self._share, self._seed, self._step = share, seed, step
        self._calls = 0

    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        """Apply dropout; each call of a step draws other random numbers."""
        self._calls += 1
        numbers = tf.stack([tf.cast(self._seed, tf.int64), 64 * tf.cast(self._step, tf.int64) + self._calls])
        return tf.nn.experimental.stateless_dropout(x, self._share, numbers)


class SequentialModel(tfrs.Model):
    """Predicts the next game of a sequence: the cosine times a scale, plus the popularity prior at its time.

    With sampled negatives, the softmax is over the next game and an estimate of all others (the advantage of many
    negatives over one: Petrov and Macdonald 2023, "gSASRec: Reducing Overconfidence in Sequential Recommendation
    Trained with Negative Sampling", section 4).
    """

    def __init__(
        self, tower: SequentialTower, popularity_priors: Float32Array, config: SequenceConfig, seed: int
    ) -> None:
        """Build the model.

        Args:
            tower: Initial weights.
            popularity_priors: float32 [P, V], what each game's popularity adds to its score in each period.
            config: Hyperparameters.
            seed: Random seed of dropout.
        """
        super().__init__()
        self.encoder = SequentialEncoder(tower, trainable=True)
        self.priors = tf.constant(popularity_priors)
        self.config, self.seed = config, seed

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> tf.Tensor:
        """Compute the mean of -log p over the next games.

        Args:
            inputs: The arrays of `Windows.batch`, and `step`, int64, the number of the step. For a sampled softmax
                also `negatives`, int32 [S], and `corrections`, float32 [S], see `training_data.Negatives`.
            training: Whether to apply dropout.
        """
        config = self.config
        dropout = Dropout(config.dropout, self.seed, inputs["step"]) if training and config.dropout else None
        vectors = tf.reshape(self.encoder.encode(inputs["games"], dropout), [-1, config.dimensions])
        queries = config.scale * tf.gather(vectors, inputs["indices"])
        games, targets, periods = self.encoder.tables["games"], inputs["targets"], inputs["periods"]
        if "negatives" not in inputs:
            scores = tf.matmul(queries, tf.math.l2_normalize(games, axis=1), transpose_b=True)
            scores += tf.gather(self.priors, periods)
            return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, scores))
        negatives = inputs["negatives"]
        scores = tf.matmul(queries, tf.math.l2_normalize(tf.gather(games, negatives), axis=1), transpose_b=True)
        scores += tf.gather(tf.gather(self.priors, negatives, axis=1) + inputs["corrections"], periods)
        scores = tf.where(targets[:, None] == negatives, NEVER, scores)
        wanted = tf.reduce_sum(queries * tf.math.l2_normalize(tf.gather(games, targets), axis=1), axis=1)
        wanted += tf.gather_nd(self.priors, tf.stack([periods, targets], axis=1))
        return tf.reduce_mean(tf.math.softplus(tf.reduce_logsumexp(scores, axis=1) - wanted))


def _keep(x: tf.Tensor) -> tf.Tensor:
    return x


def _layer_norm(x: tf.Tensor, norm: tf.Tensor) -> tf.Tensor:
    """Scale each vector to mean 0 and variance 1, then apply a scale and a shift, float32 [2, d]."""
    x -= tf.reduce_mean(x, axis=-1, keepdims=True)
    return x * tf.math.rsqrt(tf.reduce_mean(x * x, axis=-1, keepdims=True) + EPSILON) * norm[0] + norm[1]
