"""A publication's model at work: games for a history, under filters and in an order, and games like a game."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np

from explorer.arrays import Arrays
from explorer.catalogue import SYSTEMS
from explorer.views import BECAUSE, Filters, Recommended, Similar
from steam_recsys.arrays import BoolArray, Int32Array
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import UNDATED, day_of
from steam_recsys.model.online import OnlineRecommender
from steam_recsys.model.retrieval import top_k

RANKED = 50
"""How many of the most relevant games are put into another order: as many as a publication holds of a user."""

RANKINGS = {"sales": "Sales", "revenue": "Revenue", "reviews": "Review"}
LAST = np.iinfo(np.int32).max


class Model:
    """Answers from one publication's arrays; it is never changed, so that threads may share one."""

    def __init__(self, arrays: Arrays) -> None:
        self.version = arrays.version
        self.model_version = arrays.model_version
        self._arrays = arrays
        self._online = OnlineRecommender(arrays.game_ids, arrays.catalogue)
        self._online.recommend([], 1)  # what is made once is made here, where nobody waits for an answer

    def recommend(
        self,
        history: Sequence[int],
        filters: Filters,
        today: date,
        *,
        recommended: Sequence[bool] | None = None,
        hours: Sequence[float | None] | None = None,
    ) -> list[Recommended]:
        """The best games for a history that pass the filters; see `OnlineRecommender.recommend` and `Filters`.

        Raises:
            ValueError: `recommended` or `hours` is not as long as `history`.
        """
        k = filters.limit if filters.rank_by == "relevance" else max(filters.limit, RANKED)
        among = self.passing(filters, today)
        found = self._online.recommend(history, k, recommended=recommended, hours=hours, among=among)
        positions = positions_of(np.array([game.game_id for game in found], dtype=np.int32), self._arrays.game_ids)
        best = [found[row] for row in self._order(positions, filters)[: filters.limit].tolist()]
        return [
            Recommended(rank, game.game_id, self._name(game.game_id), game.score, self._reason(game.because))
            for rank, game in enumerate(best, start=1)
        ]

    def similar(self, game_id: int, k: int, today: date) -> list[Similar]:
        """The k games on offer whose vectors are nearest to a game's, by cosine; none where it has no vector."""
        arrays = self._arrays
        candidates = arrays.catalogue.candidates
        (position,) = positions_of(np.array([game_id]), arrays.game_ids)
        if position < 0 or not candidates[position].any():
            return []
        among = self.passing(Filters(), today)
        among[position] = False
        cosines = np.where(among, candidates @ candidates[position], np.float32(-np.inf))
        positions, values = top_k(cosines[None], min(k, len(cosines)))
        return [
            Similar(int(arrays.game_ids[near]), arrays.facts.names[near], round(float(score), 6))
            for near, score in zip(positions[0].tolist(), values[0].tolist(), strict=True)
            if near >= 0
        ]

    def passing(self, filters: Filters, today: date) -> BoolArray:
        """The games on offer that pass, bool [N]: what is not known of a game passes."""
        facts = self._arrays.facts
        among = self._arrays.offered & (facts.delisted > day_of(today))
        if filters.genre is not None:
            members = np.zeros_like(among)
            members[facts.genres.get(filters.genre.lower(), np.zeros(0, np.int32))] = True
            among &= members
        undated = facts.released_year == UNDATED
        if filters.released_from is not None:
            among &= undated | (facts.released_year >= filters.released_from)
        if filters.released_to is not None:
            among &= undated | (facts.released_year <= filters.released_to)
        if filters.max_ram_gb is not None:
            among &= ~(facts.ram_gb > np.float32(filters.max_ram_gb))  # False for NaN
        if filters.max_storage_gb is not None:
            among &= ~(facts.storage_gb > np.float32(filters.max_storage_gb))
        if filters.os is not None:
            among &= (facts.systems == 0) | (facts.systems & (1 << SYSTEMS.index(filters.os)) != 0)
        return among

    def _order(self, positions: Int32Array, filters: Filters) -> np.typing.NDArray[np.int64]:
        """The rows of the most relevant games in the order that is asked for, equals in order of relevance."""
        facts = self._arrays.facts
        if filters.rank_by == "relevance":
            return np.arange(len(positions))
        if filters.rank_by == "newest":
            return np.argsort(-facts.released[positions].astype(np.int64), kind="stable")
        rank_type = RANKINGS[filters.rank_by]
        genre = (filters.genre or "").lower()
        ranking = facts.ranks.get((genre, rank_type)) or facts.ranks.get(("", rank_type))
        if ranking is None:
            return np.arange(len(positions))
        rows = positions_of(positions, ranking[0])
        return np.argsort(np.where(rows >= 0, ranking[1][rows], LAST), kind="stable")

    def _name(self, game_id: int) -> str:
        return self._arrays.facts.names[int(np.searchsorted(self._arrays.game_ids, game_id))]

    def _reason(self, because: int | None) -> str:
        return "popular now" if because is None else f"{BECAUSE}{self._name(because)}"
