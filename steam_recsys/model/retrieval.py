"""Exact retrieval: the best games of a catalogue for many users and several lists at a time, in bounded memory.

Taste is computed once, in tiles of users and games that fit the processor's cache. Each list adds popularity with its
own weight, but only to the few games of a tile whose taste can reach the user's threshold, the k-th best score so far.
Games are sorted by popularity: the best games come early, a tile's games are about equally popular, and a user is
skipped in every later tile that cannot contain anything better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from steam_recsys.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array, offsets_from_lengths
from steam_recsys.errors import UserError

TILE_SCORES = 1 << 19
"""Scores computed at a time, 2 MB of float32: about the size of one core's cache."""

CHUNK_GAMES = 512
"""Games that share an upper bound. A tile is several chunks wide; the fewer users, the wider."""

MAX_TILE_GAMES = 64 * CHUNK_GAMES

ROUNDING = 1e-5
"""Relative rounding error allowed for float32 scores in upper bounds."""

SUBSET_SHARE, SHARED_SUBSET_SHARE = 1 / 4, 1 / 16
"""If a smaller share of the games is allowed, copying those is faster than scoring all games. The second share is for
lists that can be searched together with others, for which many games are scored anyway."""

LOWEST_SCORE = np.finfo(np.float32).min
EMPTY_KEY = np.iinfo(np.int64).min
"""A key below the key of every score."""

MAX_INT32 = np.iinfo(np.int32).max

TOP_K_SCORES = 1 << 18
"""Scores whose highest are found at once: what fits into a core's cache."""

TOP_K_BLOCK, BLOCKS_PER_SCORE = 32, 2
"""Largest number of scores per block, and smallest number of blocks per requested score, when a threshold is computed:
the k best blocks must contain little besides the k best scores."""

FIRST_TILE = 4
"""Width of the first tile, in tiles. A wider one gives higher thresholds, which fewer scores of later tiles reach."""

UPDATE_SHARE = 1 / 2
"""Thresholds are updated after this many new games per user, times the length of the longest list."""

LEAST_UPDATE = 1 << 12
"""Fewer new games than this are not worth an update."""


POOL_KEYS = 1 << 23
"""Keys from which the best are selected at once, 64 MB of int64."""


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
        length: Number of games.
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


class Search(Protocol):
    """A search for the games of some lists; threads may share it."""

    def __call__(self, queries: Float32Array, item_item: SparseScores, excluded: SparseScores) -> list[Found]:
        """Find the best games for each of B users and each list.

        Args:
            queries: float32 [B, d], multiplied with the candidate vectors.
            item_item: Additions to single scores; entries for the same user and game are summed.
            excluded: User-game pairs that are never returned; their weights are ignored.

        Returns:
            One result per list.
        """


