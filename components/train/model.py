"""The two-tower model in TensorFlow Recommenders, trained under a full softmax."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from components.predict.recommender import Towers
from components.shared.interactions import Floats, Longs


@dataclass(frozen=True)
class Config:
    """What the model is made of; the values were chosen on validation rows of public data, see benchmarks/README.md.

    Attributes:
        dimensions: width of the vectors.
        scale: what the cosine is multiplied by, the inverse temperature: the capacity control that matters. The least
            one tried; training doubles it for as long as that improves the ranking of the validation rows.
        link_weight: what the links are multiplied by; chosen in training, none where it is 0.
        link_regularisation: EASE's λ; chosen in training.
        links_per_game: the strongest that are kept.
        popularity_weight: weight of the log of the popularity share in the score.
        popularity_smoothing: reviews added to each game's decayed number before the share is taken.
        period_days: how long one popularity offset serves in training.
        history_dropout: share of the histories' games that a training step does not see.
        learning_rate: Adam's at the start; it comes down to a hundredth of that.
        batch_users: the most users a step; fewer where that would leave an epoch with few steps.
        min_steps_per_epoch: steps that an epoch has at the least, as far as 16 users a step allow.
        min_steps: steps that training takes at the least; two epochs where those are more.
    """

    dimensions: int = 64
    scale: float = 0.5
    link_weight: float = 0.0
    link_regularisation: float = 300.0
    links_per_game: int = 100
    popularity_weight: float = 1.0
    popularity_smoothing: float = 1.0
    period_days: int = 30
    history_dropout: float = 0.5
    learning_rate: float = 0.01
    batch_users: int = 256
    min_steps_per_epoch: int = 32
    min_steps: int = 480


class ItemVectors(tf.keras.layers.Layer):
    """A vector for each game of the vocabulary: one of its own plus the mean of its genres'. Called, it is [V, d]."""

    def __init__(self, shares: Floats, dimensions: int, **named: Any) -> None:
        super().__init__(**named)
        n_games, n_genres = shares.shape
        self.shares = tf.constant(shares)
        # A game starts as its genres: its own vector grows with what its reviews say beyond them.
        self.games = self.add_weight("games", (n_games, dimensions), initializer=_normal(0.1 * dimensions**-0.5))
        self.genres = self.add_weight("genres", (n_genres, dimensions), initializer=_normal(dimensions**-0.5))

    def call(self, _inputs: Any = None) -> tf.Tensor:
        """All vectors, float32 [V, d]."""
        return self.games + tf.matmul(self.shares, self.genres)


class QueryTower(tf.keras.Model):
    """History → float32 [B, d] of length one, zero where the history is empty."""

    def __init__(self, shares: Floats, dimensions: int) -> None:
        super().__init__()
        self.items = ItemVectors(shares, dimensions, name="history")

    def call(self, history: tf.RaggedTensor) -> tf.Tensor:
        """`history` holds rows of the vocabulary, int32 [B, (games)]."""
        return pooled(self.items(()), history)


class CandidateTower(tf.keras.Model):
    """Every game of the vocabulary as a candidate → float32 [V, d] of length one."""

    def __init__(self, shares: Floats, dimensions: int) -> None:
        super().__init__()
        self.items = ItemVectors(shares, dimensions, name="candidate")

    def call(self, inputs: Any = None) -> tf.Tensor:
        """All vectors; there is nothing to choose from in `inputs`."""
        return tf.math.l2_normalize(self.items(inputs), axis=1)


class FullSoftmaxRetrieval(tf.keras.layers.Layer, tfrs.tasks.Task):
    """Retrieval under a softmax over all candidates; `tfrs.tasks.Retrieval` has negatives from the batch only."""

    def call(self, logits: tf.Tensor, targets: tf.RaggedTensor, weights: tf.Tensor) -> tf.Tensor:
        """The weighted sum of -log p over all targets.

        Args:
            logits: float32 [R, V].
            targets: int32 [R, (games)], rows of the vocabulary.
            weights: float32 [R].
        """
        rows = tf.cast(targets.value_rowids(), tf.int32)
        found = tf.gather_nd(logits, tf.stack([rows, targets.values], axis=1))
        return tf.reduce_sum(tf.gather(weights, rows) * (tf.gather(tf.reduce_logsumexp(logits, axis=1), rows) - found))


class TwoTowerModel(tfrs.Model):
    """Cosine of the two towers times a scale, plus an offset for the games' popularity at the target's time.

    The offset keeps what everybody plays in a period out of the towers, so that they learn what sets users apart.
    """

    def __init__(self, shares: Floats, dimensions: int, scale: float, popularity_offsets: Floats) -> None:
        """Set the towers up.

        Args:
            shares: float32 [V, G], as `genre_shares` makes it.
            dimensions: width of the vectors.
            scale: what the cosine is multiplied by.
            popularity_offsets: float32 [P, V], what each game's popularity adds to its score in each period.
        """
        super().__init__()
        self.scale = scale
        self.query_tower = QueryTower(shares, dimensions)
        self.candidate_tower = CandidateTower(shares, dimensions)
        self.task = FullSoftmaxRetrieval()
        self.popularity_offsets = tf.constant(popularity_offsets)

    def call(self, inputs: dict[str, Any]) -> tf.Tensor:
        """Every game's score for each row of a `Batch`, without its popularity: float32 [R, V]."""
        # Not the scores are gathered but the queries: what flows back through a gathering costs as much as it is wide.
        queries = tf.gather(self.scale * self.query_tower(inputs["history"]), inputs["row_users"])
        return tf.matmul(queries, self.candidate_tower(()), transpose_b=True)

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> tf.Tensor:
        """The mean loss of a batch's users, as `Batch` describes them."""
        logits = self(inputs)
        offsets = tf.gather(self.popularity_offsets, inputs["row_periods"])
        loss = self.task(logits + offsets, inputs["targets"], inputs["weights"])
        return loss / tf.cast(inputs["history"].nrows(), tf.float32)

    def towers(self) -> Towers:
        """The weights as plain arrays."""
        history, candidate = self.query_tower.items, self.candidate_tower.items
        return Towers(history.games.numpy(), history.genres.numpy(), candidate.games.numpy(), candidate.genres.numpy())


def pooled(vectors: tf.Tensor, history: tf.RaggedTensor) -> tf.Tensor:
    """The sum of each history's vectors at length one, float32 [B, d]; zero for an empty history."""
    picked = tf.gather(vectors, history.values)
    sums = tf.math.unsorted_segment_sum(picked, history.value_rowids(), history.nrows())
    return tf.math.l2_normalize(sums, axis=1)


def genre_shares(offsets: Longs, genres: Longs, n_genres: int) -> Floats:
    """The matrix that takes the mean of each game's genre vectors, float32 [V, G], from CSR offsets and genre rows.

    Dense: TensorFlow's product with a sparse matrix is slower on a CPU at a dozen of some hundred genres a game, and
    the dense one costs no more than the logits do, as long as there are no more genres than users in a batch.
    """
    lengths = np.diff(offsets)
    shares = np.zeros((len(lengths), n_genres), dtype=np.float32)
    shares[np.repeat(np.arange(len(lengths)), lengths), genres] = np.repeat(1 / np.maximum(lengths, 1), lengths)
    return shares


def _normal(deviation: float) -> tf.keras.initializers.Initializer:
    return tf.keras.initializers.RandomNormal(stddev=deviation)
