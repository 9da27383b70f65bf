"""Approximate retrieval for very large catalogues, used only if its recall is high enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import sqrt
from typing import Any

import numpy as np

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, contains
from steam_recsys.data.histories import Histories
from steam_recsys.logging import log
from steam_recsys.model.retrieval import (
    SHARED_SUBSET_SHARE,
    ExactIndex,
    Found,
    GameList,
    Search,
    SparseScores,
    TopK,
)
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
        available: bool [N], the games that may be returned.
        candidates: float32 [N, w + 1], in catalogue order; the last dimension is the popularity prior.
        scale: Length of the query vectors.
    """

    popular: ExactIndex
    lists: Any
    others: BoolArray
    available: BoolArray
    candidates: Float32Array
    scale: float

    @classmethod
    def from_scorer(cls, scorer: Scorer) -> ApproximateIndex:
        """Build the index of a scorer's available games; the same scorer gives the same index."""
        faiss = _faiss()
        exact = scorer.exact_index
        candidates = np.column_stack([scorer.vectors, scorer.popularity_prior])
        rest = np.sort(exact.positions[POPULAR_GAMES:]).astype(np.int64)
        others = np.zeros(len(scorer), dtype=bool)
        others[rest] = True
        balanced = candidates[rest]  # with the prior in units of the cosine, which gives better clusters
        balanced[:, -1] /= scorer.query_length
        width = balanced.shape[1]
        lists = faiss.IndexIVFFlat(
            faiss.IndexFlatIP(width), width, max(1, int(2 * sqrt(len(rest)))), faiss.METRIC_INNER_PRODUCT
        )
        lists.cp.niter, lists.cp.max_points_per_centroid = ITERATIONS, POINTS_PER_LIST
        lists.train(balanced)
        lists.add_with_ids(balanced, rest)
        popular = ExactIndex.from_candidates(
            scorer.vectors, scorer.popularity_prior, scorer.query_length, np.sort(exact.positions[:POPULAR_GAMES])
        )
        return cls(popular, lists, others, exact.ranks >= 0, candidates, scorer.query_length)

    def prepare(self, lists: Sequence[GameList]) -> Search:
        """See `Index.prepare`. Lists that few games may be on are searched exactly."""
        exact = [self.is_narrow(wanted) for wanted in lists]
        popular = self.popular.prepare([wanted for wanted, narrow in zip(lists, exact, strict=True) if not narrow])
        others = [_OthersSearch(self, wanted) for wanted, narrow in zip(lists, exact, strict=True) if not narrow]
        searches = [
            self._subset(wanted).prepare([replace(wanted, allowed=None)])
            for wanted, narrow in zip(lists, exact, strict=True)
            if narrow
        ]

        def search(queries: Float32Array, item_item: SparseScores, excluded: SparseScores) -> list[Found]:
            found = iter(
                [
                    each(queries, item_item, excluded, best)
                    for each, best in zip(others, popular(queries, item_item, excluded), strict=True)
                ]
            )
            own = iter([best for each in searches for best in each(queries, item_item, excluded)])
            return [next(own if narrow else found) for narrow in exact]

        return search

    def is_narrow(self, wanted: GameList) -> bool:
        """Return whether so few games may be on a list that most neighbours in the inverted file may not."""
        if wanted.allowed is None:
            return False
        return bool(np.count_nonzero(wanted.allowed & self.available) < SHARED_SUBSET_SHARE * self.available.sum())

    def _subset(self, wanted: GameList) -> ExactIndex:
        """Return an exact index of the games that may be on a list."""
        allowed = self.available if wanted.allowed is None else self.available & wanted.allowed
        vectors, priors = self.candidates[:, :-1], self.candidates[:, -1]
        return ExactIndex.from_candidates(vectors, priors, self.scale, np.flatnonzero(allowed))


