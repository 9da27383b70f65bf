"""Exact retrieval: the best games of a catalogue for many users and several lists at a time, in bounded memory.

Taste is computed once, in tiles of users and games that fit the processor's cache; each list adds popularity with its
own weight. Only scores that reach a user's threshold, the k-th best score so far, leave a tile. Games are sorted by
popularity: the best games come early, and a user is skipped in every later tile that cannot contain anything better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from steam_recsys.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array
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


@dataclass(frozen=True)
class GameList:
    """What a list of recommendations contains: games are sorted by taste + popularity weight × popularity prior.

    Attributes:
        name: Name of the list.
        length: Number of games, at least 1.
        popularity_weight: Factor of the popularity prior, at least 0: the lower, the more personal is the list.
        allowed: bool [N], the catalogue positions that may be on the list; None for all positions of the index.
    """

    name: str
    length: int
    popularity_weight: float
    allowed: BoolArray | None = None


Found = tuple[Int32Array, Float32Array]
"""The best games of a list for B users: positions, int32 [B, k], and scores, float32 [B, k], best first, ties in
catalogue order; -1 and -inf if a user has fewer than k games."""


class Index(Protocol):
    """Finds the best games of a catalogue."""

    def search(
        self, queries: Float32Array, item_item: SparseScores, excluded: SparseScores, lists: Sequence[GameList]
    ) -> list[Found]:
        """Find the best games for each of B users and each list, in one pass over the catalogue.

        Args:
            queries: float32 [B, d], multiplied with the candidate vectors.
            item_item: Additions to single scores; entries for the same user and game are summed.
            excluded: User-game pairs that are never returned; their weights are ignored.
            lists: What to find.

        Returns:
            One result per list.
        """


@dataclass(frozen=True)
class ExactIndex:
    """The n available games of a catalogue of N, most popular first.

    Attributes:
        positions: int32 [n], the catalogue position of each game.
        ranks: int32 [N], the index of each catalogue position in `positions`, -1 if it is not available.
        candidates: float32 [n, d], candidate vectors.
        priors: float32 [n], popularity priors, descending.
        reach: float32, the longest candidate vector of each chunk, times the length of the queries.
    """

    positions: Int32Array
    ranks: Int32Array
    candidates: Float32Array
    priors: Float32Array
    reach: Float32Array

    @classmethod
    def from_candidates(
        cls, candidates: Float32Array, priors: Float32Array, scale: float, available: Int64Array
    ) -> ExactIndex:
        """Build an index.

        Args:
            candidates: float32 [N, d], candidate vectors.
            priors: float32 [N], popularity priors.
            scale: Length of the query vectors.
            available: int64 [n], the positions that may be returned, ascending.

        Raises:
            UserError: A vector or a prior is not finite.
        """
        if not (np.isfinite(candidates).all() and np.isfinite(priors).all()):
            raise UserError("The model's game vectors or popularity priors are not finite numbers: train it again.")
        positions = available[np.argsort(-priors[available], kind="stable")].astype(np.int32)
        ranks = np.full(len(candidates), -1, dtype=np.int32)
        ranks[positions] = np.arange(len(positions), dtype=np.int32)
        candidates = np.ascontiguousarray(candidates[positions])
        lengths = scale * np.sqrt(np.einsum("nd,nd->n", candidates, candidates))
        return cls(positions, ranks, candidates, priors[positions], _chunk_maxima(lengths).astype(np.float32))

    def search(
        self, queries: Float32Array, item_item: SparseScores, excluded: SparseScores, lists: Sequence[GameList]
    ) -> list[Found]:
        """See `Index.search`."""
        if not len(self.positions):
            return [_nothing(len(queries), wanted.length) for wanted in lists]
        if len(lists) == 1 and (index := self._subset(lists[0])) is not self:
            return index.search(queries, item_item, excluded, [replace(lists[0], allowed=None)])
        width = min(max(TILE_SCORES // len(queries) // CHUNK_GAMES, 1) * CHUNK_GAMES, MAX_TILE_GAMES)
        # A wider first tile gives higher thresholds, which fewer scores of the second tile reach.
        starts = np.concatenate([[0], np.arange(min(2 * width, MAX_TILE_GAMES), len(self.positions), width)])
        added, removed = (self._by_tile(entries, starts, width) for entries in (item_item, excluded))
        widest = int(np.diff(starts, append=len(self.positions)).max())
        tastes, scratch = (np.empty(len(queries) * widest, dtype=np.float32) for _ in range(2))
        searches = [
            _ListSearch(self, wanted, starts, TopK(len(queries), wanted.length, width), scratch) for wanted in lists
        ]
        for tile, start in enumerate(starts):
            stop = int(starts[tile + 1]) if tile + 1 < len(starts) else len(self.positions)
            raised: Float64Array | float = 0.0
            if tile and len(added.entries(tile)[0]):
                raised = np.bincount(added.entries(tile)[0], np.maximum(added.entries(tile)[2], 0), len(queries))
            reached = np.zeros(len(queries), dtype=bool)
            for search in searches:
                reached |= search.may_improve(tile, raised)
            if not reached.any():
                continue
            everyone = bool(reached.all())
            users = np.flatnonzero(reached)
            taste = tastes[: len(users) * (stop - start)].reshape(len(users), -1)
            np.matmul(queries if everyone else queries[users], self.candidates[start:stop].T, taste)
            rows, columns, weights = added.entries(tile, None if everyone else users)
            np.add.at(taste.reshape(-1), rows * taste.shape[1] + columns, weights)
            rows, columns, _ = removed.entries(tile, None if everyone else users)
            taste[rows, columns] = -np.inf
            for search in searches:
                search.add(users, taste, int(start), stop)
        return [search.best.result() for search in searches]

    def games_scored(self, popularity_weight: float, kth_scores: Float32Array) -> float:
        """Return a lower bound for the games that a search must score per user, on average.

        Args:
            popularity_weight: Factor of the popularity prior.
            kth_scores: float32 [B], the k-th best score of each user.
        """
        sizes = np.diff(np.arange(0, len(self.positions), CHUNK_GAMES), append=len(self.positions))
        return float(((self.bounds(popularity_weight) >= kth_scores[:, None]) @ sizes).mean())

    def bounds(self, popularity_weight: float) -> Float32Array:
        """Return an upper bound for the scores of each chunk, without item-item weights, float32."""
        highest = popularity_weight * self.priors[::CHUNK_GAMES]  # the first of each chunk
        bounds: Float32Array = (highest + self.reach + ROUNDING * (self.reach + np.abs(highest))).astype(np.float32)
        return bounds

    def _subset(self, wanted: GameList) -> ExactIndex:
        """Return an index of only the allowed games, if copying those is faster than scoring all games."""
        if wanted.allowed is None or np.count_nonzero(wanted.allowed) >= SUBSET_SHARE * len(self.positions):
            return self
        kept = np.flatnonzero(wanted.allowed[self.positions])
        positions = self.positions[kept]
        ranks = np.full_like(self.ranks, -1)
        ranks[positions] = np.arange(len(kept), dtype=np.int32)
        reach = _chunk_maxima(self.reach[kept // CHUNK_GAMES])
        return ExactIndex(positions, ranks, self.candidates[kept], self.priors[kept], reach)

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


class _ListSearch:
    """The search for the games of one list."""

    def __init__(
        self, index: ExactIndex, wanted: GameList, starts: Int64Array, best: TopK, scratch: Float32Array
    ) -> None:
        """Start the search; `scratch` is as large as a tile."""
        self.best = best
        self._positions = index.positions
        self._weighted = np.float32(wanted.popularity_weight) * index.priors
        self._bounds = np.maximum.reduceat(index.bounds(wanted.popularity_weight), starts // CHUNK_GAMES)
        self._scratch = scratch
        self._columns: Int64Array | None = None
        if wanted.allowed is not None:
            allowed = wanted.allowed[index.positions]
            self._columns = np.flatnonzero(allowed)
            self._weighted = np.where(allowed, self._weighted, np.float32(-np.inf))
            self._bounds[np.add.reduceat(allowed.astype(np.int64), starts) == 0] = -np.inf

    def may_improve(self, tile: int, raised: Float64Array | float) -> BoolArray:
        """Tell for which users a tile may contain better games than the best so far, bool [B].

        Args:
            tile: Number of the tile.
            raised: float64 [B], the most that item-item weights add to a score of the tile.
        """
        may: BoolArray = self._bounds[tile] + raised * (1 + ROUNDING) >= self.best.thresholds
        return may

    def add(self, users: Int64Array, taste: Float32Array, start: int, stop: int) -> None:
        """Add the games from `start` to `stop` for some users, given their taste, float32 [users, stop - start]."""
        columns: Int64Array | slice = slice(start, stop)
        if self._columns is not None:
            within = self._columns[np.searchsorted(self._columns, start) : np.searchsorted(self._columns, stop)]
            if not len(within):
                return
            if len(within) < SUBSET_SHARE * (stop - start):
                columns, taste = within, taste.take(within - start, axis=1)
        scores = self._scratch[: taste.size].reshape(taste.shape)
        np.add(taste, self._weighted[columns], out=scores)
        self.best.add(users, scores, self._positions[columns])


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

    def result(self) -> Found:
        """Return the best games, see `Found`."""
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


def _nothing(users: int, k: int) -> Found:
    return np.full((users, k), -1, np.int32), np.full((users, k), -np.inf, np.float32)


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
