"""The two-tower model in TensorFlow Recommenders, trained under a softmax over the catalogue or a sample of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from components.predict.query import HistoryWeights
from components.predict.recommender import AttributeTable, Towers
from components.shared.interactions import Floats


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
        history_weights: how much each game of a history counts in serving; chosen in training.
        history_dropout: share of the histories' games that a training step does not see.
        id_dropout: share of the games that a training step sees by their attributes alone, as it sees new ones.
        learning_rate: Adam's at the start; it comes down to a hundredth of that.
        batch_users: the most users a step; fewer where that would leave an epoch with few steps.
        min_steps_per_epoch: steps that an epoch has at the least, as far as 16 users a step allow.
        max_steps_per_epoch: steps that an epoch has at the most: the more users, the more a step.
        min_steps: steps that training takes at the least.
        epochs: that training takes at the least.
        trial_steps: steps that the fits take at the most that the scale is chosen by.
        full_softmax_games: the largest catalogue that the softmax is taken over whole.
        negatives: draws that it is taken over for a larger one.
    """

    dimensions: int = 64
    scale: float = 0.5
    link_weight: float = 0.0
    link_regularisation: float = 300.0
    links_per_game: int = 100
    popularity_weight: float = 1.0
    popularity_smoothing: float = 1.0
    period_days: int = 30
    history_weights: HistoryWeights = field(default_factory=HistoryWeights)
    history_dropout: float = 0.5
    id_dropout: float = 0.1
    learning_rate: float = 0.01
    batch_users: int = 256
    min_steps_per_epoch: int = 32
    max_steps_per_epoch: int = 2_000
    min_steps: int = 480
    epochs: int = 2
    trial_steps: int = 2_000
    full_softmax_games: int = 20_000
    negatives: int = 8_192

    @classmethod
    def read(cls, values: dict[str, Any]) -> Config:
        """The opposite of `dataclasses.asdict`."""
        return cls(**{**values, "history_weights": HistoryWeights(**values["history_weights"])})


class ItemVectors(tf.keras.layers.Layer):
    """A vector for each game of the vocabulary: one of its own plus those of its attributes. Called, it is [V, d]."""

    def __init__(self, attributes: AttributeTable, n_attributes: int, dimensions: int, **named: Any) -> None:
        super().__init__(**named)
        n_games = len(attributes.offsets) - 1
        games = np.repeat(np.arange(n_games), np.diff(attributes.offsets))
        places = np.stack([games, attributes.rows], axis=1)
        self.shares = tf.sparse.reorder(tf.SparseTensor(places, attributes.weights, (n_games, n_attributes)))
        # A game starts as its attributes: its own vector grows with what its reviews say beyond them.
        own, shared = (tf.keras.initializers.RandomNormal(stddev=size * dimensions**-0.5) for size in (0.1, 1.0))
        self.games = self.add_weight("games", (n_games, dimensions), initializer=own)
        self.attributes = self.add_weight("attributes", (n_attributes, dimensions), initializer=shared)

    def call(self, known_ids: tf.Tensor) -> tf.Tensor:
        """All vectors, float32 [V, d]; `known_ids` is float32 [V], 0 for games that are seen as new ones."""
        return self.games * known_ids[:, None] + tf.sparse.sparse_dense_matmul(self.shares, self.attributes)


class QueryTower(tf.keras.Model):
    """History → float32 [B, d] of length one, zero where the history is empty."""

    def __init__(self, attributes: AttributeTable, n_attributes: int, dimensions: int) -> None:
        super().__init__()
        self.items = ItemVectors(attributes, n_attributes, dimensions, name="history")

    def call(self, inputs: dict[str, Any]) -> tf.Tensor:
        """`history` holds rows of the vocabulary, int32 [B, (games)]; `known_ids` as `ItemVectors` takes them."""
        return pooled(self.items(inputs["known_ids"]), inputs["history"])


class CandidateTower(tf.keras.Model):
    """Every game of the vocabulary as a candidate → float32 [V, d] of length one."""

    def __init__(self, attributes: AttributeTable, n_attributes: int, dimensions: int) -> None:
        super().__init__()
        self.items = ItemVectors(attributes, n_attributes, dimensions, name="candidate")

    def call(self, known_ids: tf.Tensor) -> tf.Tensor:
        """All vectors, as `ItemVectors` has them."""
        return tf.math.l2_normalize(self.items(known_ids), axis=1)


