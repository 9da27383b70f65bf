"""Scores and recommendations for a catalogue, for many users at a time, with the reason for each recommendation.

A score is the sum of two numbers: taste, which is the user's own, and the popularity prior times a weight, which is the
same for everybody. Each list has its own weight. Taste is the cosine of the two towers times a scale, plus, if there is
a sequential tower, its cosine times another scale, plus item-item weights. Retrieval sees both cosines as one inner
product of wider vectors.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, Int64Array, normalised
from steam_recsys.data.histories import Histories
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights, NextGames
from steam_recsys.model.retrieval import ExactIndex, GameList, Index, SparseScores, top_k
from steam_recsys.model.sequential import SequentialTower

BLOCK_USERS, BLOCK_GAMES = 1024, 16384
"""Limits of a block: users, and games in their histories, beside those of one user with a longer history."""

PAGE_GAMES = 10
"""Games that a user sees at a time."""

REASONED = 50
"""Games of a list that have reasons, from the first."""

REASONS_PER_GAME = 2
"""Entries of a list that have the same reason."""

CPU_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""Linux's file with the processor time that a container may use in a period, both in microseconds."""

ItemItemTables = list[tuple[ItemItemWeights, Float32Array]]
"""Tables of item-item weights, and how much each of the histories' n games counts in them, float32 [n]."""

NO_TERM = np.float32(-1e30)
"""Below every contribution."""

EQUAL_TERMS = 1e-5
"""Relative difference below which two contributions count as equal."""


@dataclass(frozen=True)
class Recommendations:
    """One list of games for each of B users, best first; ties in catalogue order.

    Attributes:
        positions: int32 [B, k], catalogue positions, -1 where fewer than k games are left.
        taste: float32 [B, k], the personal part of the scores; -inf where there is no game.
        popularity: float32 [B, k], the popularity prior times the list's weight; 0 where there is no game.
        because: int32 [B, k], the position of a game that the user likes and without which this game would not be on
            its page, see `Scorer.recommend_lists`; -1 for none.
    """

    positions: Int32Array
    taste: Float32Array
    popularity: Float32Array
    because: Int32Array

    @property
    def scores(self) -> Float32Array:
        """The sum of taste and popularity, float32 [B, k]; -inf where there is no game."""
        return self.taste + self.popularity


