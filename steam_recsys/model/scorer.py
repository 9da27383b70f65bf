"""Scores and recommendations for a catalogue, for many users at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from threadpoolctl import threadpool_limits

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from steam_recsys.data.histories import Histories
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.retrieval import ExactIndex, Index, SparseScores


@dataclass(frozen=True)
class PopularityOrder:
    """The n available games of a catalogue of N, most popular first.

    Attributes:
        positions: int32 [n], the catalogue position of each game.
        ranks: int32 [N], the popularity rank of each catalogue position, from 0. Equally popular games all have the
            last of their ranks; games that are not available have -1.
    """

    positions: Int32Array
    ranks: Int32Array

    @classmethod
    def from_popularity(cls, popularity: Float32Array, available: BoolArray | None) -> PopularityOrder:
        """Sort the available games by popularity.

        Args:
            popularity: float32 [N], higher for more popular games.
            available: bool [N]; None if all games are available.
        """
        candidates = np.arange(len(popularity)) if available is None else np.flatnonzero(available)
        positions = candidates[np.argsort(-popularity[candidates], kind="stable")].astype(np.int32)
        ranks = np.full(len(popularity), -1, dtype=np.int32)
        ranks[positions] = np.searchsorted(-popularity[positions], -popularity[positions], side="right") - 1
        return cls(positions, ranks)

    def above_popularity(self, positions: Int32Array, excluded: Histories, among: BoolArray | None = None) -> BoolArray:
        """Tell which games rank higher in their user's list than they would by popularity alone.

        Equally popular games all count as the last of them: popularity alone ranks none of them before the others.

        Args:
            positions: int32 [B, k], the best games for B users, best first; -1 for none.
            excluded: Games that may not be recommended to these users.
            among: bool [N], the games that may be recommended to any of these users; None for all.

        Returns:
            bool [B, k]; undefined where a position is -1.
        """
        columns, lengths = np.arange(positions.shape[1]), excluded.lengths
        enough = positions.shape[1] + int(lengths.max(initial=0))
        ranks = self._ranks_among(among, enough, self.ranks.take(positions))
        above_popularity = ranks > columns
        # Excluded games lower the popularity rank. They are only counted where that can change the result.
        users, undecided = np.nonzero(above_popularity & (ranks - lengths[:, None] <= columns))
        if len(users):
            before = self._excluded_before(excluded, among, users, positions[users, undecided])
            above_popularity[users, undecided] = ranks[users, undecided] - before > undecided
        return above_popularity

    def _ranks_among(self, among: BoolArray | None, enough: int, ranks: Int32Array) -> Int32Array:
        """Convert ranks to ranks among fewer games; they are exact up to `enough`, and larger ones are clipped."""
        if among is None or not len(self.positions):
            return ranks
        width = min(8 * (enough + 2), len(self.positions))
        while (counts := np.cumsum(among[self.positions[:width]]))[-1] < enough + 2 and width < len(self.positions):
            width = min(8 * width, len(self.positions))
        return counts[np.minimum(ranks, width - 1)] - 1

    def _excluded_before(
        self, excluded: Histories, among: BoolArray | None, users: Int64Array, positions: Int32Array
    ) -> Int64Array:
        """Count, for each of n pairs of user and game, the user's excluded games that are at least as popular.

        Args:
            excluded: Excluded games of all users.
            among: bool [N], the games that count; None for all.
            users: int64 [n], rows of `excluded`.
            positions: int32 [n], catalogue positions.

        Returns:
            int64 [n].
        """
        counted = self.ranks[excluded.games] >= 0
        if among is not None:
            counted &= among[excluded.games]
        games, width = excluded.games[counted], len(self.ranks)
        keys = np.sort((excluded.owners[counted] * width + self.ranks[games]) * width + games)
        keys = keys[np.diff(keys, prepend=-1) > 0]  # each game of a user once
        ends = np.searchsorted(keys, (users * width + self.ranks[positions] + 1) * width)
        return ends - np.searchsorted(keys, users * width * width)


BLOCK_USERS, BLOCK_GAMES = 512, 8192
"""Limits of a block: users, and games in their histories. A user with a longer history is a block alone."""


@dataclass(frozen=True)
class Scorer:
    """Everything needed to score a catalogue of N games; games are identified by their position in it.

    Attributes:
        history: float32 [N, d], each game's vector as part of a history.
        candidates: float32 [N, d], each game's vector as a candidate, of length one; zero if nothing is known of it.
        item_item: Weights between catalogue positions.
        popularity_offset: float32 [N], what recent popularity adds to each game's score.
        scale: Factor of the cosine.
        history_weights: How much each game of a history counts.
        available: bool [N], the games that may be recommended; None for all.
        index: Finds the best of these games; None for exact retrieval.
    """

    history: Float32Array
    candidates: Float32Array
    item_item: ItemItemWeights
    popularity_offset: Float32Array
    scale: float
    history_weights: HistoryWeights
    available: BoolArray | None = None
    index: Index | None = None

    def __len__(self) -> int:
        return len(self.candidates)

    def with_available(self, available: BoolArray) -> Scorer:
        """Return a scorer that recommends only some games, bool [N]; the others still count in histories."""
        return replace(self, available=available)

    def arrays(self) -> dict[str, Float32Array]:
        """Return the arrays that have one row per game, by name."""
        return {"history": self.history, "candidates": self.candidates, "popularity_offset": self.popularity_offset}

    def queries(self, history: Histories) -> Float32Array:
        """Compute the query tower: float32 [B, d] of length one, zero for an empty history."""
        vectors = self.history[history.games] * self.history_weights.weigh(history)[:, None]
        return normalised(segment_sums(vectors, history.offsets))

    def scores(self, history: Histories) -> Float32Array:
        """Score every game for every user, float32 [B, N]."""
        scores: Float32Array = np.matmul(self.queries(history) * np.float32(self.scale), self.candidates.T)
        scores += self.popularity_offset
        added = self.item_item_scores(history)
        np.add.at(scores.reshape(-1), added.rows * len(self) + added.games, added.weights)
        return scores

    def item_item_scores(self, history: Histories) -> SparseScores:
        """Return what the item-item weights of each game of the histories add to the scores."""
        source, entries = self.item_item.entries(history.games)
        weights = self.item_item.weights[entries] * self.history_weights.weigh(history)[source]
        return SparseScores(history.owners[source], self.item_item.games[entries], weights)

    def recommend(
        self, history: Histories, k: int, *, excluded: Histories | None = None, among: BoolArray | None = None
    ) -> tuple[Int32Array, Float32Array, Int32Array]:
        """Recommend the k best games to each of B users, best first; ties in catalogue order.

        Users are answered in blocks, with one thread per core.

        Args:
            history: The users' games, as catalogue positions.
            k: Number of games.
            excluded: Games that must not be recommended to the same users; None for those of the history.
            among: bool [N], the available games that may be recommended to any of these users; None for all.

        Returns:
            The games' positions, int32 [B, k], -1 if fewer than k games are left; their scores, float32 [B, k], -inf
            there; and their reasons, int32 [B, k], the position of the history's game that contributed most. Of equal
            contributions the earliest game is the reason; a game that the user does not recommend is one only if the
            user recommends none. The reason is -1 if the history is not the cause: the game ranks no higher than by
            popularity alone.
        """
        excluded = history if excluded is None else excluded
        positions = np.full((len(history), k), -1, dtype=np.int32)
        values = np.full((len(history), k), -np.inf, dtype=np.float32)
        because = np.full((len(history), k), -1, dtype=np.int32)
        index, order = self.index or self.exact_index, self.popularity_order  # built once, before the threads start

        def recommend_block(users: Int64Array) -> None:
            known, without = history.take(users), excluded.take(users)
            queries = self.queries(known) * np.float32(self.scale)
            removed = SparseScores(without.owners, without.games, np.zeros(len(without.games), dtype=np.float32))
            positions[users], values[users] = index.search(queries, self.item_item_scores(known), removed, k, among)
            above_popularity = order.above_popularity(positions[users], without, among)
            because[users] = np.where(above_popularity, self._reasons(known, positions[users]), np.int32(-1))

        if k and len(history):
            on_all_cores(recommend_block, _blocks(history))
        return positions, values, because

    @cached_property
    def exact_index(self) -> ExactIndex:
        """Exact retrieval of the available games."""
        available = np.arange(len(self)) if self.available is None else np.flatnonzero(self.available)
        return ExactIndex.from_candidates(self.candidates, self.popularity_offset, self.scale, available)

    @cached_property
    def popularity_order(self) -> PopularityOrder:
        """The available games, most popular first."""
        return PopularityOrder.from_popularity(self.popularity_offset, self.available)

    def _reasons(self, history: Histories, positions: Int32Array) -> Int32Array:
        """Find the history's game that contributed most to each recommendation; -1 for an empty history.

        The cosine is a sum over the history's games, divided by one length, and the item-item weights are a sum too, so
        the game with the largest term contributed most. The loop takes the first game of every user, then the second
        one, and so on.
        """
        weights, owners = self.history_weights.weigh(history), history.owners
        lengths = np.linalg.norm(segment_sums(self.history[history.games] * weights[:, None], history.offsets), axis=1)
        factors = self.scale / np.where(lengths > 0, lengths, 1)
        likes = np.bincount(owners, history.recommended, len(history)) > 0
        eligible = np.flatnonzero(history.recommended | ~likes[owners])
        counts = np.bincount(owners[eligible], minlength=len(history))
        firsts = np.cumsum(counts) - counts
        longest_first = np.argsort(-counts, kind="stable")
        candidates = self.candidates.take(positions[longest_first], axis=0)  # unused where a position is -1
        item_item = self.item_item.between(history.games[eligible], positions, owners[eligible])
        highest = np.full(positions.shape, -np.inf, dtype=np.float32)
        because = np.full(positions.shape, -1, dtype=np.int32)
        for turn in range(counts.max(initial=0)):
            n = np.count_nonzero(counts > turn)
            users = longest_first[:n]
            indices = firsts[users] + turn
            current = eligible[indices]
            games = history.games[current]
            # Not a matrix product: BLAS may round equal rows differently, and then the earliest game might not win.
            terms = np.einsum("nd,nkd->nk", self.history[games], candidates[:n])
            terms *= factors[users, None]
            terms += item_item[indices]
            terms *= weights[current, None]
            better = terms > highest[:n]
            np.copyto(highest[:n], terms, where=better)
            np.copyto(because[:n], games[:, None], where=better)
        because[longest_first] = because.copy()
        return np.where(positions >= 0, because, np.int32(-1))


def on_all_cores(work: Callable[[Int64Array], None], blocks: Sequence[Int64Array]) -> None:
    """Run `work` on each block, with one thread per core and one BLAS thread in each of them."""
    if len(blocks) < 2:
        for block in blocks:
            work(block)
        return
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(cores()) as threads:
        list(threads.map(work, blocks))


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _blocks(history: Histories) -> list[Int64Array]:
    """Split users into blocks that make good use of a tile; the longer their histories, the fewer users per block."""
    costs = np.cumsum(np.maximum(history.lengths, BLOCK_GAMES // BLOCK_USERS))
    first = np.flatnonzero(np.diff(costs // BLOCK_GAMES, prepend=-1))
    return np.split(np.arange(len(history)), first[1:])


def segment_sums(vectors: Float32Array, offsets: Int64Array) -> Float32Array:
    """Sum the vectors of each segment, float32 [B, d]; an empty segment gives zero."""
    sums = np.zeros((len(offsets) - 1, vectors.shape[1]), dtype=np.float32)
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        sums[filled] = np.add.reduceat(vectors, offsets[filled], axis=0)
    return sums


def normalised(vectors: Float32Array) -> Float32Array:
    """Scale vectors to length one, float32 [B, d]; zero vectors stay zero."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    lengths[lengths == 0] = 1
    unit: Float32Array = vectors / lengths[:, None]
    return unit
