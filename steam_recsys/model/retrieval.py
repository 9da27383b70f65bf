"""Exact retrieval: the k best games of a whole catalogue for many users at a time, in bounded memory.

Users times games are scored a tile at a time, small enough to stay in the processor's cache, and only what reaches a
user's threshold, the k-th best score so far, leaves it. The catalogue is read in the order of popularity: the best come
early, and a user for whom no later chunk can hold anything better is left out of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from steam_recsys.errors import UserError

TILE = 1 << 19
"""Scores held at a time, 2 MB of float32: about what a core's own cache holds."""

CHUNK = 512
"""Games that have a bound in common; a tile is some of these wide, the wider the fewer users there are."""

WIDEST = 64 * CHUNK

ROUNDING = 1e-5
"""More than float32 loses, in parts of the amounts that are added, on the way to a score."""

FEW = 1 / 4
"""Where fewer of the games may be found, copying theirs out is faster than scoring all."""

LOWEST = np.finfo(np.float32).min
NOTHING = np.iinfo(np.int64).min
"""A key below that of every score."""

LARGEST = np.iinfo(np.int32).max


@dataclass(frozen=True)
class SparseScores:
    """A sparse matrix of users and games: n of its cells.

    Attributes:
        rows: int64 [n], the users.
        games: int32 [n], positions in the catalogue.
        weights: float32 [n].
    """

    rows: Int64Array
    games: Int32Array
    weights: Float32Array


class Index(Protocol):
    """What finds the best games of a catalogue."""

    def search(
        self,
        queries: Float32Array,
        linked: SparseScores,
        excluded: SparseScores,
        k: int,
        among: BoolArray | None = None,
    ) -> tuple[Int32Array, Float32Array]:
        """The k best games for each of B users, best first, equal scores in the order of the catalogue.

        Args:
            queries: float32 [B, d], to be multiplied with the candidates.
            linked: what is added to some scores; several entries of a cell are summed.
            excluded: the cells that must not be found; their weights do not matter.
            k: how many, at least one.
            among: bool [N], the positions that may be found for any user; all of the index where left out.

        Returns:
            Their positions, int32 [B, k], -1 where a user has fewer, and scores, float32 [B, k], -inf there.
        """