@dataclass(frozen=True)
class Scorer:
    """Everything needed to score a catalogue of N games; games are identified by their position in it.

    Attributes:
        history: float32 [N, d], each game's vector as part of a history.
        candidates: float32 [N, d], each game's vector as a candidate, of length one; zero if nothing is known of it.
        item_item: Weights between catalogue positions, of games that are liked together.
        popularity_prior: float32 [N], the log share of each game in recent popularity, with the model's top weight.
        popularity_weight: Factor of the popularity prior in the list of the most relevant games.
        scale: Factor of the cosine.
        history_weights: How much each game of a history counts.
        available: bool [N], the games that may be recommended; None for all.
        index: Finds the best of these games; None for exact retrieval.
        next_games: Weights from the newest games of a history to those that follow; None if the model has none.
        sequence: The sequential tower of the catalogue's games; None for none.
        sequence_scale: Factor of its cosine, above 0 if there is one.
    """

    history: Float32Array
    candidates: Float32Array
    item_item: ItemItemWeights
    popularity_prior: Float32Array
    popularity_weight: float
    scale: float
    history_weights: HistoryWeights
    available: BoolArray | None = None
    index: Index | None = None
    next_games: NextGames | None = None
    sequence: SequentialTower | None = None
    sequence_scale: float = 0.0

    def __len__(self) -> int:
        return len(self.candidates)

    def with_available(self, available: BoolArray) -> Scorer:
        """Return a scorer that recommends only some games, bool [N]; the others still count in histories."""
        return replace(self, available=available)

    def arrays(self) -> dict[str, Float32Array]:
        """Return the arrays that have one row per game, by name."""
        return {"history": self.history, "candidates": self.candidates, "popularity_prior": self.popularity_prior}

    @cached_property
    def vectors(self) -> Float32Array:
        """What queries are multiplied with, float32 [N, w]: the candidate vectors of all query towers.

        The scales are divided among queries and candidates so that the product of their lengths is the sum of the
        scales, the largest score of all towers: bounds by lengths stay exact.
        """
        if self.sequence is None:
            return self.candidates
        share = np.float32((self.sequence_scale / self.scale) ** 0.5)
        return np.hstack([self.candidates, share * self.sequence.candidates])

    @property
    def query_length(self) -> float:
        """The length of a query, unless its user has no game that counts."""
        return float((self.scale * (self.scale + self.sequence_scale)) ** 0.5)

    def queries(self, history: Histories, weights: Float32Array | None = None) -> Float32Array:
        """Compute the query towers, float32 [B, w]: the product with `vectors` is the taste without item-item weights.

        A tower that has no game of the history gives zero.

        Args:
            history: The users' games.
            weights: float32 [n], the result of `history_weights.weigh`, if it is known.
        """
        weights = self.history_weights.weigh(history) if weights is None else weights
        terms = self.history[history.games] * weights[:, None]
        pooled = np.float32(self.scale) * normalised(segment_sums(terms, history.offsets))
        if self.sequence is None:
            return pooled
        share = np.float32((self.sequence_scale * self.scale) ** 0.5)
        return np.hstack([pooled, share * self.sequence.queries(history)])

    def taste(self, history: Histories) -> Float32Array:
        """Compute the personal part of every game's score for every user, float32 [B, N]."""
        taste: Float32Array = np.matmul(self.queries(history), self.vectors.T)
        added = self.item_item_scores(history)
        np.add.at(taste.reshape(-1), added.rows * len(self) + added.games, added.weights)
        return taste

    def nearest(self, game: int, k: int, among: BoolArray) -> tuple[Int32Array, Float32Array]:
        """Return the games whose candidate vectors are nearest to a game's.

        Args:
            game: Position of the game, which is left out.
            k: Number of games.
            among: bool [N], the games to choose from.

        Returns:
            Positions, int32 [n], the nearest first, and their cosines, float32 [n]; n is less than k if there are
            fewer, and 0 if nothing is known of the game.
        """
        vector = self.candidates[game]
        allowed = among & vector.any()
        allowed[game] = False
        cosines = np.where(allowed, self.candidates @ vector, np.float32(-np.inf))
        positions, values = top_k(cosines[None], min(k, len(self)))
        found = positions[0] >= 0
        return positions[0][found], values[0][found]

    def scores(self, history: Histories, popularity_weight: float | None = None) -> Float32Array:
        """Score every game for every user, float32 [B, N], with the model's popularity weight or another one."""
        weight = self.popularity_weight if popularity_weight is None else popularity_weight
        scores = self.taste(history)
        scores += np.float32(weight) * self.popularity_prior
        return scores

    def item_item_scores(self, history: Histories, tables: ItemItemTables | None = None) -> SparseScores:
        """Return what the item-item weights of each game of the histories add to the scores.

        Args:
            history: The users' games.
            tables: The result of `item_item_tables`, if it is known.
        """
        parts = [_added_scores(history, *table) for table in tables or self.item_item_tables(history)]
        if len(parts) == 1:
            return parts[0]
        return SparseScores(
            np.concatenate([part.rows for part in parts]),
            np.concatenate([part.games for part in parts]),
            np.concatenate([part.weights for part in parts]),
        )

    def played_together_scores(self, history: Histories) -> SparseScores:
        """Return what the weights of games that are liked together add, without those of the next games."""
        return _added_scores(history, *self.item_item_tables(history)[0])

    def item_item_tables(self, history: Histories) -> ItemItemTables:
        """Return each table of weights, and how much each of the histories' n games counts there, float32 [n].

        The first table has games that are liked together; a second one, if there is one, games that follow.
        """
        tables = [(self.item_item, self.history_weights.weigh(history))]
        if self.next_games is not None:
            tables.append((self.next_games.weights, self.next_games.weigh(history, self.history_weights.disliked)))
        return tables

    def recommend(
        self,
        history: Histories,
        k: int,
        *,
        excluded: Histories | None = None,
        among: BoolArray | None = None,
        popularity_weight: float | None = None,
    ) -> Recommendations:
        """Recommend the k best games to each of B users.

        Args:
            history: The users' games, as catalogue positions.
            k: Number of games.
            excluded: Games that must not be recommended to the same users; None for those of the history.
            among: bool [N], the available games that may be recommended to any of these users; None for all.
            popularity_weight: Factor of the popularity prior; None for the model's.
        """
        weight = self.popularity_weight if popularity_weight is None else popularity_weight
        return self.recommend_lists(history, [GameList("", k, weight, among)], excluded=excluded)[0]

    def recommend_lists(
        self, history: Histories, lists: Sequence[GameList], *, excluded: Histories | None = None
    ) -> list[Recommendations]:
        """Recommend several lists of games to each of B users, in one pass over the catalogue.

        Users are answered in blocks, with one thread per core.

        A recommendation may have a reason: a game that the user likes and without which the recommended game would not
        be on its page of ten. That is, without the reason's contribution to its score, the recommended game would
        score less than the first game of the next page (of the last page: the first game after the list). Besides, it
        must rank higher than by popularity alone. Of several such games, the one with the largest contribution is the
        reason. A game is the reason of at most `REASONS_PER_GAME` entries of a list, the first ones, so that a list
        names several games. There is no such limit in lists of more than `REASONED` games, whose readers choose from
        them; only the first `REASONED` games of these have reasons.

        Args:
            history: The users' games, as catalogue positions.
            lists: What to recommend.
            excluded: Games that must not be recommended to the same users; None for those of the history.
        """
        excluded = history if excluded is None else excluded
        results = [
            Recommendations(
                np.full((len(history), wanted.length), -1, dtype=np.int32),
                np.full((len(history), wanted.length), -np.inf, dtype=np.float32),
                np.zeros((len(history), wanted.length), dtype=np.float32),
                np.full((len(history), wanted.length), -1, dtype=np.int32),
            )
            for wanted in lists
        ]
        searched = [replace(wanted, length=wanted.length + 1) for wanted in lists]  # the first game of the next page
        search = (self.index or self.exact_index).prepare(searched)
        order = self.popularity_order  # built before the threads start

        def recommend_block(users: Int64Array) -> None:
            known, without = history.take(users), excluded.take(users)
            tables = self.item_item_tables(known)
            queries = self.queries(known, tables[0][1])
            removed = SparseScores(without.owners, without.games, np.zeros(len(without.games), dtype=np.float32))
            found = search(queries, self.item_item_scores(known, tables), removed)
            spare = []
            for wanted, result, (positions, scores) in zip(lists, results, found, strict=True):
                k = wanted.length
                popularity = np.float32(wanted.popularity_weight) * self.popularity_prior[positions[:, :k]]
                popularity[positions[:, :k] < 0] = 0
                result.positions[users] = positions[:, :k]
                result.popularity[users] = popularity
                result.taste[users] = scores[:, :k] - popularity
                shown = positions[:, : min(k, REASONED)]
                personal = (shown >= 0) & order.above_popularity(shown, without, wanted.allowed)
                spare.append(np.where(personal, _spare(scores, shown.shape[1]), np.float32(np.inf)))
            contributions = Contributions.from_histories(self, known, queries, tables)
            limits = [REASONS_PER_GAME if wanted.length <= REASONED else REASONED for wanted in lists]
            reasons = contributions.reasons([positions for positions, _ in found], spare, limits)
            for result, because in zip(results, reasons, strict=True):
                result.because[users, : because.shape[1]] = because

        if len(history) and len(self) and lists:
            on_all_cores(recommend_block, _blocks(history))
        return results

    @cached_property
    def exact_index(self) -> ExactIndex:
        """Exact retrieval of the available games."""
        available = np.arange(len(self)) if self.available is None else np.flatnonzero(self.available)
        return ExactIndex.from_candidates(self.vectors, self.popularity_prior, self.query_length, available)

    @cached_property
    def popularity_order(self) -> PopularityOrder:
        """The available games, most popular first."""
        return PopularityOrder.from_popularity(self.popularity_prior, self.available)


