"""Exact retrieval: the k best games of a catalogue for many users at a time, in bounded memory.

Scores are computed in tiles of users and games that fit the processor's cache. Only scores that reach a user's
threshold, the k-th best score so far, leave a tile. Games are sorted by popularity: the best games come early, and a
user is skipped in every later chunk that cannot contain anything better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from steam_recsys.errors import UserError

TILE_SCORES = 1 << 19
"""Scores computed at a time, 2 MB of float32: about the size of one core's cache."""

CHUNK_GAMES = 512
"""Games that share an upper bound. A tile is several chunks wide; the fewer users, the wider."""

MAX_TILE_GAMES = 64 * CHUNK_GAMES

ROUNDING = 1e-5
"""Relative rounding error allowed for float32 scores in upper bounds."""

SUBSET_SHARE = 1 / 4
"""If a smaller share of the games is allowed, copying those is faster than scoring all games."""

LOWEST_SCORE = np.finfo(np.float32).min
EMPTY_KEY = np.iinfo(np.int64).min
"""A key below the key of every score."""

MAX_INT32 = np.iinfo(np.int32).max

TOP_K_BLOCK = 32
"""Scores per block in `top_k`: so few that the k best blocks contain little besides the k best scores."""


@dataclass(frozen=True)
class SparseScores:
    """n entries of a sparse matrix of users and games.

    Attributes:
        rows: int64 [n], users.
        games: int32 [n], catalogue positions.
        weights: float32 [n], values.
    """

    rows: Int64Array
    games: Int32Array
    weights: Float32Array


class Index(Protocol):
    """Finds the best games of a catalogue."""

    def search(
        self,
        queries: Float32Array,
        item_item: SparseScores,
        excluded: SparseScores,
        k: int,
        among: BoolArray | None = None,
    ) -> tuple[Int32Array, Float32Array]:
        """Find the k best games for each of B users, best first; ties in catalogue order.

        Args:
            queries: float32 [B, d], multiplied with the candidate vectors.
            item_item: Additions to single scores; entries for the same user and game are summed.
            excluded: User-game pairs that are never returned; their weights are ignored.
            k: Number of games, at least 1.
            among: bool [N], the positions that may be returned to any user; None for all positions of the index.

        Returns:
            Positions, int32 [B, k], and scores, float32 [B, k]; -1 and -inf if a user has fewer than k games.
        """


