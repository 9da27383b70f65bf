"""Item-item weights: how much having one game adds to the scores of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, Int64Array, offsets_from_lengths
from steam_recsys.data.histories import Histories

HASH_BUCKETS = 4096

BLOCK_WEIGHTS = 1 << 22
"""Weights of a dense matrix that are sorted at a time: they take 16 MB, and their order 32 MB."""

RECENT_GAMES = 20
"""Newest games of a history that add to the scores of the next ones."""


@dataclass(frozen=True)
class ItemItemWeights:
    """A sparse matrix in CSR form, with the few largest weights of each game; it may be empty.

    Attributes:
        offsets: int64 [V + 1]; the entries of row v are those from `offsets[v]` to `offsets[v + 1]`.
        games: int32, the column of each entry, distinct within a row.
        weights: float32, the value of each entry.
    """

    offsets: Int64Array
    games: Int32Array
    weights: Float32Array

    @classmethod
    def empty(cls, n_games: int) -> ItemItemWeights:
        """Return weights that are all zero."""
        return cls(np.zeros(n_games + 1, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32))

    @classmethod
    def from_matrix(cls, matrix: Float32Array, per_game: int) -> ItemItemWeights:
        """Keep the largest absolute weights of each row.

        Args:
            matrix: float32 [V, V].
            per_game: Number of weights to keep in each row.

        Example:
            >>> matrix = np.array([[0.0, 0.2, -0.7], [0.2, 0.0, 0.1], [0.0, 0.0, 0.0]], dtype=np.float32)
            >>> ItemItemWeights.from_matrix(matrix, per_game=1).games.tolist()
            [2, 0]
        """
        per_game = min(per_game, len(matrix))
        columns = np.zeros((len(matrix), per_game), dtype=np.int32)
        step = max(1, BLOCK_WEIGHTS // max(1, len(matrix)))
        for first in range(0, len(matrix), step):
            rows = slice(first, first + step)
            columns[rows] = np.argpartition(-np.abs(matrix[rows]), per_game - 1, axis=1)[:, :per_game]
        columns.sort(axis=1)
        values = np.take_along_axis(matrix, columns, axis=1)
        kept = values != 0
        offsets = offsets_from_lengths(kept.sum(axis=1))
        return cls(offsets, columns[kept], values[kept].astype(np.float32))

    @classmethod
    def stacked(cls, parts: Sequence[ItemItemWeights]) -> ItemItemWeights:
        """Put the rows of several matrices of the same width below each other."""
        offsets = offsets_from_lengths(
            np.concatenate([np.zeros(0, np.int64), *(np.diff(part.offsets) for part in parts)])
        )
        games = np.concatenate([np.zeros(0, np.int32), *(part.games for part in parts)])
        return cls(offsets, games, np.concatenate([np.zeros(0, np.float32), *(part.weights for part in parts)]))

    def largest(self, per_game: int) -> ItemItemWeights:
        """Keep the largest absolute weights of each row; of equal ones the first."""
        lengths = np.diff(self.offsets)
        longest = int(lengths.max(initial=0))
        if longest <= per_game:
            return self
        kept = np.ones(len(self.weights), dtype=bool)
        step = max(1, BLOCK_WEIGHTS // longest)
        for first in range(0, len(lengths), step):
            block = lengths[first : first + step]
            entries = slice(self.offsets[first], self.offsets[first + len(block)])
            kept[entries] = _among_largest(np.abs(self.weights[entries]), block, per_game)
        offsets = offsets_from_lengths(np.minimum(lengths, per_game))
        return ItemItemWeights(offsets, self.games[kept], self.weights[kept])

    def scaled(self, factor: float) -> ItemItemWeights:
        """Multiply all weights by a factor; a factor of 0 leaves no entries."""
        if not factor:
            return ItemItemWeights.empty(len(self.offsets) - 1)
        return ItemItemWeights(self.offsets, self.games, self.weights * np.float32(factor))

    def entries(self, rows: npt.NDArray[Any]) -> tuple[Int64Array, Int64Array]:
        """Find the entries of some rows.

        Args:
            rows: Integers [m].

        Returns:
            For each of n entries the index into `rows` and the index into `games` and `weights`, both int64 [n].
        """
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        source = np.repeat(np.arange(len(rows)), lengths)
        within = np.arange(len(source)) - (np.cumsum(lengths) - lengths)[source]
        return source, starts[source] + within

    def between(self, sources: npt.NDArray[Any], targets: Int32Array, rows: Int64Array) -> Float32Array:
        """Look up the weights from each source game to all target games of one user.

        Args:
            sources: Integers [n], games.
            targets: int32 [B, m], games of B users; -1 for none.
            rows: int64 [n], the row of `targets` to which each source belongs.

        Returns:
            float32 [n, m], 0 where there is no entry.
        """
        weights = np.zeros((len(sources), targets.shape[1]), dtype=np.float32)
        source, entries = self.entries(sources)
        # Most entries lead to other games. A small hash table discards most of those.
        buckets = np.zeros((len(targets), HASH_BUCKETS), dtype=bool)
        np.put_along_axis(buckets, targets % HASH_BUCKETS, True, axis=1)
        likely = np.flatnonzero(buckets[rows[source], self.games[entries] % HASH_BUCKETS])
        source, entries = source[likely], entries[likely]
        stride = len(self.offsets)
        cells = (np.arange(len(targets))[:, None] * stride + targets + 1).ravel()
        order = np.argsort(cells)
        ascending = np.append(cells[order], -1)
        wanted = rows[source] * stride + self.games[entries] + 1
        found = np.searchsorted(ascending[:-1], wanted)
        while len(hits := np.flatnonzero(ascending[found] == wanted)):  # again if a user has a target several times
            source, entries, found, wanted = source[hits], entries[hits], found[hits], wanted[hits]
            weights[source, order[found] % targets.shape[1]] = self.weights[entries]
            found += 1
        return weights

    def reindex(self, rows: Int32Array) -> ItemItemWeights:
        """Map the weights to the positions of another catalogue.

        Args:
            rows: int32 [N], the row of this matrix for each position; -1 for a game that it does not have.

        Returns:
            Weights between N positions; entries to games outside the catalogue are dropped.
        """
        known = np.flatnonzero(rows >= 0)
        position_of = np.full(len(self.offsets) - 1, -1, dtype=np.int32)
        position_of[rows[known]] = known
        source, entries = self.entries(rows[known])
        games = position_of[self.games[entries]]
        kept = games >= 0
        lengths = np.bincount(known[source[kept]], minlength=len(rows))
        return ItemItemWeights(offsets_from_lengths(lengths), games[kept], self.weights[entries[kept]])


@dataclass(frozen=True)
class NextGames:
    """Weights from the newest games of a history to the games that follow them, in the order of time.

    Attributes:
        weights: Item-item weights.
        recency: Exponent of the age.
    """

    weights: ItemItemWeights
    recency: float

    def weigh(self, history: Histories, disliked: float) -> Float32Array:
        """Weigh each game of each history: (1 + age)^-recency, where age counts later games of the user.

        Args:
            history: The histories.
            disliked: Factor of games that the user does not recommend.

        Returns:
            float32, one weight per entry of `history.games`; 0 for all but the `RECENT_GAMES` newest ones.
        """
        by_age = np.append(recent_weights(self.recency), np.float32(0))
        weights: Float32Array = by_age[np.minimum(history.later, RECENT_GAMES)]
        weights[~history.recommended] *= np.float32(disliked)
        return weights

    def reindex(self, rows: Int32Array) -> NextGames:
        """Map the weights to the positions of another catalogue, see `ItemItemWeights.reindex`."""
        return NextGames(self.weights.reindex(rows), self.recency)


def recent_weights(recency: float) -> Float32Array:
    """Return the weight of each of the newest games of a history, the newest first, float32 [RECENT_GAMES]."""
    weights: Float32Array = ((1.0 + np.arange(RECENT_GAMES)) ** -recency).astype(np.float32)
    return weights


def _among_largest(sizes: Float32Array, lengths: Int64Array, per_row: int) -> BoolArray:
    """Select the largest entries of each row, of equal ones the first; selecting is faster than sorting.

    Args:
        sizes: float32 [n], at least 0, concatenated over rows.
        lengths: int64 [m].
        per_row: Number of entries to select of each row, at least 1.

    Returns:
        bool [n].
    """
    rows = np.repeat(np.arange(len(lengths)), lengths)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    padded = np.full((len(lengths), max(int(lengths.max(initial=0)), per_row)), -1, np.float32)
    padded[rows, within] = sizes
    least = -np.partition(-padded, per_row - 1, axis=1)[:, per_row - 1, None]
    larger, equal = padded > least, padded == least
    first = np.cumsum(equal, axis=1) <= per_row - larger.sum(axis=1, keepdims=True)
    selected: BoolArray = (larger | equal & first)[rows, within]
    return selected