@dataclass(frozen=True)
class Contributions:
    """What each game that B users like contributes to their taste.

    The cosine of the two towers is a sum over the history's games, divided by one length, and the item-item weights are
    a sum too, so the contribution of a game is its term of these sums. The sequential tower's score is no sum. It is
    divided among the games that the tower reads: each has a share in proportion to exp(scale × cosine) of its vector
    and the recommended game's, so most of it belongs to the games that are most like the recommended one.

    Attributes:
        scorer: The scorer.
        liked: The users' games that they recommend, in the order of time.
        vectors: float32 [n, d], the term of each of these n games in the user's query vector.
        tables: The tables of item-item weights, and how much each of these games counts there, float32 [n].
        read: bool [n], the games that the sequential tower reads.
        sequence: float32 [B, d'], the sequential tower's user vectors, times its scale; empty without one.
    """

    scorer: Scorer
    liked: Histories
    vectors: Float32Array
    tables: ItemItemTables
    read: BoolArray
    sequence: Float32Array

    @classmethod
    def from_histories(
        cls, scorer: Scorer, history: Histories, queries: Float32Array, tables: ItemItemTables
    ) -> Contributions:
        """Compute the terms of query vectors.

        Args:
            scorer: The scorer.
            history: The users' games.
            queries: float32 [B, w], the result of `Scorer.queries`.
            tables: The result of `Scorer.item_item_tables`.
        """
        (_, weights), kept = tables[0], history.recommended
        vectors = scorer.history[history.games] * weights[:, None]
        lengths = np.linalg.norm(segment_sums(vectors, history.offsets), axis=1)
        factors = (scorer.scale / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        terms: Float32Array = vectors[kept] * factors[history.owners[kept], None]
        liked_tables = [(table, counted[kept]) for table, counted in tables]
        read = scorer.sequence.reads(history)[kept] if scorer.sequence else np.zeros(len(terms), dtype=bool)
        sequence = queries[:, scorer.candidates.shape[1] :] * np.float32((scorer.sequence_scale / scorer.scale) ** 0.5)
        return cls(scorer, history.recommended_only(), terms, liked_tables, read, sequence)

    def reasons(
        self, positions: Sequence[Int32Array], spare: Sequence[Float32Array], limits: Sequence[int]
    ) -> list[Int32Array]:
        """Choose the reason of each recommendation of L lists.

        Args:
            positions: int32 [B, k or more] for each list, the recommended games, -1 for none.
            spare: float32 [B, k] for each list, the part of a game's score without which it would still be on its page;
                infinite if it cannot have a reason.
            limits: Number of recommendations of each list that a game may be the reason of.

        Returns:
            int32 [B, k] for each list, the position of the reason, -1 for none. Of contributions that are equal within
            rounding, the earliest game is the reason.
        """
        n_users, widths = len(self.liked), [each.shape[1] for each in spare]
        n_lists, longest, n_liked = len(widths), max(widths, default=0), len(self.liked.games)
        if not longest or not n_liked:
            return [np.full((n_users, width), -1, dtype=np.int32) for width in widths]
        games = np.full((n_users, n_lists, longest), -1, dtype=np.int32)
        spares = np.full(games.shape, np.inf, dtype=np.float32)
        for number, (width, list_positions, list_spare) in enumerate(zip(widths, positions, spare, strict=True)):
            games[:, number, :width], spares[:, number, :width] = list_positions[:, :width], list_spare
        terms = self._contributions(games.reshape(n_users, n_lists * longest)).reshape(n_liked, n_lists, longest)
        terms[terms <= spares[self.liked.owners]] = NO_TERM

        filled = np.flatnonzero(self.liked.lengths)
        starts = self.liked.offsets[filled]
        segments = np.repeat(np.arange(len(filled)), self.liked.lengths[filled])
        liked_or_none, found = np.append(self.liked.games, np.int32(-1)), []
        for number, (width, limit) in enumerate(zip(widths, limits, strict=True)):
            by_rank = np.ascontiguousarray(terms[:, number, :width].T)
            if limit >= width:
                chosen = _largest_terms(by_rank, starts, segments)
            else:
                chosen, left = np.full((width, len(filled)), n_liked), np.full(n_liked, limit)
                for rank in np.flatnonzero((by_rank > NO_TERM).any(axis=1)).tolist():
                    rank_terms = np.where(left > 0, by_rank[rank], NO_TERM)
                    (chosen[rank],) = _largest_terms(rank_terms[None], starts, segments)
                    left[chosen[rank, chosen[rank] < n_liked]] -= 1
            because = np.full((n_users, width), -1, dtype=np.int32)
            because[filled] = liked_or_none[chosen].T
            found.append(because)
        return found

    def _contributions(self, positions: Int32Array) -> Float32Array:
        """Compute what each of n games contributes to each of its user's recommendations, float32 [n, k]."""
        liked, candidates = self.liked, self.scorer.candidates
        contributions = item_item_terms(self.tables, liked, positions)
        bounds = liked.offsets.tolist()
        for user, (start, end) in enumerate(pairwise(bounds)):
            if end > start:
                contributions[start:end] += self.vectors[start:end] @ candidates.take(positions[user], axis=0).T
        return contributions + self.of_sequence(positions) if self.scorer.sequence else contributions

    def of_sequence(self, positions: Int32Array) -> Float32Array:
        """Divide the sequential tower's score of each user's recommendations among the n games, float32 [n, k]."""
        tower, liked = self.scorer.sequence, self.liked
        found = np.zeros((len(liked.games), positions.shape[1]), dtype=np.float32)
        if not tower:
            return found
        vectors = normalised(tower.games.take(liked.games, axis=0)) * np.float32(self.scorer.sequence_scale)
        for user, (start, end) in enumerate(pairwise(liked.offsets.tolist())):
            if end > start:
                recommended = normalised(tower.games.take(positions[user], axis=0))
                likeness = vectors[start:end] @ recommended.T
                shares = np.exp(likeness - likeness.max(axis=0)) * self.read[start:end, None]
                shares /= np.maximum(shares.sum(axis=0), np.finfo(np.float32).tiny)
                found[start:end] = shares * (recommended @ self.sequence[user])
        return found


def _largest_terms(terms: Float32Array, starts: Int64Array, segments: Int64Array) -> Int64Array:
    """Return the first of the largest terms of each segment, within rounding.

    Args:
        terms: float32 [R, n]; `NO_TERM` is none.
        starts: int64 [S], the first column of each segment.
        segments: int64 [n], the segment of each column.

    Returns:
        Columns, int64 [R, S]; n if a segment has no term.
    """
    highest = np.maximum.reduceat(terms, starts, axis=1)
    nearly = (terms >= (highest - EQUAL_TERMS * np.abs(highest))[:, segments]) & (terms > NO_TERM)
    columns = np.where(nearly, np.arange(terms.shape[1]), terms.shape[1])
    first: Int64Array = np.minimum.reduceat(columns, starts, axis=1)
    return first


def item_item_terms(tables: ItemItemTables, history: Histories, positions: Int32Array) -> Float32Array:
    """Compute what the item-item weights of each of n games add to some games of its user.

    Args:
        tables: Tables of item-item weights, and how much each game of the histories counts there, float32 [n].
        history: Histories of B users, with n games.
        positions: int32 [B, k], games of these users; -1 for none.

    Returns:
        float32 [n, k].
    """
    terms = np.zeros((len(history.games), positions.shape[1]), dtype=np.float32)
    for table, weights in tables:
        used = np.flatnonzero(weights)
        terms[used] += table.between(history.games[used], positions, history.owners[used]) * weights[used, None]
    return terms


def _added_scores(history: Histories, table: ItemItemWeights, weights: Float32Array) -> SparseScores:
    """Return what a table adds to the scores, if each of the histories' n games counts by its weight, float32 [n]."""
    used = np.flatnonzero(weights)
    source, entries = table.entries(history.games[used])
    return SparseScores(
        history.owners[used][source], table.games[entries], table.weights[entries] * weights[used][source]
    )


def _spare(scores: Float32Array, k: int) -> Float32Array:
    """Return by how much each of the first k games of a list scores more than the first game of the next page.

    Args:
        scores: float32 [B, m], the scores of the whole list and of the first game after it, so m > k; -inf for none.
        k: Number of games.

    Returns:
        float32 [B, k], infinite if there is no next page.
    """
    next_page = np.minimum(PAGE_GAMES * (np.arange(k) // PAGE_GAMES + 1), scores.shape[1] - 1)
    ends = scores[:, next_page]
    return np.where(ends > -np.inf, scores[:, :k] - np.where(ends > -np.inf, ends, 0), np.float32(np.inf))


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
        """Return which games rank higher in their user's list than they would by popularity alone.

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


def on_all_cores(work: Callable[[Int64Array], None], blocks: Sequence[Int64Array]) -> None:
    """Run `work` on each block, with one thread per core and one BLAS thread in each of them."""
    if len(blocks) < 2:
        for block in blocks:
            work(block)
        return
    with threadpool_limits(1, "blas"), ThreadPoolExecutor(cores()) as threads:
        list(threads.map(work, blocks))


def cores() -> int:
    """Return the number of cores that this process may use, at least 1; the limit of a container is rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_LIMIT.read_text().split()
    except OSError:  # another system, or control groups of version 1
        return allowed
    return allowed if quota == "max" else min(allowed, math.ceil(int(quota) / int(period)))


def segment_sums(vectors: Float32Array, offsets: Int64Array) -> Float32Array:
    """Sum the vectors of each segment, float32 [B, d]; an empty segment gives zero."""
    sums = np.zeros((len(offsets) - 1, vectors.shape[1]), dtype=np.float32)
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        sums[filled] = np.add.reduceat(vectors, offsets[filled], axis=0)
    return sums


def _blocks(history: Histories) -> list[Int64Array]:
    """Split users into blocks that make good use of a tile; the longer their histories, the fewer users per block."""
    costs = np.cumsum(np.maximum(history.lengths, BLOCK_GAMES // BLOCK_USERS))
    first = np.flatnonzero(np.diff(costs // BLOCK_GAMES, prepend=-1))
    return np.split(np.arange(len(history)), first[1:])
