"""The two-tower model in TensorFlow Recommenders, trained under a softmax over the catalogue or a sample of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from steam_recsys.arrays import Float32Array
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.two_tower import AttributeTable, Towers


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
        choice_users: the most users whose rankings are looked at in choosing.
        full_softmax_games: the largest catalogue that the softmax is taken over whole.
        negatives: draws that it is taken over for a larger one.
    """

    dimensions: int = 64
    scale: float = 0.5
    link_weight: float = 0.0
    link_regularisation: float = 300.0
    links_per_game: int = 100
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
    trial_steps: int = 500
    choice_users: int = 20_000
    full_softmax_games: int = 20_000
    negatives: int = 4_096

    @classmethod
    def read(cls, values: dict[str, Any]) -> Config:
        """The opposite of `dataclasses.asdict`."""
        return cls(**{**values, "history_weights": HistoryWeights(**values["history_weights"])})


class ItemVectors(tf.keras.layers.Layer):
    """A vector for each game of the vocabulary: one of its own plus those of its attributes."""

    def __init__(self, attributes: AttributeTable, n_attributes: int, dimensions: int, **named: Any) -> None:
        super().__init__(**named)
        n_games = len(attributes.offsets) - 1
        owners = np.repeat(np.arange(n_games), np.diff(attributes.offsets))
        places = np.stack([owners, attributes.rows], axis=1)
        self.shares = tf.sparse.reorder(tf.SparseTensor(places, attributes.weights, (n_games, n_attributes)))
        self.ends = tf.constant(attributes.offsets)
        # A game starts as its attributes: its own vector grows with what its reviews say beyond them.
        own, shared = (tf.keras.initializers.RandomNormal(stddev=size * dimensions**-0.5) for size in (0.1, 1.0))
        self.games = self.add_weight("games", (n_games, dimensions), initializer=own)
        self.attributes = self.add_weight("attributes", (n_attributes, dimensions), initializer=shared)

    def call(self, known_ids: tf.Tensor, games: tf.Tensor | None = None) -> tf.Tensor:
        """The vectors of some games, float32 [G, d], or of all.

        Args:
            known_ids: float32 [V], 0 for games that are seen as new ones.
            games: int32 [G], distinct rows of the vocabulary; all where left out.
        """
        if games is None:
            return self.games * known_ids[:, None] + tf.sparse.sparse_dense_matmul(self.shares, self.attributes)
        places = tf.ragged.range(tf.gather(self.ends, games), tf.gather(self.ends, games + 1))
        columns = tf.gather(self.shares.indices[:, 1], places.values)
        shares = tf.SparseTensor(
            tf.stack([places.value_rowids(), columns], axis=1),
            tf.gather(self.shares.values, places.values),
            tf.stack([tf.size(games, tf.int64), self.shares.dense_shape[1]]),
        )
        own = tf.gather(self.games, games) * tf.gather(known_ids, games)[:, None]
        return own + tf.sparse.sparse_dense_matmul(shares, self.attributes)


class QueryTower(tf.keras.Model):
    """History → float32 [B, d] of length one, zero where the history is empty."""

    def __init__(self, attributes: AttributeTable, n_attributes: int, dimensions: int) -> None:
        super().__init__()
        self.items = ItemVectors(attributes, n_attributes, dimensions, name="history")

    def call(self, inputs: dict[str, Any]) -> tf.Tensor:
        """`history` holds rows of the vocabulary, int32 [B, (games)]; `known_ids` as `ItemVectors` takes them."""
        games, places = tf.unique(inputs["history"].values)
        return pooled(self.items(inputs["known_ids"], games), inputs["history"].with_values(places))


class CandidateTower(tf.keras.Model):
    """Games of the vocabulary as candidates → float32 [G, d] of length one."""

    def __init__(self, attributes: AttributeTable, n_attributes: int, dimensions: int) -> None:
        super().__init__()
        self.items = ItemVectors(attributes, n_attributes, dimensions, name="candidate")

    def call(self, known_ids: tf.Tensor, games: tf.Tensor | None = None) -> tf.Tensor:
        """The vectors of some games, or of all, as `ItemVectors` has them."""
        return tf.math.l2_normalize(self.items(known_ids, games), axis=1)


