"""Approximate retrieval for catalogues so large that exact retrieval takes long, where its recall is good enough."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from steam_recsys.data.histories import Histories
from steam_recsys.logging import log
from steam_recsys.model.retrieval import Best, ExactIndex, SparseScores
from steam_recsys.model.scorer import Scorer

APPROXIMATE_FROM = 750_000
"""Games that exact retrieval must look at for a user before an approximate index, its making included, pays."""

LEAST_RECALL = 0.98

POPULAR = 1 << 16
"""The most popular games are searched exactly: popularity would decide among the neighbours of a taste."""

POINTS_A_LIST, ITERATIONS, PROBES = 64, 6, 24
"""For the clustering: games that each centre is learnt from and its rounds; and how many lists a search looks into."""

WIDER = 4
"""Neighbours that are scored exactly for each that is asked for: the user's own games and links come in between."""


@dataclass(frozen=True)
class ApproximateIndex:
    """The popular games in an exact index, all others in an inverted file (FAISS's IVF).

    What the inverted file finds, and all linked games, are scored exactly: only which games are looked at is a guess.

    Attributes:
        popular: the index of the popular games.
        lists: FAISS's index of the others by position, of vectors as in `candidates`.
        others: bool [N], which games these are.
        candidates: float32 [N, d + 1], in the order of the catalogue, the offset the last of the dimensions.
        scale: the length of the queries.
    """

    popular: ExactIndex
    lists: Any
    others: BoolArray
    candidates: Float32Array
    scale: float

    @classmethod
    def from_scorer(cls, catalogue: Scorer) -> ApproximateIndex:
        """Make one of a catalogue; the same from the same."""
        import faiss  # slow to import, and only needed for a large catalogue

        exact = catalogue.exact_index
        candidates = np.column_stack([catalogue.candidates, catalogue.popularity_offset])
        rest = np.sort(exact.positions[POPULAR:]).astype(np.int64)
        others = np.zeros(len(catalogue), dtype=bool)
        others[rest] = True
        balanced = candidates[rest]  # the offset as long as the cosine is, which makes better clusters
        balanced[:, -1] /= catalogue.scale
        width = balanced.shape[1]
        lists = faiss.IndexIVFFlat(
            faiss.IndexFlatIP(width), width, max(1, int(2 * sqrt(len(rest)))), faiss.METRIC_INNER_PRODUCT
        )
        lists.cp.niter, lists.cp.max_points_per_centroid, lists.nprobe = ITERATIONS, POINTS_A_LIST, PROBES
        lists.train(balanced)
        lists.add_with_ids(balanced, rest)
        popular = ExactIndex.from_candidates(
            catalogue.candidates, catalogue.popularity_offset, catalogue.scale, np.sort(exact.positions[:POPULAR])
        )
        return cls(popular, lists, others, candidates, catalogue.scale)

    def search(
        self,
        queries: Float32Array,
        linked: SparseScores,
        excluded: SparseScores,
        k: int,
        among: BoolArray | None = None,
    ) -> tuple[Int32Array, Float32Array]:
        """See `Index.search`."""
        import faiss

        faiss.omp_set_num_threads(1)  # of this thread: blocks of users are searched side by side
        ones = np.ones(len(queries), dtype=np.float32)
        _, near = self.lists.search(np.column_stack([queries, self.scale * ones]), WIDER * k)
        links = np.flatnonzero(self.others[linked.games])
        n_games = len(self.candidates)
        links_to = linked.rows[links] * n_games + linked.games[links]
        found = (np.arange(len(queries))[:, None] * n_games + near)[near >= 0]
        cells = np.sort(np.concatenate([found, links_to]))  # np.unique takes ten times as long
        cells = cells[np.diff(cells, prepend=-1) > 0]
        cells = cells[~_within(cells, np.sort(excluded.rows * n_games + excluded.games))]
        if among is not None:
            cells = cells[among[cells % n_games]]
        rows, games = np.divmod(cells, n_games)
        scores = np.einsum("nd,nd->n", np.column_stack([queries, ones])[rows], self.candidates[games])
        there = _within(links_to, cells)
        np.add.at(scores, np.searchsorted(cells, links_to[there]), linked.weights[links[there]])
        positions, values = self.popular.search(queries, linked, excluded, k, among)
        best = Best(len(queries), k, max(k, int(np.bincount(rows, minlength=1).max())))
        best.insert(rows, scores, games.astype(np.int32))
        best.insert(np.nonzero(positions >= 0)[0], values[positions >= 0], positions[positions >= 0])
        return best.best()


def _within(values: Int64Array, ascending: Int64Array) -> BoolArray:
    """Which values are among others, bool of their shape."""
    if not len(ascending):
        return np.zeros(len(values), dtype=bool)
    return np.asarray(ascending[np.minimum(np.searchsorted(ascending, values), len(ascending) - 1)] == values)


def with_fitting_search(catalogue: Scorer, sampled: Callable[[], Histories], k: int) -> tuple[Scorer, str]:
    """The catalogue with approximate retrieval, if that is faster and finds what exact retrieval finds for a sample.

    Args:
        catalogue: with exact retrieval.
        sampled: reads some of the users to come, where the catalogue is so large that it is asked for.
        k: how many games are recommended.

    Returns:
        The catalogue, and how games are found in it, in words.
    """
    if len(catalogue.exact_index.positions) < APPROXIMATE_FROM:
        return catalogue, "exact"
    sample = sampled()
    exact, scores, _ = catalogue.recommend(sample, k)
    if catalogue.exact_index.reach(scores[:, -1]) < APPROXIMATE_FROM:
        return catalogue, "exact"
    approximate = replace(catalogue, index=ApproximateIndex.from_scorer(catalogue))
    recall = recall_of(approximate.recommend(sample, k)[0], exact)
    what = f"recall {recall:.4f} of approximate retrieval on a sample of {len(sample)} users"
    if recall < LEAST_RECALL:
        log("predict", f"{what} is below {LEAST_RECALL}: games are found exactly")
        return catalogue, f"exact: {what}"
    log("predict", f"{what}")
    return approximate, f"approximate: {what}"


def recall_of(found: Int32Array, exact: Int32Array) -> float:
    """The share of the games of exact answers that were found, both int32 [B, k], -1 for none."""
    hits = sum(len(np.intersect1d(mine[mine >= 0], right)) for mine, right in zip(found, exact, strict=True))
    return float(hits / max(1, int((exact >= 0).sum())))
