"""The validation data, and how well settings of the model rank them: settings that share parts share their scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_matrix

from steam_recsys.arrays import BoolArray, Float32Array, Float64Array, Int32Array
from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories
from steam_recsys.evaluation.beyond_accuracy import effective_games, mean_jaccard
from steam_recsys.evaluation.metrics import HEADLINE_METRIC, NDCG, measure_ranked
from steam_recsys.evaluation.rankers import ModelRanker, score_blocks
from steam_recsys.evaluation.splits import HeldOut
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.item_item_fits import as_matrix
from steam_recsys.model.lists import interests_length
from steam_recsys.model.retrieval import TOP_K_SCORES, top_k
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.sequential import SequentialTower

POPULARITY_WEIGHTS = (8.0, 4.0, 3.0, 2.0, 1.6, 1.3, 1.15, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15)
"""Factors of the popularity prior to choose from, the least personal one first."""

INTERESTS_WEIGHTS = (*POPULARITY_WEIGHTS, 0.1, 0.05, 0.01)
"""The same for interests. None is 0: users without a history would get the catalogue's first games."""

INTERESTS_OVERLAP = 0.2
"""Largest mean overlap of two users' interests."""

OVERLAP_USERS = 500
"""Users among whom overlap is measured, at least: twice as many at most."""


@dataclass(frozen=True)
class Validation:
    """The validation data.

    Attributes:
        held_out: The users.
        games: The catalogue, sorted by ID.
        popularity: float64 [D, N], popularity by decay at the beginning of the validation period.
        supported: bool [N], the games with enough reviews by then for taste alone to rank them.
    """

    held_out: HeldOut
    games: Games
    popularity: Float64Array
    supported: BoolArray

    def measure(
        self, scorer: Scorer, weights: Sequence[float], parts: Sequence[Part] = ()
    ) -> Iterator[tuple[Float64Array, float, float]]:
        """Yield NDCG@10 of each user, float64 [n_users], overlap and effective games with some popularity weights.

        Args:
            scorer: Scores the catalogue.
            weights: The popularity weights.
            parts: What the taste is the sum of, if it has been computed before.
        """
        k = HEADLINE_METRIC.k
        for ranked in rank(scorer, self.held_out, weights, k, parts=parts):
            figures = measure_ranked(ranked, self.held_out.relevant, (HEADLINE_METRIC,))
            overlap = mean_jaccard(ranked[:: max(1, len(ranked) // OVERLAP_USERS)], k)
            yield figures[HEADLINE_METRIC.name], overlap, effective_games(ranked, k)

    def figures(self, scorer: Scorer, weight: float, parts: Sequence[Part], metric: NDCG) -> Float64Array:
        """Return another metric of each user with one popularity weight, float64 [n_users]."""
        (ranked,) = rank(scorer, self.held_out, (weight,), metric.k, parts=parts)
        return measure_ranked(ranked, self.held_out.relevant, (metric,))[metric.name]

    def sample(self, limit: int) -> Validation:
        """Return the data of about `limit` users, evenly spaced."""
        rows = np.arange(0, len(self.held_out), max(1, -(-len(self.held_out) // limit)))
        return replace(self, held_out=self.held_out.take(rows))

    def interests_weight(self, scorer: Scorer) -> float:
        """Return the largest popularity weight with which the interests of two users overlap little enough."""
        users = self.held_out.take(np.arange(0, len(self.held_out), max(1, len(self.held_out) // OVERLAP_USERS)))
        length = interests_length(int(self.supported.sum()))
        rankings = rank(scorer, users, INTERESTS_WEIGHTS, length, self.supported)
        for weight, ranked in zip(INTERESTS_WEIGHTS, rankings, strict=True):
            if mean_jaccard(ranked, length) <= INTERESTS_OVERLAP:
                return weight
        return INTERESTS_WEIGHTS[-1]


def rank(
    scorer: Scorer,
    users: HeldOut,
    weights: Sequence[float],
    k: int,
    allowed: BoolArray | None = None,
    parts: Sequence[Part] = (),
) -> list[Int32Array]:
    """Rank the games outside each user's history with several popularity weights.

    Args:
        scorer: Scores the catalogue.
        users: B users.
        weights: The popularity weights.
        k: Number of games.
        allowed: bool [N], the games that may be ranked; None for all.
        parts: What the taste is the sum of, if it has been computed before.

    Returns:
        The k best games as positions for each weight, int32 [B, k], -1 if fewer are left.
    """
    ranked = [np.empty((len(users), k), dtype=np.int32) for _ in weights]
    ranker = ModelRanker(scorer, popularity_weight=0.0)
    for rows, taste in summed_blocks(parts, users.history) if parts else score_blocks(ranker, users.history):
        if allowed is not None:
            taste[:, ~allowed] = -np.inf
        for weight, games in zip(weights, ranked, strict=True):
            games[rows], _ = top_k(taste + np.float32(weight) * scorer.popularity_prior, k)
    return ranked


Part = tuple[float, Float32Array]
"""A factor and the scores of all users and games, float32 [B, N], that it multiplies."""


def summed_blocks(parts: Sequence[Part], history: Histories) -> Iterator[tuple[slice, Float32Array]]:
    """Sum the parts of scores for one block of users at a time, as `score_blocks` computes scores."""
    n_games, owners = parts[0][1].shape[1], history.owners
    block = max(1, TOP_K_SCORES // max(1, n_games))
    for start in range(0, len(history), block):
        rows = slice(start, min(start + block, len(history)))
        scores = np.zeros((rows.stop - rows.start, n_games), dtype=np.float32)
        for factor, part in parts:
            scores += np.float32(factor) * part[rows]
        entries = slice(history.offsets[rows.start], history.offsets[rows.stop])
        scores[owners[entries] - rows.start, history.games[entries]] = -np.inf
        yield rows, scores


def table_scores(table: ItemItemWeights, history: Histories, weights: Float32Array, n_games: int) -> Float32Array:
    """Compute what a table adds to the scores, float32 [B, N], if each of n games counts by its weight, float32 [n]."""
    users = csr_matrix((weights, history.games, history.offsets), shape=(len(history), n_games))
    scores: Float32Array = (users @ as_matrix(table)).toarray()
    return scores


def cosines(tower: SequentialTower, history: Histories) -> Float32Array:
    """Compute the cosine of each user and each game in a sequential tower, float32 [B, N]."""
    found: Float32Array = tower.queries(history) @ tower.candidates.T
    return found
