"""A fitted model and its folder, which every later stage reads: plain arrays, and a SavedModel for serving."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.train.sequential_tower import ServingSequence
from components.train.tensorflow_runtime import tf
from components.train.training_data import TrainingData
from components.train.two_tower_model import ModelConfig, pooled
from steam_recsys.arrays import Int32Array
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import popularity, popularity_as_of
from steam_recsys.model.history_weights import MAX_HOURS, TYPICAL_HOURS
from steam_recsys.model.item_item import RECENT_GAMES, ItemItemWeights
from steam_recsys.model.online import CatalogueFacts
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import MANIFEST, ArtifactWriter, complete_artifact
from steam_recsys.storage.model_store import ARRAYS, DESCRIPTION, EVALUATED, ITEMS, VOCABULARY, open_model

SAVED_MODEL = "saved_model"
RECOMMENDED_GAMES = 100
HISTORY = [
    tf.TensorSpec((None, None), tf.int32, "history"),
    tf.TensorSpec((None, None), tf.bool, "recommended"),
    tf.TensorSpec((None, None), tf.float32, "hours"),
]


@dataclass(frozen=True)
class FittedModel:
    """A model and the fit that it comes from.

    Attributes:
        model: The model as plain arrays.
        data: What it was fitted to.
        config: Hyperparameters.
        steps: Number of steps of the fit.
        losses: Learning curve of the fit.
    """

    model: TwoTowerArrays
    data: TrainingData
    config: ModelConfig
    steps: int
    losses: tuple[float, ...]

    @property
    def parameters(self) -> int:
        """Number of weights: what was fitted, without the positions of the sparse ones."""
        return sum(array.size for array in self.model.arrays().values() if array.dtype.kind == "f")


def write_model(
    folder: Path,
    fitted: FittedModel,
    catalogue: pa.Table,
    past: Interactions,
    as_of: int,
    description: Mapping[str, Any],
    evaluated: Path | None = None,
) -> None:
    """Write a model folder and replace what was there.

    The folder contains `arrays.npz`, all weights, and `items.npz`, the vectors, the popularity and the facts of the
    vocabulary's games, for serving without TensorFlow; `saved_model/`, the same scores as a SavedModel;
    `vocabulary.json`, the names of games, attributes and genres; `model.json`; and the manifest, which is written last.

    Args:
        folder: The folder to write.
        fitted: The model.
        catalogue: Table of the vocabulary's games, or more, with `game_id`, `genres` and `released_on`.
        past: Interactions that its stored popularity and its counts of positive reviews are computed from.
        as_of: Day of that popularity, in days since 1970-01-01.
        description: Content of `model.json`.
        evaluated: Folder of the model that was evaluated in place of this one; it is copied into the folder without its
            SavedModel and its items.
    """
    (folder / MANIFEST).unlink(missing_ok=True)  # first: a folder that is only half removed is not a model
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    games, model = fitted.data.games, fitted.model
    np.savez(folder / ARRAYS, allow_pickle=False, **model.arrays())
    facts = _facts(catalogue, past, games.ids)
    vocabulary = {
        "games": games.ids.tolist(),
        "attributes": list(fitted.data.attribute_names),
        "genres": list(facts.genres),
    }
    (folder / VOCABULARY).write_text(json.dumps(vocabulary) + "\n")
    scorer = model.for_catalogue(games, popularity_as_of(past, games.ids, as_of))
    np.savez(folder / ITEMS, allow_pickle=False, **scorer.arrays(), **facts.arrays())
    ServingModel(games.ids, scorer).save(folder / SAVED_MODEL)
    (folder / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n")
    if evaluated:
        _copy_evaluated(evaluated, folder / EVALUATED)
    complete_artifact(folder)  # last, and atomically: a folder without a manifest is not a model


def _copy_evaluated(model: Path, folder: Path) -> None:
    """Copy a model without what only serving reads."""
    source, copy = open_model(model), ArtifactWriter(open_folder(folder))
    for name in source.files:
        if name != ITEMS and not name.startswith(f"{SAVED_MODEL}/"):
            with source.file(name) as path:
                copy.put(path, name)
    copy.finish()


def _facts(catalogue: pa.Table, past: Interactions, game_ids: Int32Array) -> CatalogueFacts:
    """Return the facts of games, given by ID; a game that the table does not have has no date and no genres."""
    ordered = catalogue.select(["game_id", "released_on", "genres"]).sort_by("game_id")
    rows = positions_of(game_ids, ordered["game_id"].to_numpy())
    games = ordered.take(pa.array(rows, mask=rows < 0))
    genres = [names or () for names in games["genres"].to_pylist()]
    likes = popularity(past, game_ids).astype(np.int64)
    return CatalogueFacts.from_games(games["released_on"].to_pylist(), genres, likes)


class ServingModel(tf.Module):
    """The SavedModel: recommends games of the model's vocabulary for histories of game IDs. It has two signatures.

    - `serving_default(history, recommended, hours)`: game IDs in the order of time, int32 [B, H], padded with 0 or -1;
      the reviews' verdicts, bool; and the hours played, float32, NaN if unknown → `game_ids`, int32 [B, k], and
      `scores`, float32 [B, k], best first, without the history's games; -1 and -inf if fewer are left. If a game
      appears several times in a history, the last one counts. Popularity is as of the training.
    - `with_popularity(history, recommended, hours, popularity_prior)`: the same with today's popularity prior, float32
      [V], in the order of `vocabulary.json`, as `TwoTowerArrays.for_catalogue` computes it.
    """

    def __init__(self, game_ids: Int32Array, scorer: Scorer) -> None:
        """Serve a scorer of the vocabulary; `game_ids` is the vocabulary, int32 [V], ascending."""
        super().__init__(name="two_towers")
        self.k = min(RECOMMENDED_GAMES, len(game_ids))
        self.scale = scorer.scale
        self.popularity_weight = scorer.popularity_weight
        self.weights = scorer.history_weights
        self.game_ids = tf.Variable(game_ids, trainable=False)
        self.history = tf.Variable(scorer.history, trainable=False)
        self.vectors = tf.Variable(scorer.vectors, trainable=False)
        self.item_item = ServingTable(scorer.item_item)
        self.next_games = ServingTable(scorer.next_games.weights) if scorer.next_games else None
        self.next_recency = scorer.next_games.recency if scorer.next_games else 0.0
        self.popularity_prior = tf.Variable(scorer.popularity_prior, trainable=False)
        self.sequence = ServingSequence(scorer.sequence) if scorer.sequence else None
        self.sequence_scale = scorer.sequence_scale

    @tf.function(input_signature=HISTORY)
    def serve(self, history: tf.Tensor, recommended: tf.Tensor, hours: tf.Tensor) -> dict[str, tf.Tensor]:
        """Recommend with the popularity at the time of training."""
        found: dict[str, tf.Tensor] = self.serve_with_popularity(history, recommended, hours, self.popularity_prior)
        return found

    @tf.function(input_signature=[*HISTORY, tf.TensorSpec((None,), tf.float32, "popularity_prior")])
    def serve_with_popularity(
        self, history: tf.Tensor, recommended: tf.Tensor, hours: tf.Tensor, popularity_prior: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Recommend with the caller's popularity."""
        rows = tf.minimum(tf.searchsorted(self.game_ids, tf.reshape(history, [-1])), tf.shape(self.game_ids)[0] - 1)
        rows = tf.reshape(rows, tf.shape(history))
        found = tf.equal(tf.gather(self.game_ids, rows), history) & _last_mentions(history)
        known = tf.ragged.boolean_mask(rows, found)
        liked = tf.boolean_mask(recommended, found)
        weights = self._weigh(known, liked, tf.boolean_mask(hours, found))
        scores = tf.matmul(self._queries(known, liked, weights), self.vectors, transpose_b=True)
        scores += self.popularity_weight * popularity_prior
        users = tf.cast(known.value_rowids(), tf.int32)
        scores = self.item_item.add(scores, users, known.values, weights)
        if self.next_games is not None:
            scores = self.next_games.add(scores, users, known.values, self._weigh_next(known, liked))
        seen = tf.stack([users, known.values], axis=1)
        scores = tf.tensor_scatter_nd_update(scores, seen, tf.fill([tf.shape(seen)[0]], -np.inf))
        best, columns = tf.math.top_k(scores, self.k)
        return {
            "game_ids": tf.where(tf.math.is_inf(best), -1, tf.gather(self.game_ids, columns)),
            "scores": best,
        }

    def save(self, folder: Path) -> None:
        """Write the SavedModel."""
        signatures = {"serving_default": self.serve, "with_popularity": self.serve_with_popularity}
        tf.saved_model.save(self, str(folder), signatures=signatures)

    def _queries(self, known: tf.RaggedTensor, liked: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Compute the query towers like `Scorer.queries`, float32 [B, w]."""
        queries = self.scale * pooled(self.history, known, weights)
        if self.sequence is None:
            return queries
        share = np.float32((self.sequence_scale * self.scale) ** 0.5)
        sequence = self.sequence.queries(tf.ragged.boolean_mask(known, known.with_values(liked)))
        return tf.concat([queries, share * sequence], axis=1)

    def _weigh(self, known: tf.RaggedTensor, recommended: tf.Tensor, hours: tf.Tensor) -> tf.Tensor:
        """Weigh each game of the histories like `HistoryWeights.weigh`, float32 of the shape of `known.values`."""
        played = tf.where((hours >= 0) & (hours <= MAX_HOURS), hours, TYPICAL_HOURS)
        weights = tf.where(recommended, 1.0, self.weights.disliked)
        weights *= ((1 + played) / (1 + TYPICAL_HOURS)) ** self.weights.hours
        weights *= (1 + _later_games(known)) ** -self.weights.recency
        means = tf.math.segment_mean(tf.abs(weights), known.value_rowids())
        return tf.math.divide_no_nan(weights, tf.gather(means, known.value_rowids()))

    def _weigh_next(self, known: tf.RaggedTensor, recommended: tf.Tensor) -> tf.Tensor:
        """Weigh each game of the histories like `NextGames.weigh`, float32 of the shape of `known.values`."""
        later = _later_games(known)
        weights = tf.where(recommended, 1.0, self.weights.disliked) * (1 + later) ** -self.next_recency
        return tf.where(later < RECENT_GAMES, weights, 0.0)


class ServingTable(tf.Module):
    """Item-item weights in a SavedModel."""

    def __init__(self, table: ItemItemWeights) -> None:
        super().__init__()
        self.offsets = tf.Variable(table.offsets, trainable=False)
        self.games = tf.Variable(table.games, trainable=False, shape=[None])
        self.weights = tf.Variable(table.weights, trainable=False, shape=[None])

    def add(self, scores: tf.Tensor, users: tf.Tensor, games: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Add the weights of the histories' games to the scores, float32 [B, V].

        Args:
            scores: The scores.
            users: int32 [n], the user of each game.
            games: int32 [n], rows of the vocabulary.
            weights: float32 [n], how much each game counts.
        """
        entries = tf.ragged.range(tf.gather(self.offsets, games), tf.gather(self.offsets, games + 1))
        source = entries.value_rowids()
        cells = tf.stack([tf.gather(users, source), tf.gather(self.games, entries.values)], axis=1)
        added = tf.gather(self.weights, entries.values) * tf.gather(weights, source)
        return tf.tensor_scatter_nd_add(scores, cells, added)


def _later_games(known: tf.RaggedTensor) -> tf.Tensor:
    """Count the later games of the same history, float32 of the shape of `known.values`."""
    ends = tf.gather(known.row_splits[1:], known.value_rowids())
    return tf.cast(ends - 1 - tf.range(tf.size(known.values, tf.int64)), tf.float32)


def _last_mentions(history: tf.Tensor) -> tf.Tensor:
    """Return which IDs do not appear again later in the same row, bool of the shape of `history`, int32 [B, H]."""
    shape = tf.shape(history, tf.int64)
    mentions = tf.bitwise.left_shift(tf.range(shape[0]), 32)[:, None] + tf.cast(history, tf.int64)
    backwards = tf.reverse(tf.reshape(mentions, [-1]), [0])
    _, numbers = tf.unique(backwards)
    indices = tf.range(tf.size(backwards))
    first = tf.gather(tf.math.unsorted_segment_min(indices, numbers, tf.size(backwards)), numbers)
    return tf.reshape(tf.reverse(tf.equal(indices, first), [0]), shape)
