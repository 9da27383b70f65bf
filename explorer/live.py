"""The model of the current publication, as arrays: answers to a history of this second, without TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

from explorer.problems import Problem
from explorer.settings import Settings
from explorer.shop import Shop
from explorer.views import Filters, Recommended, Similar


class Live:
    """Answers from the current publication's model, which is read again in the background when another is current.

    Its methods raise `Problem` (503) while no model has been read.
    """

    def __init__(self, settings: Settings, shop: Shop) -> None:
        self._settings = settings
        self._shop = shop

    async def recommend(
        self,
        history: Sequence[int],
        filters: Filters,
        *,
        recommended: Sequence[bool] | None = None,
        hours: Sequence[float | None] | None = None,
    ) -> list[Recommended]:
        """The best games for a history of game ids, the newest last; see `OnlineRecommender.recommend`."""
        raise Problem(503, "No model has been read yet: try again in a moment.")

    async def similar(self, game_id: int, k: int) -> list[Similar]:
        """The k games whose vectors are nearest to a game's, by the cosine; none where nothing is known of it."""
        raise Problem(503, "No model has been read yet: try again in a moment.")