@dataclass(frozen=True)
class ExactIndex:
    """The n games of a catalogue of N that may be found, in the order of popularity, the most popular first.

    Attributes:
        positions: int32 [n], where each stands in the catalogue.
        places: int32 [N], the opposite: the place here of each position of the catalogue, -1 for none.
        candidates: float32 [n, d + 1], the last of its dimensions what is added whoever the user is.
        bounds: float32, one a chunk: no product of a query and one of its candidates is higher.
    """

    positions: Int32Array
    places: Int32Array
    candidates: Float32Array
    bounds: Float32Array

    @classmethod
    def from_candidates(
        cls, candidates: Float32Array, offsets: Float32Array, scale: float, offered: Int64Array
    ) -> ExactIndex:
        """Make an index.

        Args:
            candidates: float32 [N, d].
            offsets: float32 [N].
            scale: the length of the queries to come.
            offered: int64 [n], the positions that may be found, ascending.

        Raises:
            UserError: a vector or an offset is not finite.
        """
        if not (np.isfinite(candidates).all() and np.isfinite(offsets).all()):
            raise UserError("The model has vectors of games that are not finite numbers: train it again.")
        positions = offered[np.argsort(-offsets[offered], kind="stable")].astype(np.int32)
        places = np.full(len(candidates), -1, dtype=np.int32)
        places[positions] = np.arange(len(positions), dtype=np.int32)
        offsets = offsets[positions]
        candidates = np.column_stack([candidates[positions], offsets])
        reach = scale * np.sqrt(np.einsum("nd,nd->n", candidates[:, :-1], candidates[:, :-1]))
        highest = offsets + reach + ROUNDING * (reach + np.abs(offsets))
        bounds = np.maximum.reduceat(highest, np.arange(0, len(highest), CHUNK)) if len(highest) else highest
        return cls(positions, places, candidates, bounds.astype(np.float32))

    def search(
        self,
        queries: Float32Array,
        linked: SparseScores,
        excluded: SparseScores,
        k: int,
        among: BoolArray | None = None,
    ) -> tuple[Int32Array, Float32Array]:
        """See `Index.search`."""
        if among is not None and np.count_nonzero(among) < FEW * len(self.positions):
            return self.narrowed(among).search(queries, linked, excluded, k)
        if not len(self.positions):
            return np.full((len(queries), k), -1, np.int32), np.full((len(queries), k), -np.inf, np.float32)
        width = min(max(TILE // len(queries) // CHUNK, 1) * CHUNK, WIDEST)
        # A wider first tile gives thresholds that less of the second reaches.
        starts = np.concatenate([[0], np.arange(min(2 * width, WIDEST), len(self.positions), width)])
        bounds = np.maximum.reduceat(self.bounds, starts // CHUNK)
        links, gaps = (self._by_tile(entries, starts, width) for entries in (linked, excluded))
        queries = np.column_stack([queries, np.ones(len(queries), dtype=np.float32)])
        widest = int(np.diff(starts, append=len(self.positions)).max())
        best = Best(len(queries), k, width)
        scratch = np.empty(len(queries) * widest, dtype=np.float32)
        for tile, (bound, start) in enumerate(zip(bounds, starts, strict=True)):
            positions = self.positions[start : starts[tile + 1] if tile + 1 < len(starts) else None]
            users = np.arange(len(queries))
            if not (everyone := bool(bound >= best.thresholds.max())):
                raised = np.bincount(links.of(tile)[0], np.maximum(links.of(tile)[2], 0), len(queries))
                users = np.flatnonzero(bound + raised * (1 + ROUNDING) >= best.thresholds)
            if not len(users):
                continue
            scores = scratch[: len(users) * len(positions)].reshape(len(users), -1)
            candidates = self.candidates[start : start + len(positions)]
            np.matmul(queries if everyone else queries[users], candidates.T, scores)
            rows, columns, weights = links.of(tile, None if everyone else users)
            np.add.at(scores.reshape(-1), rows * len(positions) + columns, weights)
            rows, columns, _ = gaps.of(tile, None if everyone else users)
            scores[rows, columns] = -np.inf
            if among is not None:
                scores[:, ~among[positions]] = -np.inf
            best.add(users, scores, positions)
        return best.best()

    def narrowed(self, among: BoolArray) -> ExactIndex:
        """The index of those of its games that are among some, bool [N]."""
        kept = np.flatnonzero(among[self.positions])
        positions = self.positions[kept]
        places = np.full_like(self.places, -1)
        places[positions] = np.arange(len(kept), dtype=np.int32)
        highest = self.bounds[kept // CHUNK]
        bounds = np.maximum.reduceat(highest, np.arange(0, len(kept), CHUNK)) if len(kept) else highest
        return ExactIndex(positions, places, self.candidates[kept], bounds)

    def reach(self, scores: Float32Array) -> float:
        """How many games the search looks at for users whose k-th best scores these are, on average, at least."""
        sizes = np.diff(np.arange(0, len(self.positions), CHUNK), append=len(self.positions))
        return float(((self.bounds >= scores[:, None]) @ sizes).mean())

    def _by_tile(self, entries: SparseScores, starts: Int64Array, width: int) -> _ByTile:
        places = self.places.take(entries.games)
        first = int(starts[1]) if len(starts) > 1 else len(self.positions)
        tile = np.maximum((places - first) // width + 1, 0)
        tile[places < 0] = -1  # a game that may not be found
        order = np.argsort(tile.astype(np.min_scalar_type(-len(starts) - 1)), kind="stable")
        ends = np.cumsum(np.bincount(tile + 1, minlength=len(starts) + 1))
        columns = (places - starts.take(tile)).take(order)
        return _ByTile(entries.rows.take(order), columns, entries.weights.take(order), ends)


@dataclass(frozen=True)
class _ByTile:
    """Entries in the order of the tiles, tile t's from `ends[t]` to `ends[t + 1]`; columns are those of the tile."""

    rows: Int64Array
    columns: Int64Array
    weights: Float32Array
    ends: Int64Array

    def of(self, tile: int, users: Int64Array | None = None) -> tuple[Int64Array, Int64Array, Float32Array]:
        """The rows, columns and weights of a tile; of some users, ascending, where they are given, by their places."""
        mine = slice(self.ends[tile], self.ends[tile + 1])
        rows, columns, weights = self.rows[mine], self.columns[mine], self.weights[mine]
        if users is None:
            return rows, columns, weights
        places = np.minimum(np.searchsorted(users, rows), len(users) - 1)
        here = users[places] == rows
        return places[here], columns[here], weights[here]


class Best:
    """The k best of each of B users so far, as keys: in the order of the scores, equal ones in that of the catalogue.

    Keys are gathered in a pool; whenever there are enough new ones, all but the k best are dropped.
    """

    def __init__(self, users: int, k: int, width: int) -> None:
        """`width` is how many games of a user are added at a time, at most."""
        self._k, self._width = k, width
        self._pool = np.empty((users, 4 * k + width), dtype=np.int64)
        self._filled = np.zeros(users, dtype=np.int64)
        self._reaching = np.empty(users * width, dtype=bool)
        self.thresholds = np.full(users, LOWEST, dtype=np.float32)

    def add(self, users: Int64Array, scores: Float32Array, positions: Int32Array) -> None:
        """Look at the scores of some games for some users, float32 [users, positions]."""
        n_games = scores.shape[1]
        thresholds = self.thresholds[users]
        if self._k <= n_games and not self._filled.any():
            thresholds = np.maximum(np.partition(scores, n_games - self._k, axis=1)[:, n_games - self._k], LOWEST)
            self.thresholds[users] = thresholds
        for start in range(0, n_games, self._width):
            part = scores[:, start : start + self._width]
            reaching = self._reaching[: part.size].reshape(part.shape)
            np.greater_equal(part, thresholds[:, None], out=reaching)
            cells = few_true(reaching.reshape(-1))
            rows = cells // part.shape[1]
            columns = cells - rows * part.shape[1] + start
            found = scores.reshape(-1).take(rows * n_games + columns)
            self.insert(users.take(rows), found, positions.take(columns))

    def insert(self, rows: Int64Array, scores: Float32Array, positions: Int32Array) -> None:
        """Add single games of users, ordered by user, which are not among those that were added before."""
        counts = np.bincount(rows, minlength=len(self._filled))
        slots = np.arange(len(rows)) + (self._filled + counts - np.cumsum(counts)).take(rows)
        self._pool[rows, slots] = _keys(scores, positions)
        self._filled += counts
        if self._filled.max() > 4 * self._k or self._filled.sum() > 1.5 * self._k * len(self._filled):
            self._drop()

    def best(self) -> tuple[Int32Array, Float32Array]:
        """Positions and scores, best first, as `ExactIndex.search` returns them."""
        self._drop()
        keys = np.sort(self._pool[:, : self._k], axis=1)[:, ::-1]
        found = keys != NOTHING
        return np.where(found, _positions(keys), np.int32(-1)), np.where(found, _scores(keys), np.float32(-np.inf))

    def _drop(self) -> None:
        k, widest = self._k, max(self._k, int(self._filled.max(initial=0)))
        pool = self._pool[:, :widest]
        np.copyto(pool, NOTHING, where=np.arange(widest) >= self._filled[:, None])
        pool.partition(widest - k, axis=1)
        pool[:, :k] = pool[:, widest - k :]
        self._filled = np.minimum(self._filled, k)
        full = self._filled == k
        self.thresholds[full] = _scores(pool[full, :k].min(axis=1))


def few_true(flags: BoolArray) -> Int64Array:
    """Where flags are true, bool [n] as for `np.flatnonzero`: eight at a time, as hardly any are."""
    if len(flags) % 8:
        return np.flatnonzero(flags)
    words = flags.view(np.uint64)
    some = np.flatnonzero(words != 0)
    inside = np.flatnonzero(words[some].view(bool))
    cells: Int64Array = some[inside >> 3] * 8 + (inside & 7)
    return cells


def _keys(scores: Float32Array, positions: Int32Array) -> Int64Array:
    """int64, the higher the better: the score's bits, so that they are ordered as it is, above the position's."""
    bits = (scores + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    bits ^= (bits >> 31) & np.int32(LARGEST)
    return (bits.astype(np.int64) << 32) | (LARGEST - positions)


def _scores(keys: Int64Array) -> Float32Array:
    bits = (keys >> 32).astype(np.int32)
    bits ^= (bits >> 31) & np.int32(LARGEST)
    return bits.view(np.float32)


def _positions(keys: Int64Array) -> Int32Array:
    return (LARGEST - (keys & LARGEST)).astype(np.int32)