class FullSoftmaxRetrieval(tf.keras.layers.Layer, tfrs.tasks.Task):
    """Retrieval under a softmax over all candidates; `tfrs.tasks.Retrieval` has negatives from the batch only."""

    def call(self, queries: tf.Tensor, candidates: tf.Tensor, offsets: tf.Tensor, inputs: dict[str, Any]) -> tf.Tensor:
        """The weighted sum of -log p over all targets.

        Args:
            queries: float32 [R, d].
            candidates: float32 [V, d].
            offsets: float32 [P, V], added to the candidates' scores in each period.
            inputs: of a `Batch`.
        """
        targets = inputs["targets"]
        rows = tf.cast(targets.value_rowids(), tf.int32)
        logits = tf.matmul(queries, candidates, transpose_b=True) + tf.gather(offsets, inputs["row_periods"])
        found = tf.gather_nd(logits, tf.stack([rows, targets.values], axis=1))
        total = tf.reduce_logsumexp(logits, axis=1)
        return tf.reduce_sum(tf.gather(inputs["weights"], rows) * (tf.gather(total, rows) - found))


class SampledSoftmaxRetrieval(tf.keras.layers.Layer, tfrs.tasks.Task):
    """The same, where the sum over all candidates is that over a row's targets and an estimate from the negatives."""

    def call(self, queries: tf.Tensor, candidates: tf.Tensor, offsets: tf.Tensor, inputs: dict[str, Any]) -> tf.Tensor:
        """As `FullSoftmaxRetrieval.call`."""
        targets, negatives, periods = inputs["targets"], inputs["negatives"], inputs["row_periods"]
        rows = tf.cast(targets.value_rowids(), tf.int32)
        found = tf.reduce_sum(tf.gather(queries, rows) * tf.gather(candidates, targets.values), axis=1)
        found += tf.gather_nd(offsets, tf.stack([tf.gather(periods, rows), targets.values], axis=1))
        logits = tf.matmul(queries, tf.gather(candidates, negatives), transpose_b=True) + inputs["corrections"]
        logits += tf.gather(tf.gather(offsets, negatives, axis=1), periods)
        hits = inputs["hits"]
        logits = tf.tensor_scatter_nd_update(logits, hits, tf.fill([tf.shape(hits)[0]], logits.dtype.min))
        largest = tf.stop_gradient(tf.maximum(tf.reduce_max(logits, axis=1), tf.math.segment_max(found, rows)))
        among_targets = tf.math.segment_sum(tf.exp(found - tf.gather(largest, rows)), rows)
        among_negatives = tf.reduce_sum(tf.exp(logits - largest[:, None]), axis=1)
        total = largest + tf.math.log(among_targets + among_negatives)
        return tf.reduce_sum(tf.gather(inputs["weights"], rows) * (tf.gather(total, rows) - found))


class TwoTowerModel(tfrs.Model):
    """Cosine of the two towers times a scale, plus an offset for the games' popularity at the target's time.

    The offset keeps what everybody plays in a period out of the towers, so that they learn what sets users apart.
    """

    def __init__(
        self,
        attributes: AttributeTable,
        n_attributes: int,
        popularity_offsets: Floats,
        config: Config,
        *,
        sampled: bool,
    ) -> None:
        """Set the towers up.

        Args:
            attributes: of the V games.
            n_attributes: how many there are.
            popularity_offsets: float32 [P, V], what each game's popularity adds to its score in each period.
            config: of the model.
            sampled: whether batches have negatives, which stand for the catalogue.
        """
        super().__init__()
        self.scale = config.scale
        self.query_tower = QueryTower(attributes, n_attributes, config.dimensions)
        self.candidate_tower = CandidateTower(attributes, n_attributes, config.dimensions)
        self.task = SampledSoftmaxRetrieval() if sampled else FullSoftmaxRetrieval()
        self.popularity_offsets = tf.constant(popularity_offsets)

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> tf.Tensor:
        """The part of the step's mean loss over users that a `Batch` makes up."""
        # Not the scores are gathered but the queries: what flows back through a gathering costs as much as it is wide.
        queries = tf.gather(self.scale * self.query_tower(inputs), inputs["row_users"])
        candidates = self.candidate_tower(inputs["known_ids"])
        return self.task(queries, candidates, self.popularity_offsets, inputs)

    @property
    def tables(self) -> list[tf.Variable]:
        """The weights, in the order of the fields of `Towers`."""
        history, candidate = self.query_tower.items, self.candidate_tower.items
        return [history.games, history.attributes, candidate.games, candidate.attributes]

    def towers(self) -> Towers:
        """The weights as plain arrays."""
        return Towers(*(table.numpy() for table in self.tables))


def pooled(vectors: tf.Tensor, history: tf.RaggedTensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """The weighted sum of each history's vectors at length one, float32 [B, d]; zero for an empty history.

    In training all count alike: which weights serve best is chosen afterwards, on validation rows.
    """
    picked = tf.gather(vectors, history.values)
    if weights is not None:
        picked *= weights[:, None]
    sums = tf.math.unsorted_segment_sum(picked, history.value_rowids(), history.nrows())
    return tf.math.l2_normalize(sums, axis=1)