class Index(Protocol):
    """Finds the best games of a catalogue."""

    def prepare(self, lists: Sequence[GameList]) -> Search:
        """Compute what the search for some lists needs for every user."""


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

    def prepare(self, lists: Sequence[GameList]) -> Search:
        """See `Index.prepare`. Lists are searched together, except those that few games may be on."""
        share = SUBSET_SHARE if len(lists) == 1 else SHARED_SUBSET_SHARE
        alone = [self.is_narrow(wanted, share) for wanted in lists]
        together = _Pass(self, [wanted for wanted, narrow in zip(lists, alone, strict=True) if not narrow])
        passes = [
            _Pass(self.subset(wanted), [replace(wanted, allowed=None)])
            for wanted, narrow in zip(lists, alone, strict=True)
            if narrow
        ]

        def search(queries: Float32Array, item_item: SparseScores, excluded: SparseScores) -> list[Found]:
            shared = iter(together(queries, item_item, excluded))
            own = iter([found for each in passes for found in each(queries, item_item, excluded)])
            return [next(own if narrow else shared) for narrow in alone]

        return search

    def is_narrow(self, wanted: GameList, share: float) -> bool:
        """Return whether fewer than a share of the games may be on a list."""
        if wanted.allowed is None:
            return False
        return bool(np.count_nonzero(wanted.allowed[self.positions]) < share * len(self.positions))

    def subset(self, wanted: GameList) -> ExactIndex:
        """Return an index of only the games that may be on a list."""
        if wanted.allowed is None:
            return self
        kept = np.flatnonzero(wanted.allowed[self.positions])
        positions = self.positions[kept]
        ranks = np.full_like(self.ranks, -1)
        ranks[positions] = np.arange(len(kept), dtype=np.int32)
        reach = _chunk_maxima(self.reach[kept // CHUNK_GAMES])
        return ExactIndex(positions, ranks, self.candidates[kept], self.priors[kept], reach)

    def games_scored(self, wanted: GameList, kth_scores: Float32Array) -> float:
        """Return a lower bound for the games that a search for a list must score per user, on average.

        Args:
            wanted: The list.
            kth_scores: float32 [B], the score of each user's last game of the list; -inf if the list is not full.
        """
        sizes = np.diff(np.arange(0, len(self.positions), CHUNK_GAMES), append=len(self.positions))
        bounds = self.bounds(self.weighted_priors(wanted))
        return float(((bounds >= np.maximum(kth_scores, LOWEST_SCORE)[:, None]) @ sizes).mean())

    def weighted_priors(self, wanted: GameList) -> Float32Array:
        """Return the popularity of each game in a list, float32 [n]; -inf if the game may not be on it."""
        priors: Float32Array = np.float32(wanted.popularity_weight) * self.priors
        if wanted.allowed is not None:
            priors[~wanted.allowed[self.positions]] = -np.inf
        return priors

    def bounds(self, priors: Float32Array) -> Float32Array:
        """Return an upper bound for the scores of each chunk, without item-item weights, float32.

        Args:
            priors: float32 [n], the popularity of each game in a list.
        """
        highest = _chunk_maxima(priors)
        slack = ROUNDING * (self.reach + np.where(highest > -np.inf, np.abs(highest), 0))
        return np.asarray(highest + self.reach + slack, dtype=np.float32)

    def _by_tile(self, entries: SparseScores, starts: Int64Array, width: int) -> _TileEntries:
        """Group sparse entries by tile, given the first game of each tile; other games' entries are dropped."""
        ranks = self.ranks.take(entries.games)
        kept = np.flatnonzero(ranks >= 0)
        ranks = ranks.take(kept)
        first = int(starts[1]) if len(starts) > 1 else len(self.positions)
        tile = np.maximum((ranks - first) // width + 1, 0)
        order = np.argsort(tile.astype(np.min_scalar_type(len(starts))), kind="stable")
        columns = (ranks - starts.take(tile)).take(order)
        kept = kept.take(order)
        ends = offsets_from_lengths(np.bincount(tile, minlength=len(starts)))
        return _TileEntries(entries.rows.take(kept), columns, entries.weights.take(kept), ends)


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
        selected = self._slice(tile)
        rows, columns, weights = self.rows[selected], self.columns[selected], self.weights[selected]
        if users is None:
            return rows, columns, weights
        indices = np.minimum(np.searchsorted(users, rows), len(users) - 1)
        found = users[indices] == rows
        return indices[found], columns[found], weights[found]

    def raised(self, tile: int, users: int) -> Float64Array:
        """Return the most that the entries of a tile add to a score of each of B users, float64 [B]."""
        selected = self._slice(tile)
        return np.bincount(self.rows[selected], np.maximum(self.weights[selected], 0), users).astype(np.float64)

    def _slice(self, tile: int) -> slice:
        return slice(self.ends[tile], self.ends[tile + 1])


class _Pass:
    """A search for several lists in one pass over an index."""

    def __init__(self, index: ExactIndex, lists: Sequence[GameList]) -> None:
        self._index = index
        self._lengths = [wanted.length for wanted in lists]
        self._priors = [index.weighted_priors(wanted) for wanted in lists]
        self._bounds = [index.bounds(priors) for priors in self._priors]

    def __call__(self, queries: Float32Array, item_item: SparseScores, excluded: SparseScores) -> list[Found]:
        """See `Search`."""
        index, n_users, n_games = self._index, len(queries), len(self._index.positions)
        if not n_users or not n_games or not self._lengths:
            return [_nothing(n_users, length) for length in self._lengths]
        width = min(max(TILE_SCORES // n_users // CHUNK_GAMES, 1) * CHUNK_GAMES, MAX_TILE_GAMES)
        starts = np.concatenate([[0], np.arange(min(FIRST_TILE * width, MAX_TILE_GAMES), n_games, width)])
        ends = np.append(starts[1:], n_games)
        added, removed = (index._by_tile(entries, starts, width) for entries in (item_item, excluded))
        scratch = _Scratch.of_size(n_users * int((ends - starts).max()))
        searches = [
            _ListSearch(index.positions, priors, bounds, starts, TopK(n_users, length))
            for priors, bounds, length in zip(self._priors, self._bounds, self._lengths, strict=True)
        ]
        waiting = _Waiting(n_users, max(int(UPDATE_SHARE * n_users * max(self._lengths)), LEAST_UPDATE))
        for tile, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            certain = all(search.reaches_all(tile) for search in searches)
            raised = np.zeros(n_users) if certain else added.raised(tile, n_users)
            limits = np.stack([search.limits(tile, raised) for search in searches])
            users = np.flatnonzero(limits.min(axis=0) < np.inf)
            if not len(users):
                continue
            selected = None if len(users) == n_users else users
            taste = scratch.taste[: len(users) * (end - start)].reshape(len(users), -1)
            np.matmul(queries if selected is None else queries[users], index.candidates[start:end].T, taste)
            rows, columns, weights = added.entries(tile, selected)
            np.add.at(taste.reshape(-1), rows * taste.shape[1] + columns, weights)
            rows, columns, _ = removed.entries(tile, selected)
            taste[rows, columns] = -np.inf
            full = [search for search in searches if search.best.full]
            for search in searches:
                if not search.best.full:
                    search.add(users, taste, start, end, scratch.scores)
            if full:
                # One comparison finds the few games that any of these lists may need.
                lowest = limits[[search in full for search in searches]].min(axis=0)[users].astype(np.float32)
                reaching = np.greater_equal(
                    taste, lowest[:, None], out=scratch.flags[: taste.size].reshape(taste.shape)
                )
                waiting.add(users, taste, start, sparse_flatnonzero(reaching.reshape(-1)))
            if len(full) < len(searches) or waiting.enough:
                waiting.offer(full)
        waiting.offer(searches)
        return [search.best.result() for search in searches]


@dataclass(frozen=True)
class _Scratch:
    """Memory for one tile: its taste, the scores of one list, and flags."""

    taste: Float32Array
    scores: Float32Array
    flags: BoolArray

    @classmethod
    def of_size(cls, size: int) -> _Scratch:
        """Allocate memory for tiles of up to `size` scores."""
        return cls(np.empty(size, np.float32), np.empty(size, np.float32), np.empty(size, bool))


class _Waiting:
    """Games of single users that may be on a list, from several tiles: a few large updates are faster than many."""

    def __init__(self, users: int, limit: int) -> None:
        """Start without games; `limit` is the number of games that is enough for an update."""
        self._small = np.min_scalar_type(users)
        self._limit = limit
        self._clear()

    @property
    def enough(self) -> bool:
        """Whether enough games wait for an update."""
        return self._count >= self._limit

    def add(self, users: Int64Array, taste: Float32Array, start: int, cells: Int64Array) -> None:
        """Add some cells of a tile, int64 indices into its flat taste; the tile begins with the game `start`."""
        rows = cells // taste.shape[1]
        self._users.append(users.take(rows))
        self._games.append(cells - rows * taste.shape[1] + start)
        self._taste.append(taste.reshape(-1).take(cells))
        self._count += len(cells)

    def offer(self, searches: Sequence[_ListSearch]) -> None:
        """Pass the games on to some lists."""
        if self._count:
            users = np.concatenate(self._users)
            order = np.argsort(users.astype(self._small), kind="stable")  # a radix sort
            users, games, taste = (
                users.take(order),
                np.concatenate(self._games).take(order),
                np.concatenate(self._taste).take(order),
            )
            for search in searches:
                search.offer(users, games, taste)
            self._clear()

    def _clear(self) -> None:
        self._users: list[Int64Array] = []
        self._games: list[Int64Array] = []
        self._taste: list[Float32Array] = []
        self._count = 0


class _ListSearch:
    """The search for the games of one list for B users."""

    def __init__(
        self, positions: Int32Array, priors: Float32Array, bounds: Float32Array, starts: Int64Array, best: TopK
    ) -> None:
        """Start the search.

        Args:
            positions: int32 [n], the games of the index.
            priors: float32 [n], their popularity in this list, -inf for games that may not be on it.
            bounds: float32, an upper bound for the scores of each chunk without item-item weights.
            starts: int64 [T], the first game of each tile.
            best: The best games so far.
        """
        self.best = best
        self._positions, self._priors = positions, priors
        self._bounds = np.maximum.reduceat(bounds, starts // CHUNK_GAMES)
        self._highest = np.maximum.reduceat(priors, starts)

    def reaches_all(self, tile: int) -> bool:
        """Return whether a tile's bound reaches every user's threshold."""
        return bool(self._bounds[tile] >= self.best.highest_threshold)

    def limits(self, tile: int, raised: Float64Array) -> Float64Array:
        """Return the taste that a game of a tile needs to be one of the best, at least, for each of B users.

        Args:
            tile: Number of the tile.
            raised: float64 [B], the most that item-item weights add to a score of the tile.

        Returns:
            float64 [B], infinite if no game of the tile has as much.
        """
        highest = float(self._highest[tile])
        if highest == -np.inf:
            return np.full(len(raised), np.inf)
        limits: Float64Array = self.best.lowered_thresholds - (highest + ROUNDING * abs(highest))
        if not self.reaches_all(tile):
            limits[self._bounds[tile] + raised * (1 + ROUNDING) < self.best.thresholds] = np.inf
        return limits

    def offer(self, users: Int64Array, games: Int64Array, taste: Float32Array) -> None:
        """Add single games of single users, sorted by user, given their taste, if their scores reach the threshold."""
        scores = taste + self._priors.take(games)
        kept = np.flatnonzero(scores >= self.best.thresholds.take(users))
        self.best.add(users.take(kept), scores.take(kept), self._positions.take(games.take(kept)))

    def add(self, users: Int64Array, taste: Float32Array, start: int, end: int, scratch: Float32Array) -> None:
        """Add the games from `start` to `end` for some users, given their taste, float32 [users, end - start]."""
        priors, positions = self._priors[start:end], self._positions[start:end]
        allowed = np.flatnonzero(priors > -np.inf)
        if not len(allowed):
            return
        if len(allowed) < len(priors):
            priors, positions, taste = priors[allowed], positions[allowed], taste.take(allowed, axis=1)
        scores = np.add(taste, priors, out=scratch[: taste.size].reshape(taste.shape))
        thresholds = np.maximum(_kth_score_bounds(scores, self.best.k), self.best.thresholds[users])
        cells = np.flatnonzero(scores >= thresholds[:, None])
        rows = cells // scores.shape[1]
        self.best.add(users.take(rows), scores.reshape(-1).take(cells), positions.take(cells - rows * scores.shape[1]))


class TopK:
    """The k best games so far of each of B users.

    A score and its position are packed into one integer key that sorts by score, then by catalogue order.

    Attributes:
        k: Number of games.
        thresholds: float32 [B], the k-th best score of each user; the lowest finite number if there are fewer games.
        highest_threshold: The highest of these.
        lowered_thresholds: float64 [B], the thresholds less rounding errors; -inf if there are fewer games.
        full: Whether every user has k games, and so a threshold.
    """

    def __init__(self, users: int, k: int) -> None:
        """Start without games."""
        self.k = k
        self._set_thresholds(np.full(users, LOWEST_SCORE, dtype=np.float32))
        self._best = np.full((users, k), EMPTY_KEY)

    def add(self, users: Int64Array, scores: Float32Array, positions: Int32Array) -> None:
        """Add single games of single users, sorted by user; a game must not be added to a user twice."""
        if not len(users):
            return
        self._add(self._best, users, _keys(scores, positions))
        lowest = self._best[:, 0]
        self._set_thresholds(np.where(lowest == EMPTY_KEY, LOWEST_SCORE, _scores(lowest)))

    def _add(self, best: Int64Array, users: Int64Array, keys: Int64Array) -> None:
        """Add keys to the best ones of some users, of which the first becomes the lowest, in bounded memory.

        Args:
            best: int64 [U, k], the users' rows of `_best`.
            users: int64 [n], the row of each key, ascending.
            keys: int64 [n].
        """
        if not len(users):
            return
        counts = np.bincount(users, minlength=len(best))
        most = int(counts.max())
        if len(best) > 1 and len(best) * (most + self.k) > POOL_KEYS:  # a few users have many games
            half = len(best) // 2
            end = np.searchsorted(users, half)
            self._add(best[:half], users[:end], keys[:end])
            self._add(best[half:], users[end:] - half, keys[end:])
            return
        pool = np.full((len(best), most + self.k), EMPTY_KEY)
        slots = np.arange(len(users)) + (counts - np.cumsum(counts) + np.arange(len(best)) * pool.shape[1]).take(users)
        pool.reshape(-1)[slots] = keys
        pool[:, most:] = best
        pool.partition(most, axis=1)
        best[:] = pool[:, most:]

    def _set_thresholds(self, thresholds: Float32Array) -> None:
        self.thresholds = thresholds
        self.highest_threshold = float(thresholds.max(initial=LOWEST_SCORE))
        some = thresholds > LOWEST_SCORE
        self.full = bool(some.all())
        self.lowered_thresholds = np.where(some, thresholds - ROUNDING * np.abs(thresholds.astype(np.float64)), -np.inf)

    def result(self) -> Found:
        """Return the best games, see `Found`."""
        keys = np.sort(self._best, axis=1)[:, ::-1]
        found = keys != EMPTY_KEY
        return np.where(found, _positions(keys), np.int32(-1)), np.where(found, _scores(keys), np.float32(-np.inf))


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
    n_rows, n_columns = scores.shape
    step = max(1, TOP_K_SCORES // max(1, n_columns))
    if n_rows > step:
        parts = [top_k(scores[start : start + step], k) for start in range(0, n_rows, step)]
        return np.concatenate([columns for columns, _ in parts]), np.concatenate([values for _, values in parts])
    columns = np.full((n_rows, k), -1, dtype=np.int32)
    values = np.full((n_rows, k), -np.inf, dtype=np.float32)
    bounds = np.maximum(_kth_score_bounds(scores, k), LOWEST_SCORE)
    cells = sparse_flatnonzero((scores >= bounds[:, None]).ravel())
    found, rows = scores.ravel()[cells], cells // n_columns
    order = np.lexsort((-found, rows))  # stable, so that ties stay in column order
    firsts = offsets_from_lengths(np.bincount(rows, minlength=n_rows))
    ranks = np.arange(len(rows)) - firsts[rows]
    best = ranks < k
    places = rows[best], ranks[best]  # the rows are sorted, before the order and after
    columns[places] = (cells - rows * n_columns)[order][best]
    values[places] = found[order][best]
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


def _kth_score_bounds(scores: Float32Array, k: int) -> Float32Array:
    """Return a lower bound of the k-th highest of float32 [..., N], float32 [...]; -inf if there are fewer than k.

    It is the k-th highest of the blocks' maxima: each of k blocks contains a score that is at least as high. A block
    takes every M-th score, so the maxima of all blocks are computed along contiguous memory.
    """
    n_scores = scores.shape[-1]
    if not 0 < k <= n_scores:
        return np.full(scores.shape[:-1], -np.inf, dtype=np.float32)
    block = min(TOP_K_BLOCK, n_scores // (BLOCKS_PER_SCORE * k))
    if block > 1:
        n_scores //= block
        scores = scores[..., : n_scores * block].reshape(*scores.shape[:-1], block, n_scores).max(axis=-2)
    return np.asarray(np.partition(scores, n_scores - k, axis=-1)[..., n_scores - k])


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