@dataclass(frozen=True)
class ExactIndex:
    """The n available games of a catalogue of N, most popular first.

    Attributes:
        positions: int32 [n], the catalogue position of each game.
        ranks: int32 [N], the index of each catalogue position in `positions`, -1 if it is not available.
        candidates: float32 [n, d + 1], candidate vectors; the last dimension is the popularity offset.
        bounds: float32, an upper bound for the scores of each chunk, without item-item weights.
    """

    positions: Int32Array
    ranks: Int32Array
    candidates: Float32Array
    bounds: Float32Array

    @classmethod
    def from_candidates(
        cls, candidates: Float32Array, offsets: Float32Array, scale: float, available: Int64Array
    ) -> ExactIndex:
        """Build an index.

        Args:
            candidates: float32 [N, d], candidate vectors.
            offsets: float32 [N], popularity offsets.
            scale: Length of the query vectors.
            available: int64 [n], the positions that may be returned, ascending.

        Raises:
            UserError: A vector or an offset is not finite.
        """
        if not (np.isfinite(candidates).all() and np.isfinite(offsets).all()):
            raise UserError("The model's game vectors or popularity offsets are not finite numbers: train it again.")
        positions = available[np.argsort(-offsets[available], kind="stable")].astype(np.int32)
        ranks = np.full(len(candidates), -1, dtype=np.int32)
        ranks[positions] = np.arange(len(positions), dtype=np.int32)
        offsets = offsets[positions]
        candidates = np.column_stack([candidates[positions], offsets])
        reach = scale * np.sqrt(np.einsum("nd,nd->n", candidates[:, :-1], candidates[:, :-1]))
        highest = offsets + reach + ROUNDING * (reach + np.abs(offsets))
        return cls(positions, ranks, candidates, _chunk_maxima(highest).astype(np.float32))

    def search(
        self,
        queries: Float32Array,
        item_item: SparseScores,
        excluded: SparseScores,
        k: int,
        among: BoolArray | None = None,
    ) -> tuple[Int32Array, Float32Array]:
        """See `Index.search`."""
        if among is not None and np.count_nonzero(among) < SUBSET_SHARE * len(self.positions):
            return self.subset(among).search(queries, item_item, excluded, k)
        if not len(self.positions):
            return np.full((len(queries), k), -1, np.int32), np.full((len(queries), k), -np.inf, np.float32)
        width = min(max(TILE_SCORES // len(queries) // CHUNK_GAMES, 1) * CHUNK_GAMES, MAX_TILE_GAMES)
        # A wider first tile gives higher thresholds, which fewer scores of the second tile reach.
        starts = np.concatenate([[0], np.arange(min(2 * width, MAX_TILE_GAMES), len(self.positions), width)])
        bounds = np.maximum.reduceat(self.bounds, starts // CHUNK_GAMES)
        added, removed = (self._by_tile(entries, starts, width) for entries in (item_item, excluded))
        queries = np.column_stack([queries, np.ones(len(queries), dtype=np.float32)])
        widest = int(np.diff(starts, append=len(self.positions)).max())
        best = TopK(len(queries), k, width)
        scratch = np.empty(len(queries) * widest, dtype=np.float32)
        for tile, (bound, start) in enumerate(zip(bounds, starts, strict=True)):
            positions = self.positions[start : starts[tile + 1] if tile + 1 < len(starts) else None]
            users = np.arange(len(queries))
            if not (everyone := bool(bound >= best.thresholds.max())):
                raised = np.bincount(added.entries(tile)[0], np.maximum(added.entries(tile)[2], 0), len(queries))
                users = np.flatnonzero(bound + raised * (1 + ROUNDING) >= best.thresholds)
            if not len(users):
                continue
            scores = scratch[: len(users) * len(positions)].reshape(len(users), -1)
            candidates = self.candidates[start : start + len(positions)]
            np.matmul(queries if everyone else queries[users], candidates.T, scores)
            rows, columns, weights = added.entries(tile, None if everyone else users)
            np.add.at(scores.reshape(-1), rows * len(positions) + columns, weights)
            rows, columns, _ = removed.entries(tile, None if everyone else users)
            scores[rows, columns] = -np.inf
            if among is not None:
                scores[:, ~among[positions]] = -np.inf
            best.add(users, scores, positions)
        return best.result()

    def subset(self, among: BoolArray) -> ExactIndex:
        """Return an index of only those games that are in `among`, bool [N]."""
        kept = np.flatnonzero(among[self.positions])
        positions = self.positions[kept]
        ranks = np.full_like(self.ranks, -1)
        ranks[positions] = np.arange(len(kept), dtype=np.int32)
        return ExactIndex(positions, ranks, self.candidates[kept], _chunk_maxima(self.bounds[kept // CHUNK_GAMES]))

    def games_scored(self, kth_scores: Float32Array) -> float:
        """Return a lower bound for the games that a search must score per user, on average.

        Args:
            kth_scores: float32 [B], the k-th best score of each user.
        """
        sizes = np.diff(np.arange(0, len(self.positions), CHUNK_GAMES), append=len(self.positions))
        return float(((self.bounds >= kth_scores[:, None]) @ sizes).mean())

    def _by_tile(self, entries: SparseScores, starts: Int64Array, width: int) -> _TileEntries:
        """Group sparse entries by tile, given the first game of each tile."""
        ranks = self.ranks.take(entries.games)
        first = int(starts[1]) if len(starts) > 1 else len(self.positions)
        tile = np.maximum((ranks - first) // width + 1, 0)
        tile[ranks < 0] = -1  # not available
        order = np.argsort(tile.astype(np.min_scalar_type(-len(starts) - 1)), kind="stable")
        ends = np.cumsum(np.bincount(tile + 1, minlength=len(starts) + 1))
        columns = (ranks - starts.take(tile)).take(order)
        return _TileEntries(entries.rows.take(order), columns, entries.weights.take(order), ends)


@dataclass(frozen=True)
class _TileEntries:
    """Sparse entries sorted by tile: those of tile t are from `ends[t]` to `ends[t + 1]`; columns are within a tile."""

    rows: Int64Array
    columns: Int64Array
    weights: Float32Array
    ends: Int64Array

    def entries(self, tile: int, users: Int64Array | None = None) -> tuple[Int64Array, Int64Array, Float32Array]:
        """Return the rows, columns and weights of a tile.

        Args:
            tile: Number of the tile.
            users: int64, ascending: only entries of these users, with indices into `users` as rows; None for all.
        """
        selected = slice(self.ends[tile], self.ends[tile + 1])
        rows, columns, weights = self.rows[selected], self.columns[selected], self.weights[selected]
        if users is None:
            return rows, columns, weights
        indices = np.minimum(np.searchsorted(users, rows), len(users) - 1)
        found = users[indices] == rows
        return indices[found], columns[found], weights[found]


class TopK:
    """The k best games so far of each of B users.

    A score and its position are packed into one integer key that sorts by score, then by catalogue order. New keys
    collect in a pool; once there are enough of them, all but the k best of each user are dropped.
    """

    def __init__(self, users: int, k: int, width: int) -> None:
        """Start without games.

        Args:
            users: Number of users.
            k: Number of games to keep per user.
            width: Largest number of games that is added to a user at a time.
        """
        self._k, self._width = k, width
        self._pool = np.empty((users, 4 * k + width), dtype=np.int64)
        self._filled = np.zeros(users, dtype=np.int64)
        self._reaching = np.empty(users * width, dtype=bool)
        self.thresholds = np.full(users, LOWEST_SCORE, dtype=np.float32)

    def add(self, users: Int64Array, scores: Float32Array, positions: Int32Array) -> None:
        """Add the scores of some games for some users, float32 [users, positions]."""
        n_games = scores.shape[1]
        thresholds = self.thresholds[users]
        if self._k <= n_games and not self._filled.any():
            kth_scores = np.partition(scores, n_games - self._k, axis=1)[:, n_games - self._k]
            thresholds = np.maximum(kth_scores, LOWEST_SCORE)
            self.thresholds[users] = thresholds
        for start in range(0, n_games, self._width):
            part = scores[:, start : start + self._width]
            reaching = self._reaching[: part.size].reshape(part.shape)
            np.greater_equal(part, thresholds[:, None], out=reaching)
            cells = sparse_flatnonzero(reaching.reshape(-1))
            rows = cells // part.shape[1]
            columns = cells - rows * part.shape[1] + start
            found = scores.reshape(-1).take(rows * n_games + columns)
            self.insert(users.take(rows), found, positions.take(columns))

    def insert(self, rows: Int64Array, scores: Float32Array, positions: Int32Array) -> None:
        """Add single games of single users, sorted by user; a game must not be added to a user twice."""
        counts = np.bincount(rows, minlength=len(self._filled))
        slots = np.arange(len(rows)) + (self._filled + counts - np.cumsum(counts)).take(rows)
        self._pool[rows, slots] = _keys(scores, positions)
        self._filled += counts
        if self._filled.max() > 4 * self._k or self._filled.sum() > 1.5 * self._k * len(self._filled):
            self._drop()

    def result(self) -> tuple[Int32Array, Float32Array]:
        """Return positions and scores, best first, as in `Index.search`."""
        self._drop()
        keys = np.sort(self._pool[:, : self._k], axis=1)[:, ::-1]
        found = keys != EMPTY_KEY
        return np.where(found, _positions(keys), np.int32(-1)), np.where(found, _scores(keys), np.float32(-np.inf))

    def _drop(self) -> None:
        """Keep the k best keys of each user and update the thresholds."""
        k, widest = self._k, max(self._k, int(self._filled.max(initial=0)))
        pool = self._pool[:, :widest]
        np.copyto(pool, EMPTY_KEY, where=np.arange(widest) >= self._filled[:, None])
        pool.partition(widest - k, axis=1)
        pool[:, :k] = pool[:, widest - k :]
        self._filled = np.minimum(self._filled, k)
        full = self._filled == k
        self.thresholds[full] = _scores(pool[full, :k].min(axis=1))


def top_k(scores: Float32Array, k: int) -> tuple[Int32Array, Float32Array]:
    """Find the k highest scores of each row, best first; ties in column order. A score of -inf is never returned.

    Args:
        scores: float32 [B, N], without NaN.
        k: Number of scores.

    Returns:
        Columns, int32 [B, k], and their scores, float32 [B, k]; -1 and -inf if a row has fewer than k finite scores.

    Example:
        >>> columns, _ = top_k(np.array([[0.5, 2.0, 1.0]], dtype=np.float32), 2)
        >>> columns.tolist()
        [[1, 2]]
    """
    columns = np.full((len(scores), k), -1, dtype=np.int32)
    values = np.full((len(scores), k), -np.inf, dtype=np.float32)
    for row, row_scores in enumerate(scores):
        found = np.flatnonzero(row_scores >= max(_kth_score_bound(row_scores, k), LOWEST_SCORE))
        best = found[np.argsort(-row_scores[found], kind="stable")[:k]]
        columns[row, : len(best)] = best
        values[row, : len(best)] = row_scores[best]
    return columns, values


def sparse_flatnonzero(flags: BoolArray) -> Int64Array:
    """Do what `np.flatnonzero` does, faster if few of the flags, bool [n], are true: test eight at a time."""
    if len(flags) % 8:
        return np.flatnonzero(flags)
    words = flags.view(np.uint64)
    some = np.flatnonzero(words != 0)
    inside = np.flatnonzero(words[some].view(bool))
    cells: Int64Array = some[inside >> 3] * 8 + (inside & 7)
    return cells


def _kth_score_bound(scores: Float32Array, k: int) -> np.float32:
    """Return a lower bound of the k-th highest of float32 [N]; -inf if there are fewer than k.

    It is the k-th highest of the blocks' maxima: each of k blocks contains a score that is at least as high. A block
    takes every M-th score, so the maxima of all blocks are computed along contiguous memory.
    """
    n_blocks = len(scores) // TOP_K_BLOCK
    if n_blocks > k:
        scores = scores[: n_blocks * TOP_K_BLOCK].reshape(TOP_K_BLOCK, n_blocks).max(axis=0)
    rank = len(scores) - k
    return np.partition(scores, rank)[rank] if 0 < k <= len(scores) else np.float32(-np.inf)


def _chunk_maxima(values: Float32Array) -> Float32Array:
    """Return the maximum of each chunk of float [n]."""
    return np.maximum.reduceat(values, np.arange(0, len(values), CHUNK_GAMES)) if len(values) else values


def _keys(scores: Float32Array, positions: Int32Array) -> Int64Array:
    """Pack scores and positions into int64 keys: the score's bits, reordered to sort like the score, come first."""
    bits = (scores + np.float32(0)).view(np.int32)  # -0.0 becomes 0.0
    bits ^= (bits >> 31) & np.int32(MAX_INT32)
    return (bits.astype(np.int64) << 32) | (MAX_INT32 - positions)


def _scores(keys: Int64Array) -> Float32Array:
    """Return the scores packed into keys."""
    bits = (keys >> 32).astype(np.int32)
    bits ^= (bits >> 31) & np.int32(MAX_INT32)
    return bits.view(np.float32)


def _positions(keys: Int64Array) -> Int32Array:
    """Return the positions packed into keys."""
    return (MAX_INT32 - (keys & MAX_INT32)).astype(np.int32)
