"""The sequential tower as plain arrays: attention over the last games that a user likes, without TensorFlow.

The tower reads the liked games in the order of time, so the order changes the result. In each of K blocks, every game
attends to itself and to the earlier games; the output of the newest game is the user vector:

    x = √d * games[history]
    x = x + attention(normalise(x)), x = x + feed_forward(normalise(x))    in each block
    user = normalise(x)[newest], scaled to length one

The score is the cosine of the user vector and the candidate's vector, which is the same as its vector in the history,
times a scale (self-attention over a history: Kang and McAuley 2018, "Self-Attentive Sequential Recommendation", section
3). Positions count from the newest game: instead of a vector per position, each head adds a learnt number per distance
to the attention's logits (Raffel et al. 2020, "Exploring the Limits of Transfer Learning with a Unified Text-to-Text
Transformer", section 2.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, Int64Array, normalised
from steam_recsys.data.histories import Histories

BATCH_USERS = 64
"""Users encoded at a time, whose activations fit in the processor's cache."""

EPSILON = np.float32(1e-6)
"""Added to variances before their square root is divided by."""


@dataclass(frozen=True)
class SequentialTower:
    """The weights of a sequential tower of K blocks with h heads, all float32.

    Attributes:
        games: [V, d], the vectors of the games, as part of a history and as candidates; zero if a game has none.
        distances: [K, h, L], what each head adds to the logit of a game at a distance of 0 to L - 1 games; L is also
            the number of games of a history that count, the last ones.
        attention_norm: [K, 2, d], scale and shift of the normalisation before attention.
        attention_input: [K, d, 3 d], makes queries, keys and values.
        attention_output: [K, d, d].
        forward_norm: [K, 2, d], scale and shift of the normalisation before the feed-forward layer.
        forward_input: [K, d, f].
        forward_input_bias: [K, f].
        forward_output: [K, f, d].
        forward_output_bias: [K, d].
        output_norm: [2, d], scale and shift of the last normalisation.
    """

    games: Float32Array
    distances: Float32Array
    attention_norm: Float32Array
    attention_input: Float32Array
    attention_output: Float32Array
    forward_norm: Float32Array
    forward_input: Float32Array
    forward_input_bias: Float32Array
    forward_output: Float32Array
    forward_output_bias: Float32Array
    output_norm: Float32Array

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]], prefix: str) -> SequentialTower:
        """Pick the arrays whose names are the prefix and the name of a field.

        Raises:
            KeyError: An array is missing.
        """
        return cls(*(arrays[prefix + field.name] for field in fields(cls)))

    def arrays(self) -> dict[str, Float32Array]:
        """Return all weights by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def length(self) -> int:
        """L, the number of games that count."""
        return int(self.distances.shape[2])

    @cached_property
    def known(self) -> BoolArray:
        """The games that have a vector, bool [V]."""
        return np.asarray(self.games.any(axis=1))

    @cached_property
    def candidates(self) -> Float32Array:
        """The games' vectors scaled to length one, float32 [V, d]; zero for games without one."""
        return normalised(self.games)

    def reindex(self, rows: Int32Array) -> SequentialTower:
        """Return the tower for other games: int32 [N], the row of each of them, -1 for games without a vector."""
        games = self.games[rows]
        games[rows < 0] = 0
        return SequentialTower(**{**self.arrays(), "games": games})

    def reads(self, history: Histories) -> BoolArray:
        """Return which games of the histories the tower reads, bool of the shape of `history.games`.

        They are each user's last L games of those that the user likes and that have a vector.
        """
        liked = history.recommended & self.known[history.games]
        numbers = np.cumsum(liked)
        ends = np.append(0, numbers)[history.offsets[1:]]
        later: Int64Array = np.repeat(ends, history.lengths) - numbers
        return liked & (later < self.length)

    def queries(self, history: Histories) -> Float32Array:
        """Compute user vectors, float32 [B, d] of length one; zero for users without a game that counts."""
        counted = history.select(self.reads(history))
        lengths = counted.lengths
        queries = np.zeros((len(history), self.games.shape[1]), dtype=np.float32)
        order = np.argsort(lengths, kind="stable")  # users of a batch have about as many games
        order = order[lengths[order] > 0]
        for start in range(0, len(order), BATCH_USERS):
            users = order[start : start + BATCH_USERS]
            queries[users] = self._encode(counted.take(users))
        return queries

    def _encode(self, history: Histories) -> Float32Array:
        """Compute the vectors of users who all have one to L games, float32 [B, d]."""
        lengths = history.lengths
        n_users, longest, width = len(history), int(lengths.max()), self.games.shape[1]
        # Padding follows the newest game, and no game attends to later ones.
        x = np.zeros((n_users, longest, width), dtype=np.float32)
        x[np.arange(longest) < lengths[:, None]] = self.games[history.games] * np.float32(np.sqrt(width))
        newest = np.arange(n_users), lengths - 1
        for block in range(len(self.distances)):
            x = self._block(block, x, newest if block == len(self.distances) - 1 else None)
        return normalised(_layer_norm(x[:, 0], self.output_norm))

    def _block(self, block: int, x: Float32Array, newest: tuple[Int64Array, Int64Array] | None) -> Float32Array:
        """Apply a block to float32 [B, n, d]; with `newest`, compute only the output at these indices, [B, 1, d]."""
        n_users, longest, width = x.shape
        heads = self.distances.shape[1]
        vectors = _layer_norm(x, self.attention_norm[block]) @ self.attention_input[block]
        queries, keys, values = (part.reshape(n_users, longest, heads, -1) for part in np.split(vectors, 3, axis=2))
        positions = np.broadcast_to(np.arange(longest), (n_users, longest))
        if newest is not None:
            queries, x, positions = queries[newest][:, None], x[newest][:, None], positions[newest][:, None]
        distances = positions[:, :, None] - np.arange(longest)
        logits = np.einsum("bqhe,bkhe->bhqk", queries, keys, optimize=True)
        logits /= np.float32(np.sqrt(width // heads))
        logits += self.distances[block][:, np.maximum(distances, 0)].swapaxes(0, 1)
        logits = np.where(distances[:, None] >= 0, logits, np.float32(-np.inf))
        weights = np.exp(logits - logits.max(axis=3, keepdims=True))
        weights /= weights.sum(axis=3, keepdims=True)
        attended = np.einsum("bhqk,bkhe->bqhe", weights, values, optimize=True).reshape(x.shape)
        x = x + attended @ self.attention_output[block]
        hidden = _layer_norm(x, self.forward_norm[block]) @ self.forward_input[block]
        hidden = np.maximum(hidden + self.forward_input_bias[block], 0)
        output: Float32Array = x + hidden @ self.forward_output[block] + self.forward_output_bias[block]
        return output


def _layer_norm(x: Float32Array, norm: Float32Array) -> Float32Array:
    """Scale each vector to mean 0 and variance 1, then apply a scale and a shift, float32 [2, d]."""
    x = x - x.mean(axis=-1, keepdims=True)
    scaled: Float32Array = x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + EPSILON) * norm[0] + norm[1]
    return scaled