class _OthersSearch:
    """The search for the games of a list that are not popular."""

    def __init__(self, index: ApproximateIndex, wanted: GameList) -> None:
        faiss = _faiss()
        self._index, self._wanted = index, wanted
        self._others = index.others if wanted.allowed is None else index.others & wanted.allowed
        selected = faiss.IDSelectorBitmap(np.packbits(self._others, bitorder="little"))
        self._parameters = faiss.SearchParametersIVF(sel=selected, nprobe=PROBES)

    def __call__(self, queries: Float32Array, item_item: SparseScores, excluded: SparseScores, popular: Found) -> Found:
        """See `Search`; `popular` are the best popular games."""
        faiss = _faiss()
        faiss.omp_set_num_threads(1)  # for this thread: blocks of users are searched in parallel
        index, others, k = self._index, self._others, self._wanted.length
        weights = np.full(len(queries), self._wanted.popularity_weight, dtype=np.float32)
        _, near = index.lists.search(
            np.column_stack([queries, index.scale * weights]), OVERSAMPLING * k, params=self._parameters
        )
        added = np.flatnonzero(others[item_item.games])
        n_games = len(index.candidates)
        added_cells = item_item.rows[added] * n_games + item_item.games[added]
        near_cells = (np.arange(len(queries))[:, None] * n_games + near)[near >= 0]
        cells = np.sort(np.concatenate([near_cells, added_cells]))  # np.unique takes ten times as long
        cells = cells[np.diff(cells, prepend=-1) > 0]
        cells = cells[~contains(np.sort(excluded.rows * n_games + excluded.games), cells)]
        rows, games = np.divmod(cells, n_games)
        scores = np.einsum("nd,nd->n", np.column_stack([queries, weights])[rows], index.candidates[games])
        kept = contains(cells, added_cells)
        np.add.at(scores, np.searchsorted(cells, added_cells[kept]), item_item.weights[added[kept]])
        positions, values = popular
        best = TopK(len(queries), k)
        best.add(rows, scores, games.astype(np.int32))
        best.add(np.nonzero(positions >= 0)[0], values[positions >= 0], positions[positions >= 0])
        return best.result()


def choose_retrieval(scorer: Scorer, sample: Callable[[], Histories], lists: Sequence[GameList]) -> tuple[Scorer, str]:
    """Switch a scorer to approximate retrieval if that is faster and its recall on a sample of users is high enough.

    Args:
        scorer: A scorer with exact retrieval.
        sample: Reads the histories of some users; called only for a large catalogue.
        lists: The lists that are recommended; the lowest recall of a list counts.

    Returns:
        The scorer, and a text that says how it retrieves games and why.
    """
    if len(scorer.exact_index.positions) < MIN_GAMES:
        return scorer, "exact"
    users, index = sample(), scorer.exact_index
    exact = scorer.recommend_lists(users, lists)
    scored = [
        index.games_scored(wanted, found.scores[:, -1])
        for wanted, found in zip(lists, exact, strict=True)
        if not index.is_narrow(wanted, SHARED_SUBSET_SHARE)
    ]
    if max(scored, default=0) < MIN_GAMES:
        return scorer, "exact"
    approximate = replace(scorer, index=ApproximateIndex.from_scorer(scorer))
    approximated = approximate.recommend_lists(users, lists)
    measured = min(recall(ours.positions, best.positions) for ours, best in zip(approximated, exact, strict=True))
    what = f"recall {measured:.4f} of approximate retrieval on a sample of {len(users)} users"
    if measured < MIN_RECALL:
        log("predict", f"{what} is below {MIN_RECALL}: using exact retrieval")
        return scorer, f"exact: {what}"
    log("predict", what)
    return approximate, f"approximate: {what}"


def recall(found: Int32Array, exact: Int32Array) -> float:
    """Compute the share of the exact recommendations that were found; both int32 [B, k], -1 for none.

    It is 1 if there are no recommendations.
    """
    expected = int((exact >= 0).sum())
    hits = sum(len(np.intersect1d(games[games >= 0], right)) for games, right in zip(found, exact, strict=True))
    return float(hits / expected) if expected else 1.0


def _faiss() -> Any:
    """Import FAISS, which takes long and is only needed for a large catalogue."""
    import faiss

    return faiss
