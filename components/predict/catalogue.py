"""A catalogue ready for ranking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.predict.links import Links
from components.predict.query import HistoryWeights
from components.predict.ranking import top_k
from components.shared.histories import Histories
from components.shared.interactions import Floats, Ints, Longs

BLOCK_SCORES = 1 << 24
"""Scores held at a time, 64 MB of float32: what bounds the memory, whatever the number of users."""


@dataclass(frozen=True)
class Catalogue:
    """A catalogue of N games, ready for ranking; games are meant by their position in it.

    Attributes:
        history: float32 [N, d], each game's vector as part of a history.
        candidates: float32 [N, d], each game's vector as a candidate, of length one (zero where nothing is known).
        links: between the catalogue's positions.
        popularity_offset: float32 [N], what recent popularity adds to each game's score.
        scale: what the cosine is multiplied by.
        history_weights: how much each game of a history counts.
    """

    history: Floats
    candidates: Floats
    links: Links
    popularity_offset: Floats
    scale: float
    history_weights: HistoryWeights

    def __len__(self) -> int:
        return len(self.candidates)

    def arrays(self) -> dict[str, Floats]:
        """What there is a row a game of, by name."""
        return {"history": self.history, "candidates": self.candidates, "popularity_offset": self.popularity_offset}

    def queries(self, history: Histories) -> Floats:
        """The query tower: float32 [B, d] of length one, zero for an empty history."""
        vectors = self.history[history.games] * self.history_weights.of(history)[:, None]
        return normalised(segment_sums(vectors, history.offsets))

    def scores(self, history: Histories) -> Floats:
        """Every user's score of every game, float32 [B, N]."""
        scores: Floats = np.matmul(self.queries(history) * np.float32(self.scale), self.candidates.T)
        scores += self.popularity_offset
        source, places = self.links.from_rows(history.games)
        users = np.repeat(np.arange(len(history)), history.lengths)
        linked = users[source] * len(self) + self.links.games[places]
        np.add.at(scores.reshape(-1), linked, self.links.weights[places] * self.history_weights.of(history)[source])
        return scores

    def recommend(self, history: Histories, k: int, *, excluded: Histories | None = None) -> tuple[Ints, Floats, Ints]:
        """The k best games for each of B users, best first; equal scores in the order of the catalogue.

        Args:
            history: of the users, as positions in the catalogue.
            k: how many to recommend.
            excluded: games that must not be recommended to the same users; the history's where left out.

        Returns:
            The games as positions, int32 [B, k], -1 where fewer than k are left; their scores, float32 [B, k], -inf
            there; and the position of the history's game that contributed most to each, int32 [B, k], the earliest of
            equals, -1 where there is no recommendation or no history. A game that the user does not recommend is a
            reason only where there is no other.
        """
        excluded = history if excluded is None else excluded
        n_users = len(history)
        positions = np.full((n_users, k), -1, dtype=np.int32)
        values = np.full((n_users, k), -np.inf, dtype=np.float32)
        because = np.full((n_users, k), -1, dtype=np.int32)
        block = max(1, BLOCK_SCORES // max(1, len(self)))
        for start in range(0, n_users, block):
            users = np.arange(start, min(start + block, n_users))
            known, without = history.take(users), excluded.take(users)
            scores = self.scores(known)
            scores[np.repeat(np.arange(len(users)), without.lengths), without.games] = -np.inf
            positions[users], values[users] = top_k(scores, k)
            because[users] = self._because(known, positions[users])
        return positions, values, because

    def _because(self, history: Histories, positions: Ints) -> Ints:
        """The reasons, as `recommend` returns them.

        The cosine is a sum over the history's games, divided by one length, and the links are a sum: the largest term
        contributed most.
        """
        because = np.full(positions.shape, -1, dtype=np.int32)
        weights = self.history_weights.of(history)
        lengths = np.linalg.norm(segment_sums(self.history[history.games] * weights[:, None], history.offsets), axis=1)
        factors = self.scale / np.where(lengths > 0, lengths, 1)
        for user in np.flatnonzero(history.lengths):
            found = positions[user][positions[user] >= 0]
            reasons = np.arange(*history.offsets[user : user + 2])
            if history.recommended[reasons].any():
                reasons = reasons[history.recommended[reasons]]
            games = history.games[reasons]
            # Not a product of matrices: BLAS may round equal rows differently, and then not the earliest is named.
            terms = factors[user] * np.einsum("nd,kd->nk", self.history[games], self.candidates[found])
            terms += self.links.between(games, found)
            because[user, : len(found)] = games[np.argmax(terms * weights[reasons, None], axis=0)]
        return because


def segment_sums(vectors: Floats, offsets: Longs) -> Floats:
    """The sum of each segment's vectors, float32 [B, d]; zero for an empty one."""
    sums = np.zeros((len(offsets) - 1, vectors.shape[1]), dtype=np.float32)
    filled = np.flatnonzero(np.diff(offsets))
    if len(filled):
        sums[filled] = np.add.reduceat(vectors, offsets[filled], axis=0)
    return sums


def normalised(vectors: Floats) -> Floats:
    """The same vectors at length one, float32 [B, d]; those of length zero stay as they are."""
    lengths = np.sqrt(np.einsum("nd,nd->n", vectors, vectors))
    lengths[lengths == 0] = 1
    unit: Floats = vectors / lengths[:, None]
    return unit
