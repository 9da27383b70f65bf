"""The SavedModel: a history of game ids in, the best games and their scores out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from components.train.model import pooled
from steam_recsys.arrays import Int32Array
from steam_recsys.model.history_weights import MOST_HOURS, USUAL_HOURS
from steam_recsys.model.scorer import Scorer

RECOMMENDED_GAMES = 100
HISTORY = [
    tf.TensorSpec((None, None), tf.int32, "history"),
    tf.TensorSpec((None, None), tf.bool, "recommended"),
    tf.TensorSpec((None, None), tf.float32, "hours"),
]


class ServingModel(tf.Module):
    """The model over its own vocabulary, with two signatures.

    - `serving_default(history, recommended, hours)`: int32 [B, H] game ids in the order of time, padded with 0 or -1,
      the reviews' verdicts, bool, and the hours played, float32, NaN where unknown → `game_ids` int32 [B, k] and
      `scores` float32 [B, k], best first, without the history's games; -1 and -inf where fewer are left. Of several
      mentions of a game the last counts. Popularity is as of the training.
    - `with_popularity(history, recommended, hours, popularity_offset)`: the same with float32 [V] for today's
      popularity, in the order of `vocabulary.json`.
    """

    def __init__(self, game_ids: Int32Array, catalogue: Scorer) -> None:
        """`game_ids` is the vocabulary, ascending, and `catalogue` the vocabulary as a catalogue."""
        super().__init__(name="two_towers")
        self.k = min(RECOMMENDED_GAMES, len(game_ids))
        self.scale = catalogue.scale
        self.weights = catalogue.history_weights
        self.game_ids = tf.Variable(game_ids, trainable=False)
        self.history = tf.Variable(catalogue.history, trainable=False)
        self.candidates = tf.Variable(catalogue.candidates, trainable=False)
        links = catalogue.links
        self.link_offsets = tf.Variable(links.offsets, trainable=False)
        self.link_games = tf.Variable(links.games, trainable=False, shape=[None])
        self.link_weights = tf.Variable(links.weights, trainable=False, shape=[None])
        self.popularity_offset = tf.Variable(catalogue.popularity_offset, trainable=False)

    @tf.function(input_signature=HISTORY)
    def serve(self, history: tf.Tensor, recommended: tf.Tensor, hours: tf.Tensor) -> dict[str, tf.Tensor]:
        """Recommend with the popularity of the time of training."""
        return self._recommend(history, recommended, hours, self.popularity_offset)

    @tf.function(input_signature=[*HISTORY, tf.TensorSpec((None,), tf.float32, "popularity_offset")])
    def serve_with_popularity(
        self, history: tf.Tensor, recommended: tf.Tensor, hours: tf.Tensor, popularity_offset: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Recommend with a popularity that the caller gives."""
        return self._recommend(history, recommended, hours, popularity_offset)

    def _weights(self, known: tf.RaggedTensor, recommended: tf.Tensor, hours: tf.Tensor) -> tf.Tensor:
        """What each game of the histories counts, float32 of the shape of `known.values`, as `HistoryWeights.of`."""
        played = tf.where((hours >= 0) & (hours <= MOST_HOURS), hours, USUAL_HOURS)
        weights = tf.where(recommended, 1.0, self.weights.disliked)
        weights *= ((1 + played) / (1 + USUAL_HOURS)) ** self.weights.hours
        ends = tf.gather(known.row_splits[1:], known.value_rowids())
        later = tf.cast(ends - 1 - tf.range(tf.size(known.values, tf.int64)), tf.float32)
        weights *= (1 + later) ** -self.weights.recency
        means = tf.math.segment_mean(tf.abs(weights), known.value_rowids())
        return tf.math.divide_no_nan(weights, tf.gather(means, known.value_rowids()))

    def _recommend(
        self, history: tf.Tensor, recommended: tf.Tensor, hours: tf.Tensor, popularity_offset: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        rows = tf.minimum(tf.searchsorted(self.game_ids, tf.reshape(history, [-1])), tf.shape(self.game_ids)[0] - 1)
        rows = tf.reshape(rows, tf.shape(history))
        found = tf.equal(tf.gather(self.game_ids, rows), history) & _last_mentions(history)
        known = tf.ragged.boolean_mask(rows, found)
        weights = self._weights(known, tf.boolean_mask(recommended, found), tf.boolean_mask(hours, found))
        queries = pooled(self.history, known, weights)
        scores = tf.matmul(queries * self.scale, self.candidates, transpose_b=True) + popularity_offset
        users = tf.cast(known.value_rowids(), tf.int32)
        links = tf.ragged.range(
            tf.gather(self.link_offsets, known.values), tf.gather(self.link_offsets, known.values + 1)
        )
        linked = tf.stack([tf.gather(users, links.value_rowids()), tf.gather(self.link_games, links.values)], axis=1)
        linked_weights = tf.gather(self.link_weights, links.values) * tf.gather(weights, links.value_rowids())
        scores = tf.tensor_scatter_nd_add(scores, linked, linked_weights)
        taken = tf.stack([users, known.values], axis=1)
        scores = tf.tensor_scatter_nd_update(scores, taken, tf.fill([tf.shape(taken)[0]], -np.inf))
        best, columns = tf.math.top_k(scores, self.k)
        return {
            "game_ids": tf.where(tf.math.is_inf(best), -1, tf.gather(self.game_ids, columns)),
            "scores": best,
        }

    def save(self, folder: Path) -> None:
        """Write the SavedModel."""
        signatures = {"serving_default": self.serve, "with_popularity": self.serve_with_popularity}
        tf.saved_model.save(self, str(folder), signatures=signatures)


def _last_mentions(history: tf.Tensor) -> tf.Tensor:
    """Which ids do not come again in the same row, bool of the shape of `history`, int32 [B, H]."""
    shape = tf.shape(history, tf.int64)
    mentions = tf.bitwise.left_shift(tf.range(shape[0]), 32)[:, None] + tf.cast(history, tf.int64)
    backwards = tf.reverse(tf.reshape(mentions, [-1]), [0])
    _, numbers = tf.unique(backwards)
    places = tf.range(tf.size(backwards))
    first = tf.gather(tf.math.unsorted_segment_min(places, numbers, tf.size(backwards)), numbers)
    return tf.reshape(tf.reverse(tf.equal(places, first), [0]), shape)
