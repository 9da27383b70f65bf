"""A catalogue ready for ranking."""

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
"""At most so many users are answered together, with at most so many games in their histories, unless one has more."""


@dataclass(frozen=True)
class Scorer:
    """A catalogue of N games, ready for ranking; games are meant by their position in it.

    Attributes:
        history: float32 [N, d], each game's vector as part of a history.
        candidates: float32 [N, d], each game's vector as a candidate, of length one (zero where nothing is known).
        links: between the catalogue's positions.
        popularity_offset: float32 [N], what recent popularity adds to each game's score.
        scale: what the cosine is multiplied by.
        history_weights: how much each game of a history counts.
        offered: bool [N], which games may be recommended; all of them where it is None.
        index: finds the best of these; exactly where it is None.
    """

    history: Float32Array
    candidates: Float32Array
    links: ItemItemWeights
    popularity_offset: Float32Array
    scale: float
    history_weights: HistoryWeights
    offered: BoolArray | None = None
    index: Index | None = None

    def __len__(self) -> int:
        return len(self.candidates)

    def offering(self, offered: BoolArray) -> Scorer:
        """The same catalogue, of which only some games may be recommended; the others are histories and reasons."""
        return replace(self, offered=offered)

    def arrays(self) -> dict[str, Float32Array]:
        """What there is a row a game of, by name."""
        return {"history": self.history, "candidates": self.candidates, "popularity_offset": self.popularity_offset}

    def queries(self, history: Histories) -> Float32Array:
        """The query tower: float32 [B, d] of length one, zero for an empty history."""
        vectors = self.history[history.games] * self.history_weights.of(history)[:, None]
        return normalised(segment_sums(vectors, history.offsets))

    def scores(self, history: Histories) -> Float32Array:
        """Every user's score of every game, float32 [B, N]."""
        scores: Float32Array = np.matmul(self.queries(history) * np.float32(self.scale), self.candidates.T)
        scores += self.popularity_offset
        linked = self.linked(history)
        np.add.at(scores.reshape(-1), linked.rows * len(self) + linked.games, linked.weights)
        return scores

    def linked(self, history: Histories) -> SparseScores:
        """What the links from each game of the histories add to the scores, an entry a link."""
        source, places = self.links.from_rows(history.games)
        weights = self.links.weights[places] * self.history_weights.of(history)[source]
        return SparseScores(history.owners[source], self.links.games[places], weights)

    def recommend(
        self, history: Histories, k: int, *, excluded: Histories | None = None, among: BoolArray | None = None
    ) -> tuple[Int32Array, Float32Array, Int32Array]:
        """The k best games for each of B users, best first; equal scores in the order of the catalogue.

        Many users are answered a block at a time, by as many threads as there are cores.

        Args:
            history: of the users, as positions in the catalogue.
            k: how many to recommend.
            excluded: games that must not be recommended to the same users; the history's where left out.
            among: bool [N], the games on offer that may be recommended to any of them; all where left out.

        Returns:
            The games as positions, int32 [B, k], -1 where fewer than k are left; their scores, float32 [B, k], -inf
            there; and their reasons, int32 [B, k]: the position of the history's game that contributed most, the
            earliest of equals. -1 where there is no recommendation, and where the history is no reason for it: the game
            stands no higher than it would if popularity alone decided. A game that the user does not recommend is a
            reason only where there is no other.
        """
        excluded = history if excluded is None else excluded
        positions = np.full((len(history), k), -1, dtype=np.int32)
        values = np.full((len(history), k), -np.inf, dtype=np.float32)
        because = np.full((len(history), k), -1, dtype=np.int32)
        index, order = self.index or self.exact_index, self.popularity_order  # made once, before the threads

        def answer(users: Int64Array) -> None:
            known, without = history.take(users), excluded.take(users)
            queries = self.queries(known) * np.float32(self.scale)
            taken = SparseScores(without.owners, without.games, np.zeros(len(without.games), dtype=np.float32))
            positions[users], values[users] = index.search(queries, self.linked(known), taken, k, among)
            above_popularity = order.above_popularity(positions[users], without, among)
            because[users] = np.where(above_popularity, self._because(known, positions[users]), np.int32(-1))

        if k and len(history):
            on_all_cores(answer, _blocks(history))
        return positions, values, because

    @cached_property
    def exact_index(self) -> ExactIndex:
        """Finds the best games exactly."""
        offered = np.arange(len(self)) if self.offered is None else np.flatnonzero(self.offered)
        return ExactIndex.from_candidates(self.candidates, self.popularity_offset, self.scale, offered)

    @cached_property
    def popularity_order(self) -> PopularityOrder:
        """The games on offer, the most popular first."""
        return PopularityOrder.from_popularity(self.popularity_offset, self.offered)

    def _because(self, history: Histories, positions: Int32Array) -> Int32Array:
        """What contributed most, as `recommend` names it; -1 where there is no history.

        The cosine is a sum over the history's games, divided by one length, and the links are a sum: the largest term
        contributed most. All users' first games are looked at, then all second ones, and so on.
        """
        weights, owners = self.history_weights.of(history), history.owners
        lengths = np.linalg.norm(segment_sums(self.history[history.games] * weights[:, None], history.offsets), axis=1)
        factors = self.scale / np.where(lengths > 0, lengths, 1)
        likes = np.bincount(owners, history.recommended, len(history)) > 0
        reasons = np.flatnonzero(history.recommended | ~likes[owners])
        counts = np.bincount(owners[reasons], minlength=len(history))
        firsts = np.cumsum(counts) - counts
        longest_first = np.argsort(-counts, kind="stable")
        candidates = self.candidates.take(positions[longest_first], axis=0)  # of no account where a position is -1
        linked = self.links.between(history.games[reasons], positions, owners[reasons])
        highest = np.full(positions.shape, -np.inf, dtype=np.float32)
        because = np.full(positions.shape, -1, dtype=np.int32)
        for turn in range(counts.max(initial=0)):
            n = np.count_nonzero(counts > turn)
            users = longest_first[:n]
            places = firsts[users] + turn
            mine = reasons[places]
            games = history.games[mine]
            # Not a product of matrices: BLAS may round equal rows differently, and then not the earliest is named.
            terms = np.einsum("nd,nkd->nk", self.history[games], candidates[:n])
            terms *= factors[users, None]
            terms += linked[places]
            terms *= weights[mine, None]
            better = terms > highest[:n]
            np.copyto(highest[:n], terms, where=better)
            np.copyto(because[:n], games[:, None], where=better)
        because[longest_first] = because.copy()
        return np.where(positions >= 0, because, np.int32(-1))


