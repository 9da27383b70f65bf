"""The two-tower model in TensorFlow Recommenders, trained with a softmax over the catalogue or a sample of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from components.train.sequential_tower import SequenceConfig
from components.train.tensorflow_runtime import tf, tfrs
from steam_recsys.arrays import Float32Array
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.two_tower import AttributeTable, Towers


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Hyperparameters. The defaults were tuned on validation data of public data sets, see benchmarks/README.md.

    Attributes:
        dimensions: Width of the vectors.
        scale: Factor of the cosine, the inverse of the softmax temperature; it controls capacity. This is the smallest
            value tried: training doubles it as long as the ranking of the validation data improves.
        popularity_weight: Factor of the popularity prior in the list of the most relevant games, tuned in training.
        interests_weight: The same in the lists of games of the user's taste, tuned in training.
        top_weight: Popularity above that of the tenth most popular game counts 1 + this times, tuned in training.
        regression_weight: Factor of the item-item weights by regression; 0 for none. Training tunes this field and
            those of the other kinds of item-item weights below.
        regression_dropout: Their dropout: 0 for EASE, more for DLAE.
        regression_regularisation: Their λ.
        regression_per_game: Number of them kept per game.
        neighbour_weight: Factor of the item-item weights by item-kNN; 0 for none.
        neighbour_exponent: Exponent of the recommended game's users in the asymmetric cosine.
        neighbours_per_game: Number of them kept per recommended game.
        next_weight: Factor of the item-item weights from the newest games to the next ones; 0 for none.
        next_recency: Exponent of the age of the newest games.
        next_regularisation: Their λ.
        next_per_game: Number of them kept per game.
        popularity_smoothing: Number of reviews added to each game's decayed popularity before shares are computed.
        period_days: Days that share one popularity offset in training.
        history_weights: How much each game of a history counts in serving, tuned in training.
        history_dropout: Share of the histories' games that a training step does not see.
        id_dropout: Share of the games that a training step sees by their attributes only, like new games.
        learning_rate: Initial learning rate of Adam; it decreases to a hundredth of that.
        batch_users: Largest number of users per step; it is lower if an epoch would have few steps.
        min_steps_per_epoch: Smallest number of steps per epoch, as long as a step has at least 16 users.
        max_steps_per_epoch: Largest number of steps per epoch; with more users, each step has more users.
        min_steps: Smallest number of steps of a fit.
        epochs: Smallest number of epochs of a fit.
        trial_steps: Largest number of steps of the fits that tune the scale.
        choice_users, choice_scores: Largest number of users whose rankings are measured in tuning, and of their scores,
            unless that would leave fewer than a twentieth of these users.
        full_softmax_games: Largest catalogue for which the softmax covers all games.
        negatives: Number of negatives drawn for a larger catalogue.
        sequence: Hyperparameters of the sequential tower.
    """

    dimensions: int = 64
    scale: float = 2.0
    popularity_weight: float = 1.0
    interests_weight: float = 0.3
    top_weight: float = 0.0
    regression_weight: float = 0.0
    regression_dropout: float = 0.0
    regression_regularisation: float = 300.0
    regression_per_game: int = 400
    neighbour_weight: float = 0.0
    neighbour_exponent: float = 0.5
    neighbours_per_game: int = 100
    next_weight: float = 0.0
    next_recency: float = 1.0
    next_regularisation: float = 300.0
    next_per_game: int = 100
    popularity_smoothing: float = 1.0
    period_days: int = 30
    history_weights: HistoryWeights = field(default_factory=HistoryWeights)
    history_dropout: float = 0.5
    id_dropout: float = 0.5
    learning_rate: float = 0.01
    batch_users: int = 256
    min_steps_per_epoch: int = 32
    max_steps_per_epoch: int = 2_000
    min_steps: int = 480
    epochs: int = 2
    trial_steps: int = 500
    choice_users: int = 20_000
    choice_scores: int = 40_000_000
    full_softmax_games: int = 20_000
    negatives: int = 4_096
    sequence: SequenceConfig = field(default_factory=SequenceConfig)

    def choice_limit(self, n_games: int) -> int:
        """Return the number of users to tune on in a catalogue of that many games."""
        return max(self.choice_users // 40, min(self.choice_users, self.choice_scores // max(1, n_games)))

    @property
    def summary(self) -> str:
        """What tuning chose, as text."""
        kinds, weights = [], self.history_weights
        if self.regression_weight:
            kind = f"DLAE, p {self.regression_dropout:g}," if self.regression_dropout else "EASE,"
            kinds.append(
                f"{self.regression_weight:g} × {kind} λ {self.regression_regularisation:g}, "
                f"{self.regression_per_game} per game"
            )
        if self.neighbour_weight:
            kinds.append(
                f"{self.neighbour_weight:g} × kNN, α {self.neighbour_exponent:g}, {self.neighbours_per_game} per game"
            )
        if self.next_weight:
            kinds.append(
                f"{self.next_weight:g} × next games, recency {self.next_recency:g}, λ {self.next_regularisation:g}, "
                f"{self.next_per_game} per game"
            )
        sequence = f"sequence × {self.sequence.weight:g}" if self.sequence.weight else "no sequential tower"
        top = f" ({self.popularity_weight * (1 + self.top_weight):g} at the top)" if self.top_weight else ""
        return (
            f"scale {self.scale:g}, popularity × {self.popularity_weight:g}{top}, "
            f"in interests × {self.interests_weight:g}, "
            f"{', '.join(kinds) or 'no item-item weights'}, {sequence}, "
            f"recency {weights.recency:g}, hours {weights.hours:g}, disliked {weights.disliked:g}"
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """Build a configuration from plain values, the inverse of `dataclasses.asdict`."""
        nested = {
            "history_weights": HistoryWeights(**values["history_weights"]),
            "sequence": SequenceConfig(**values["sequence"]),
        }
        return cls(**{**values, **nested})


class ItemVectors(tf.keras.layers.Layer):
    """A vector per game of the vocabulary: its ID vector plus the weighted sum of its attributes' vectors."""

    def __init__(self, attributes: AttributeTable, n_attributes: int, dimensions: int, **options: Any) -> None:
        super().__init__(**options)
        n_games = len(attributes.offsets) - 1
        owners = np.repeat(np.arange(n_games), np.diff(attributes.offsets))
        indices = np.stack([owners, attributes.rows], axis=1)
        self.shares = tf.sparse.reorder(tf.SparseTensor(indices, attributes.weights, (n_games, n_attributes)))
        self.ends = tf.constant(attributes.offsets)
        # A game starts as its attributes; its ID vector learns what its reviews say beyond them.
        own, shared = (tf.keras.initializers.RandomNormal(stddev=size * dimensions**-0.5) for size in (0.1, 1.0))
        self.games = self.add_weight("games", (n_games, dimensions), initializer=own)
        self.attributes = self.add_weight("attributes", (n_attributes, dimensions), initializer=shared)

    def call(self, known_ids: tf.Tensor, games: tf.Tensor | None = None) -> tf.Tensor:
        """Compute the vectors of some or all games, float32 [G, d].

        Args:
            known_ids: float32 [V], 0 for games that are treated as new ones.
            games: int32 [G], distinct rows of the vocabulary; None for all games.
        """
        if games is None:
            return self.games * known_ids[:, None] + tf.sparse.sparse_dense_matmul(self.shares, self.attributes)
        entries = tf.ragged.range(tf.gather(self.ends, games), tf.gather(self.ends, games + 1))
        columns = tf.gather(self.shares.indices[:, 1], entries.values)
        shares = tf.SparseTensor(
            tf.stack([entries.value_rowids(), columns], axis=1),
            tf.gather(self.shares.values, entries.values),
            tf.stack([tf.size(games, tf.int64), self.shares.dense_shape[1]]),
        )
        own = tf.gather(self.games, games) * tf.gather(known_ids, games)[:, None]
        return own + tf.sparse.sparse_dense_matmul(shares, self.attributes)


class QueryTower(tf.keras.Model):
    """Maps histories to user vectors, float32 [B, d], of length one; zero for an empty history."""

    def __init__(self, attributes: AttributeTable, n_attributes: int, dimensions: int) -> None:
        super().__init__()
        self.items = ItemVectors(attributes, n_attributes, dimensions, name="history")

    def call(self, inputs: dict[str, Any]) -> tf.Tensor:
        """Compute user vectors.

        Args:
            inputs: `history`, rows of the vocabulary, int32 [B, (games)], and `known_ids` as in `ItemVectors`.
        """
        games, indices = tf.unique(inputs["history"].values)
        return pooled(self.items(inputs["known_ids"], games), inputs["history"].with_values(indices))


class CandidateTower(tf.keras.Model):
    """Maps games of the vocabulary to candidate vectors, float32 [G, d], of length one."""

    def __init__(self, attributes: AttributeTable, n_attributes: int, dimensions: int) -> None:
        super().__init__()
        self.items = ItemVectors(attributes, n_attributes, dimensions, name="candidate")

    def call(self, known_ids: tf.Tensor, games: tf.Tensor | None = None) -> tf.Tensor:
        """Compute the vectors of some or all games, with the arguments of `ItemVectors`."""
        return tf.math.l2_normalize(self.items(known_ids, games), axis=1)


class FullSoftmaxRetrieval(tf.keras.layers.Layer, tfrs.tasks.Task):
    """Retrieval with a softmax over all candidates; `tfrs.tasks.Retrieval` only has negatives from the batch."""

    def call(
        self, queries: tf.Tensor, candidates: CandidateTower, offsets: tf.Tensor, inputs: dict[str, Any]
    ) -> tf.Tensor:
        """Compute the weighted sum of -log p over all targets.

        Args:
            queries: float32 [B, d].
            candidates: The candidate tower.
            offsets: float32 [P, V], added to the candidates' scores in each period.
            inputs: The arrays of a `Batch`, with its `history` and `targets` as ragged tensors.
        """
        everything = candidates(inputs["known_ids"])
        scores = _target_scores(queries, tf.gather(everything, inputs["targets"].values), offsets, inputs)
        return _loss(scores, _exponential_sums(queries, everything, offsets, inputs), inputs)


class SampledSoftmaxRetrieval(tf.keras.layers.Layer, tfrs.tasks.Task):
    """Retrieval with a softmax over a row's targets and an estimate of all other candidates from the negatives."""

    def call(
        self, queries: tf.Tensor, candidates: CandidateTower, offsets: tf.Tensor, inputs: dict[str, Any]
    ) -> tf.Tensor:
        """Compute the loss, with the arguments of `FullSoftmaxRetrieval.call`."""
        targets, n_negatives = inputs["targets"], tf.size(inputs["negatives"])
        games, indices = tf.unique(tf.concat([inputs["negatives"], targets.values], axis=0))
        vectors = candidates(inputs["known_ids"], games)
        negatives = vectors[:n_negatives]  # negatives are distinct, so they come first and in their order
        biases = tf.gather(offsets, inputs["negatives"], axis=1) + inputs["corrections"]
        scores = _target_scores(queries, tf.gather(vectors, indices[n_negatives:]), offsets, inputs)
        sums = _exponential_sums(queries, negatives, biases, inputs)
        sums += tf.math.segment_sum(tf.exp(scores), targets.value_rowids())
        return _loss(scores, sums - _counted_twice(queries, negatives, biases, inputs), inputs)


def _target_scores(queries: tf.Tensor, targets: tf.Tensor, offsets: tf.Tensor, inputs: dict[str, Any]) -> tf.Tensor:
    """Compute the targets' scores, float32 [T], from their vectors, float32 [T, d]."""
    rows = inputs["targets"].value_rowids()
    cosines = tf.reduce_sum(tf.gather(queries, tf.gather(inputs["row_users"], rows)) * targets, axis=1)
    indices = tf.stack([tf.gather(inputs["row_periods"], rows), inputs["targets"].values], axis=1)
    return cosines + tf.gather_nd(offsets, indices)


def _exponential_sums(
    queries: tf.Tensor, candidates: tf.Tensor, biases: tf.Tensor, inputs: dict[str, Any]
) -> tf.Tensor:
    """Sum the exponentials of the candidates' scores for each row, float32 [R]; `biases` is [P, candidates].

    exp(cosine + bias) is a product, so the sums of all users in all periods are one matrix product, and the matrix as
    wide as the catalogue has one row per user, not one per user and period. The exponentials need no shift, since the
    cosines are at most the scale.
    """
    periods, columns = tf.unique(inputs["row_periods"])
    exponentials = tf.exp(tf.matmul(queries, candidates, transpose_b=True))
    sums = tf.matmul(exponentials, tf.exp(tf.gather(biases, periods)), transpose_b=True)
    return tf.gather_nd(sums, tf.stack([inputs["row_users"], columns], axis=1))


def _counted_twice(queries: tf.Tensor, negatives: tf.Tensor, biases: tf.Tensor, inputs: dict[str, Any]) -> tf.Tensor:
    """Return the part of the negatives' sum that comes from a row's own targets, float32 [R]."""
    rows, columns = tf.unstack(inputs["hits"], axis=1)
    cosines = tf.reduce_sum(
        tf.gather(queries, tf.gather(inputs["row_users"], rows)) * tf.gather(negatives, columns), axis=1
    )
    periods = tf.cast(tf.gather(inputs["row_periods"], rows), tf.int64)
    parts = tf.exp(cosines + tf.gather_nd(biases, tf.stack([periods, columns], axis=1)))
    return tf.math.unsorted_segment_sum(parts, rows, tf.size(inputs["row_users"]))


def _loss(scores: tf.Tensor, sums: tf.Tensor, inputs: dict[str, Any]) -> tf.Tensor:
    """Compute the weighted sum of -log p from the targets' scores and their rows' sums of exponentials."""
    rows = inputs["targets"].value_rowids()
    return tf.reduce_sum(tf.gather(inputs["weights"], rows) * (tf.gather(tf.math.log(sums), rows) - scores))


class TwoTowerModel(tfrs.Model):
    """Scores games by the cosine of the two towers times a scale, plus the popularity prior at the target's time.

    The prior absorbs what everybody plays in a period, so the towers learn what sets users apart.
    """

    def __init__(
        self,
        attributes: AttributeTable,
        n_attributes: int,
        popularity_priors: Float32Array,
        config: ModelConfig,
        *,
        sampled: bool,
    ) -> None:
        """Build both towers.

        Args:
            attributes: Attributes of the V games.
            n_attributes: Number of attributes.
            popularity_priors: float32 [P, V], what each game's popularity adds to its score in each period.
            config: Hyperparameters.
            sampled: Whether batches have sampled negatives instead of the whole catalogue.
        """
        super().__init__()
        self.scale = tf.Variable(config.scale, trainable=False)  # so that fits with several scales have one graph
        self.query_tower = QueryTower(attributes, n_attributes, config.dimensions)
        self.candidate_tower = CandidateTower(attributes, n_attributes, config.dimensions)
        self.task = SampledSoftmaxRetrieval() if sampled else FullSoftmaxRetrieval()
        self.popularity_priors = tf.constant(popularity_priors)

    def compute_loss(self, inputs: dict[str, Any], training: bool = False) -> tf.Tensor:
        """Compute what a batch, as arrays of `model_inputs`, contributes to the step's mean loss over users."""
        inputs = with_ragged_games(inputs)
        queries = self.scale * self.query_tower(inputs)
        return self.task(queries, self.candidate_tower, self.popularity_priors, inputs)

    @property
    def tables(self) -> list[tf.Variable]:
        """The weights, in the order of the fields of `Towers`."""
        history, candidate = self.query_tower.items, self.candidate_tower.items
        return [history.games, history.attributes, candidate.games, candidate.attributes]

    def towers(self) -> Towers:
        """Return the weights as plain arrays."""
        return Towers(*(table.numpy() for table in self.tables))


def with_ragged_games(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the arrays of a batch with `history` and `targets` as ragged tensors, a row per user or row of targets."""
    users, rows = (tf.size(inputs[name], tf.int64) for name in ("history_lengths", "row_users"))
    ragged = tf.RaggedTensor.from_value_rowids
    history = ragged(inputs["history"], inputs["history_users"], users, validate=False)
    targets = ragged(inputs["targets"], inputs["target_rows"], rows, validate=False)
    return {**inputs, "history": history, "targets": targets}


def pooled(vectors: tf.Tensor, history: tf.RaggedTensor, weights: tf.Tensor | None = None) -> tf.Tensor:
    """Compute the weighted sum of each history's vectors, scaled to length one, float32 [B, d]; zero if it is empty.

    Without weights all games count alike, as in training: the weights for serving are tuned later, on validation data.
    """
    picked = tf.gather(vectors, history.values)
    if weights is not None:
        picked *= weights[:, None]
    sums = tf.math.unsorted_segment_sum(picked, history.value_rowids(), history.nrows())
    return tf.math.l2_normalize(sums, axis=1)
