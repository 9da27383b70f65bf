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
from steam_recsys.model.explanations import PopularityOrder
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.retrieval import ExactIndex, Index, SparseScores

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