def on_all_cores(work: Callable[[Int64Array], None], blocks: Sequence[Int64Array]) -> None:
    """Work on each block, in as many threads as there are cores; BLAS then has one thread in each of them."""
    if len(blocks) < 2:
        for block in blocks:
            work(block)
        return
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(cores()) as threads:
        list(threads.map(work, blocks))


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _blocks(history: Histories) -> list[Int64Array]:
    """Users that are answered together: as many as make good use of a tile, fewer where their histories are long."""
    costs = np.cumsum(np.maximum(history.lengths, BLOCK_GAMES // BLOCK_USERS))
    first = np.flatnonzero(np.diff(costs // BLOCK_GAMES, prepend=-1))
    return np.split(np.arange(len(history)), first[1:])


def segment_sums(vectors: Float32Array, offsets: Int64Array) -> Float32Array:
    """The sum of each segment's vectors, float32 [B, d]; zero for an empty one."""
    sums = np.zeros((len(offsets) - 1, vectors.shape[1]), dtype=np.float32)
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        sums[filled] = np.add.reduceat(vectors, offsets[filled], axis=0)
    return sums


def normalised(vectors: Float32Array) -> Float32Array:
    """The same vectors at length one, float32 [B, d]; those of length zero stay as they are."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    lengths[lengths == 0] = 1
    unit: Float32Array = vectors / lengths[:, None]
    return unit
