"""Approximate retrieval for very large catalogues, used only if its recall is high enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from steam_recsys.data.histories import Histories
from steam_recsys.logging import log
from steam_recsys.model.retrieval import ExactIndex, SparseScores, TopK
from steam_recsys.model.scorer import Scorer

MIN_GAMES = 750_000
"""Games that exact retrieval must score per user before an approximate index, with the time to build it, is faster."""

MIN_RECALL = 0.98

POPULAR_GAMES = 1 << 16
"""The most popular games are searched exactly: among the neighbours of a user vector popularity would decide."""

POINTS_PER_LIST, ITERATIONS, PROBES = 64, 6, 24
"""Of the clustering: games per centre and iterations in training, and lists that a search visits."""

OVERSAMPLING = 4
"""Neighbours scored exactly per requested game: some are the user's own, and item-item weights change the order."""


@dataclass(frozen=True)
class ApproximateIndex:
    """The popular games in an exact index, all others in an inverted file (FAISS's IVF).

    Neighbours from the inverted file and all games with item-item weights are scored exactly; only the selection of the
    games to score is approximate.

    Attributes:
        popular: The index of the popular games.
        lists: FAISS's index of the other games by position, with vectors as in `candidates`.
        others: bool [N], the other games.
        candidates: float32 [N, d + 1], in catalogue order; the last dimension is the popularity offset.
        scale: Length of the query vectors.
    """

    popular: ExactIndex
    lists: Any
    others: BoolArray
    candidates: Float32Array
    scale: float

    @classmethod
    def from_scorer(cls, scorer: Scorer) -> ApproximateIndex:
        """Build the index of a scorer's available games; the same scorer gives the same index."""
        import faiss  # slow to import, and only needed for a large catalogue

        exact = scorer.exact_index
        candidates = np.column_stack([scorer.candidates, scorer.popularity_offset])
        rest = np.sort(exact.positions[POPULAR_GAMES:]).astype(np.int64)
        others = np.zeros(len(scorer), dtype=bool)
        others[rest] = True
        balanced = candidates[rest]  # with the offset in units of the cosine, which gives better clusters
        balanced[:, -1] /= scorer.scale
        width = balanced.shape[1]
        lists = faiss.IndexIVFFlat(
            faiss.IndexFlatIP(width), width, max(1, int(2 * sqrt(len(rest)))), faiss.METRIC_INNER_PRODUCT
        )
        lists.cp.niter, lists.cp.max_points_per_centroid, lists.nprobe = ITERATIONS, POINTS_PER_LIST, PROBES
        lists.train(balanced)
        lists.add_with_ids(balanced, rest)
        popular = ExactIndex.from_candidates(
            scorer.candidates, scorer.popularity_offset, scorer.scale, np.sort(exact.positions[:POPULAR_GAMES])
        )
        return cls(popular, lists, others, candidates, scorer.scale)

    def search(
        self,
        queries: Float32Array,
        item_item: SparseScores,
        excluded: SparseScores,
        k: int,
        among: BoolArray | None = None,
    ) -> tuple[Int32Array, Float32Array]:
        """See `Index.search`."""
        import faiss

        faiss.omp_set_num_threads(1)  # for this thread: blocks of users are searched in parallel
        ones = np.ones(len(queries), dtype=np.float32)
        _, near = self.lists.search(np.column_stack([queries, self.scale * ones]), OVERSAMPLING * k)
        added = np.flatnonzero(self.others[item_item.games])
        n_games = len(self.candidates)
        added_cells = item_item.rows[added] * n_games + item_item.games[added]
        near_cells = (np.arange(len(queries))[:, None] * n_games + near)[near >= 0]
        cells = np.sort(np.concatenate([near_cells, added_cells]))  # np.unique takes ten times as long
        cells = cells[np.diff(cells, prepend=-1) > 0]
        cells = cells[~_contains(np.sort(excluded.rows * n_games + excluded.games), cells)]
        if among is not None:
            cells = cells[among[cells % n_games]]
        rows, games = np.divmod(cells, n_games)
        scores = np.einsum("nd,nd->n", np.column_stack([queries, ones])[rows], self.candidates[games])
        kept = _contains(cells, added_cells)
        np.add.at(scores, np.searchsorted(cells, added_cells[kept]), item_item.weights[added[kept]])
        positions, values = self.popular.search(queries, item_item, excluded, k, among)
        best = TopK(len(queries), k, max(k, int(np.bincount(rows, minlength=1).max())))
        best.insert(rows, scores, games.astype(np.int32))
        best.insert(np.nonzero(positions >= 0)[0], values[positions >= 0], positions[positions >= 0])
        return best.result()


def choose_retrieval(scorer: Scorer, sample: Callable[[], Histories], k: int) -> tuple[Scorer, str]:
    """Switch a scorer to approximate retrieval if that is faster and its recall on a sample of users is high enough.

    Args:
        scorer: A scorer with exact retrieval.
        sample: Reads the histories of some users; called only for a large catalogue.
        k: Number of games per user.

    Returns:
        The scorer, and a text that says how it retrieves games and why.
    """
    if len(scorer.exact_index.positions) < MIN_GAMES:
        return scorer, "exact"
    users = sample()
    exact, scores, _ = scorer.recommend(users, k)
    if scorer.exact_index.games_scored(scores[:, -1]) < MIN_GAMES:
        return scorer, "exact"
    approximate = replace(scorer, index=ApproximateIndex.from_scorer(scorer))
    measured = recall(approximate.recommend(users, k)[0], exact)
    what = f"recall {measured:.4f} of approximate retrieval on a sample of {len(users)} users"
    if measured < MIN_RECALL:
        log("predict", f"{what} is below {MIN_RECALL}: using exact retrieval")
        return scorer, f"exact: {what}"
    log("predict", what)
    return approximate, f"approximate: {what}"


def recall(found: Int32Array, exact: Int32Array) -> float:
    """Compute the share of the exact recommendations that were found; both int32 [B, k], -1 for none."""
    hits = sum(len(np.intersect1d(games[games >= 0], right)) for games, right in zip(found, exact, strict=True))
    return float(hits / max(1, int((exact >= 0).sum())))


def _contains(ascending: Int64Array, values: Int64Array) -> BoolArray:
    """Tell which values are in an ascending array, bool of the shape of `values`."""
    if not len(ascending):
        return np.zeros(len(values), dtype=bool)
    return np.asarray(ascending[np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)] == values)
