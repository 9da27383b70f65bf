"""The model of TensorFlow Recommenders' basic-retrieval tutorial: ids alone, as strings, negatives from the batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.train.tensorflow_runtime import tf, tfrs
from steam_recsys.arrays import Float32Array, Int32Array, Int64Array
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import Interactions
from steam_recsys.evaluation.rankers import rank_by_scores

DIMENSIONS = 32
RATE = 0.1
EPOCHS = 3
BATCH = 8192


class TutorialModel(tfrs.Model):
    """An embedding a user and an embedding a game, their product, a softmax over the batch."""

    def __init__(self, users: Int64Array, games: Int32Array, dimensions: int = DIMENSIONS) -> None:
        """The ids of users and games."""
        super().__init__()
        self.users, self.games = _embedding(users, dimensions), _embedding(games, dimensions)
        self.task = tfrs.tasks.Retrieval()
        self.compile(optimizer=tf.keras.optimizers.Adagrad(RATE))

    def compute_loss(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The loss of a batch of pairs, `users` and `games`, both string [B]."""
        return self.task(self.users(inputs["users"]), self.games(inputs["games"]), compute_metrics=False)

    def ranking(self, game_ids: Int32Array) -> TutorialRanker:
        """Its order of a catalogue as it is now."""
        return TutorialRanker(self, self.games(game_ids.astype(str)).numpy())


@dataclass(frozen=True)
class TutorialRanker:
    """A trained model's order of a catalogue, for users that it knows; `games` are the catalogue's vectors."""

    model: TutorialModel
    games: Float32Array

    @classmethod
    def trained_on(cls, past: Interactions, game_ids: Int32Array, seed: int) -> TutorialRanker:
        """Train on the past; `game_ids` is int32 [N], ascending."""
        tf.keras.utils.set_random_seed(seed)
        model = TutorialModel(np.unique(past.users), game_ids)
        model.fit(pairs(past).shuffle(len(past), seed=seed).batch(BATCH), epochs=EPOCHS, verbose=0)
        return model.ranking(game_ids)

    def rank(self, history: Histories, k: int) -> Int32Array:
        """The k best games, as `Ranker.rank`."""
        return rank_by_scores(self._scores, history, len(self.games), k)

    def _scores(self, users: Histories) -> Float32Array:
        found: Float32Array = self.model.users(users.users.astype(str)).numpy() @ self.games.T
        return found


def pairs(interactions: Interactions) -> tf.data.Dataset:
    """Users and games as the tutorial has them."""
    rows = {"users": interactions.users.astype(str), "games": interactions.games.astype(str)}
    return tf.data.Dataset.from_tensor_slices(rows)


def _embedding(ids: Int64Array | Int32Array, dimensions: int) -> tf.keras.Sequential:
    lookup = tf.keras.layers.StringLookup(vocabulary=ids.astype(str), mask_token=None)
    return tf.keras.Sequential([lookup, tf.keras.layers.Embedding(len(ids) + 1, dimensions)])
