"""Item-item weights, from game to game: the part of the model that remembers which games go together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from steam_recsys.arrays import Float32Array, Int32Array, Int64Array

SIEVE = 4096


@dataclass(frozen=True)
class ItemItemWeights:
    """What having a game adds to others' scores, the strongest few of each game, CSR; none at all is a choice too.

    Attributes:
        offsets: int64 [V + 1]; the links from row v are those from `offsets[v]` to `offsets[v + 1]`.
        games: int32, the rows or positions that they lead to, each once from a row.
        weights: float32.
    """

    offsets: Int64Array
    games: Int32Array
    weights: Float32Array

    @classmethod
    def none(cls, n_games: int) -> ItemItemWeights:
        """No links."""
        return cls(np.zeros(n_games + 1, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0, dtype=np.float32))

    @classmethod
    def strongest(cls, weights: Float32Array, kept: int) -> ItemItemWeights:
        """The `kept` largest by amount of each row of float32 [V, V]."""
        n_games = len(weights)
        kept = min(kept, n_games)
        columns = np.argpartition(-np.abs(weights), kept - 1, axis=1)[:, :kept]
        columns.sort(axis=1)
        values = np.take_along_axis(weights, columns, axis=1)
        found = values != 0
        offsets = np.concatenate([[0], np.cumsum(found.sum(axis=1))]).astype(np.int64)
        return cls(offsets, columns[found].astype(np.int32), values[found].astype(np.float32))

    def times(self, factor: float) -> ItemItemWeights:
        """The same with other weights; nothing is left of them where the factor is 0."""
        if not factor:
            return ItemItemWeights.none(len(self.offsets) - 1)
        return ItemItemWeights(self.offsets, self.games, self.weights * np.float32(factor))

    def from_rows(self, rows: npt.NDArray[Any]) -> tuple[Int64Array, Int64Array]:
        """The links that start from some rows: which of `rows` each starts from, and its place, int64 [n] both."""
        starts = self.offsets[rows]
        lengths = self.offsets[rows + 1] - starts
        source = np.repeat(np.arange(len(rows)), lengths)
        within = np.arange(len(source)) - (np.cumsum(lengths) - lengths)[source]
        return source, starts[source] + within

    def between(self, sources: npt.NDArray[Any], targets: Int32Array, rows: Int64Array) -> Float32Array:
        """The weight of the link from each source to each of the targets in its row, 0 for none.

        Args:
            sources: the rows of n games.
            targets: int32 [B, m], distinct within a row but for -1, which stands for none.
            rows: int64 [n], the row of `targets` that each source is asked about.

        Returns:
            float32 [n, m].
        """
        weights = np.zeros((len(sources), targets.shape[1]), dtype=np.float32)
        source, places = self.from_rows(sources)
        # Most links lead elsewhere, which a small table tells of most of them.
        sieve = np.zeros((len(targets), SIEVE), dtype=bool)
        np.put_along_axis(sieve, targets % SIEVE, True, axis=1)
        likely = np.flatnonzero(sieve[rows[source], self.games[places] % SIEVE])
        source, places = source[likely], places[likely]
        stride = len(self.offsets)
        cells = (np.arange(len(targets))[:, None] * stride + targets + 1).ravel()
        order = np.argsort(cells)
        wanted = rows[source] * stride + self.games[places] + 1
        found = np.minimum(np.searchsorted(cells, wanted, sorter=order), len(cells) - 1)
        hits = np.flatnonzero(cells[order[found]] == wanted)
        weights[source[hits], order[found[hits]] % targets.shape[1]] = self.weights[places[hits]]
        return weights

    def for_positions(self, rows: Int32Array, n_positions: int) -> ItemItemWeights:
        """The same links between positions of a catalogue; `rows` int32 [N] has each position's row, -1 for none."""
        position_of = np.full(len(self.offsets) - 1, -1, dtype=np.int32)
        position_of[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
        known = np.flatnonzero(rows >= 0)
        source, places = self.from_rows(rows[known])
        games = position_of[self.games[places]]
        kept = games >= 0
        counts = np.bincount(known[source[kept]], minlength=n_positions)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        return ItemItemWeights(offsets, games[kept], self.weights[places[kept]])
