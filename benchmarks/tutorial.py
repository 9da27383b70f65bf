"""The model of TensorFlow Recommenders' basic-retrieval tutorial: ids alone, negatives from the batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

from components.evaluate.ranking import rank_by_scores
from components.shared.histories import Histories
from components.shared.interactions import Floats, Interactions, Ints

DIMENSIONS = 32
RATE = 0.1
EPOCHS = 3
BATCH = 8192


class TutorialModel(tfrs.Model):
    """An embedding a user and an embedding a game, their product, a softmax over the batch."""

    def __init__(self, users: Any, games: Any) -> None:
        """The ids of users and games, int64."""
        super().__init__()
        self.users, self.games = _embedding(users), _embedding(games)
        self.task = tfrs.tasks.Retrieval()

    def compute_loss(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """The loss of a batch of pairs, `users` and `games`, both int64 [B]."""
        return self.task(self.users(inputs["users"]), self.games(inputs["games"]), compute_metrics=False)


class TutorialRanking:
    """The trained model's order of a catalogue, for users that it knows."""

    def __init__(self, past: Interactions, game_ids: Ints, seed: int) -> None:
        """Train on the past; `game_ids` is int32 [N], ascending."""
        tf.keras.utils.set_random_seed(seed)
        self._game_ids = game_ids
        model = TutorialModel(np.unique(past.users), game_ids.astype(np.int64))
        model.compile(optimizer=tf.keras.optimizers.Adagrad(RATE))
        rows = {"users": past.users, "games": past.games.astype(np.int64)}
        shuffled = tf.data.Dataset.from_tensor_slices(rows).shuffle(len(past), seed=seed).batch(BATCH)
        model.fit(shuffled, epochs=EPOCHS, verbose=0)
        self._model, self._candidates = model, model.games(game_ids.astype(np.int64)).numpy()

    def rank(self, history: Histories, k: int) -> Ints:
        """The k best games, as `Ranker.rank`."""

        def scores(users: Histories) -> Floats:
            found: Floats = self._model.users(users.users).numpy() @ self._candidates.T
            return found

        return rank_by_scores(scores, history, len(self._game_ids), k)


def _embedding(ids: Any) -> tf.keras.Sequential:
    lookup = tf.keras.layers.IntegerLookup(vocabulary=ids, mask_token=None)
    return tf.keras.Sequential([lookup, tf.keras.layers.Embedding(len(ids) + 1, DIMENSIONS)])