class FullSoftmaxRetrieval(tf.keras.layers.Layer, tfrs.tasks.Task):
    """Retrieval under a softmax over all candidates; `tfrs.tasks.Retrieval` has negatives from the batch only."""

    def call(
        self, queries: tf.Tensor, candidates: CandidateTower, offsets: tf.Tensor, inputs: dict[str, Any]
    ) -> tf.Tensor:
        """The weighted sum of -log p over all targets.

        Args:
            queries: float32 [B, d].
            candidates: the tower.
            offsets: float32 [P, V], added to the candidates' scores in each period.
            inputs: of a `Batch`.
        """
        everything = candidates(inputs["known_ids"])
        found = _scores(queries, tf.gather(everything, inputs["targets"].values), offsets, inputs)
        return _loss(found, _sums(queries, everything, offsets, inputs), inputs)


class SampledSoftmaxRetrieval(tf.keras.layers.Layer, tfrs.tasks.Task):
    """The same, where the sum over all candidates is that over a row's targets and an estimate from the negatives."""

    def call(
        self, queries: tf.Tensor, candidates: CandidateTower, offsets: tf.Tensor, inputs: dict[str, Any]
    ) -> tf.Tensor:
        """As `FullSoftmaxRetrieval.call`."""
        targets, n_negatives = inputs["targets"], tf.size(inputs["negatives"])
        games, places = tf.unique(tf.concat([inputs["negatives"], targets.values], axis=0))
        vectors = candidates(inputs["known_ids"], games)
        negatives = vectors[:n_negatives]  # distinct as they are, they come first and in their order
        biases = tf.gather(offsets, inputs["negatives"], axis=1) + inputs["corrections"]
        found = _scores(queries, tf.gather(vectors, places[n_negatives:]), offsets, inputs)
        sums = _sums(queries, negatives, biases, inputs)
        sums += tf.math.segment_sum(tf.exp(found), targets.value_rowids())
        return _loss(found, sums - _counted_twice(queries, negatives, biases, inputs), inputs)


def _scores(queries: tf.Tensor, targets: tf.Tensor, offsets: tf.Tensor, inputs: dict[str, Any]) -> tf.Tensor:
    """The targets' scores, float32 [T], from their vectors, float32 [T, d]."""
    rows = inputs["targets"].value_rowids()
    cosines = tf.reduce_sum(tf.gather(queries, tf.gather(inputs["row_users"], rows)) * targets, axis=1)
    places = tf.stack([tf.gather(inputs["row_periods"], rows), inputs["targets"].values], axis=1)
    return cosines + tf.gather_nd(offsets, places)


def _sums(queries: tf.Tensor, candidates: tf.Tensor, biases: tf.Tensor, inputs: dict[str, Any]) -> tf.Tensor:
    """For each row the sum of the exponentials of the candidates' scores, float32 [R]; `biases` is [P, candidates].

    exp(cosine + bias) is a product, so the sums of all users in all periods are one product of matrices, and what is as
    wide as the catalogue has a row a user, not one for each of the user's periods. The exponentials need no shift: the
    cosines are at most the scale.
    """
    periods, columns = tf.unique(inputs["row_periods"])
    exponentials = tf.exp(tf.matmul(queries, candidates, transpose_b=True))
    sums = tf.matmul(exponentials, tf.exp(tf.gather(biases, periods)), transpose_b=True)
    return tf.gather_nd(sums, tf.stack([inputs["row_users"], columns], axis=1))


def _counted_twice(queries: tf.Tensor, negatives: tf.Tensor, biases: tf.Tensor, inputs: dict[str, Any]) -> tf.Tensor:
    """For each row the part of the negatives' sum that its own targets make up, float32 [R]."""
    rows, columns = tf.unstack(inputs["hits"], axis=1)
    cosines = tf.reduce_sum(
        tf.gather(queries, tf.gather(inputs["row_users"], rows)) * tf.gather(negatives, columns), axis=1
    )
    periods = tf.cast(tf.gather(inputs["row_periods"], rows), tf.int64)
    parts = tf.exp(cosines + tf.gather_nd(biases, tf.stack([periods, columns], axis=1)))
    return tf.math.unsorted_segment_sum(parts, rows, tf.size(inputs["row_users"]))


def _loss(found: tf.Tensor, sums: tf.Tensor, inputs: dict[str, Any]) -> tf.Tensor:
    rows = inputs["targets"].value_rowids()
    return tf.reduce_sum(tf.gather(inputs["weights"], rows) * (tf.gather(tf.math.log(sums), rows) - found))


class TwoTowerModel(tfrs.Model):
    """Cosine of the two towers times a scale, plus an offset for the games' popularity at the target's time.

    The offset keeps what everybody plays in a period out of the towers, so that they learn what sets users apart.
    """

    def __init__(
        self,
        attributes: AttributeTable,
        n_attributes: int,
        popularity_offsets: Float32Array,
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
        queries = self.scale * self.query_tower(inputs)
        return self.task(queries, self.candidate_tower, self.popularity_offsets, inputs)

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
