"""Recommendations for one user while the user waits, from game IDs to game IDs, without TensorFlow.

online = OnlineRecommender.load(folder)
online.recommend([620, 440], k=10)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from steam_recsys.arrays import BoolArray, Int32Array
from steam_recsys.data.histories import Histories
from steam_recsys.errors import UserError
from steam_recsys.model.history_weights import MAX_HOURS
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.two_tower import TwoTowerArrays

ITEMS = "items.npz"
"""The file in a model folder with the vectors and the popularity of the vocabulary's games."""


@dataclass(frozen=True)
class Recommendation:
    """A recommended game.

    Attributes:
        game_id: The game.
        score: Its score.
        because: The game of the history that contributed most; None if the game ranks no higher than by popularity
            alone, as for an empty history.
    """

    game_id: int
    score: float
    because: int | None


class OnlineRecommender:
    """Recommends games to one user at a time, from a history that may end a second ago.

    It is immutable, so threads may share one. If popularity or games have changed, create another one.
    """

    def __init__(self, game_ids: Int32Array, scorer: Scorer) -> None:
        """Recommend from a scorer; `game_ids`, int32 [N] and distinct, are the IDs of its positions."""
        self._game_ids: list[int] = game_ids.tolist()
        self._position_of = {game_id: position for position, game_id in enumerate(self._game_ids)}
        self._scorer = scorer

    @classmethod
    def load(cls, folder: str | Path) -> OnlineRecommender:
        """Load a model folder: the games it was trained on, with their popularity at the time of training.

        For other games or today's popularity, pass the result of `TwoTowerArrays.for_catalogue` to the constructor.

        Raises:
            UserError: The folder holds no complete model.
        """
        model = TwoTowerArrays.load(folder)
        try:
            with np.load(Path(folder) / ITEMS, allow_pickle=False) as items:
                scorer = Scorer(
                    **items, item_item=model.item_item, scale=model.scale, history_weights=model.history_weights
                )
        except FileNotFoundError:
            raise UserError(f"{folder} holds no complete model ({ITEMS} is missing): train it again.") from None
        return cls(model.game_ids, scorer)

    def recommend(
        self,
        history: Sequence[int],
        k: int,
        *,
        recommended: Sequence[bool] | None = None,
        hours: Sequence[float | None] | None = None,
        exclude: Iterable[int] = (),
        among: BoolArray | None = None,
    ) -> list[Recommendation]:
        """Recommend the k best games to a user, best first; ties in catalogue order.

        Games and scores are the same as from `Scorer.recommend` and the SavedModel.

        Args:
            history: The user's games in the order of time, the newest last. IDs outside the catalogue are ignored; if a
                game appears several times, the last one counts.
            k: Number of games; the result has fewer if fewer are left.
            recommended: Whether the user recommends each game of the history; None if all of them.
            hours: Hours played of each game of the history, None if unknown; impossible values count as unknown.
            exclude: Games that must not be recommended, in addition to the history.
            among: bool [N], the catalogue positions that may be recommended; None for all available games.

        Returns:
            The recommendations; for an empty history, the games that are popular now, without a reason.

        Raises:
            ValueError: `recommended` or `hours` is not as long as `history`.
        """
        known = self._known(
            history,
            [True] * len(history) if recommended is None else recommended,
            [None] * len(history) if hours is None else hours,
        )
        excluded = [self._position_of[game_id] for game_id in exclude if game_id in self._position_of]
        without = Histories.from_games([*known.games.tolist(), *excluded])
        k = max(0, min(k, len(self._game_ids)))
        columns = (column[0].tolist() for column in self._scorer.recommend(known, k, excluded=without, among=among))
        return [
            Recommendation(self._game_ids[position], score, None if reason < 0 else self._game_ids[reason])
            for position, score, reason in zip(*columns, strict=True)
            if position >= 0
        ]

    def _known(self, history: Sequence[int], recommended: Sequence[bool], hours: Sequence[float | None]) -> Histories:
        """Convert one user's history to catalogue positions, with each game once."""
        if not len(history) == len(recommended) == len(hours):
            lengths = f"{len(recommended)} verdicts and {len(hours)} hours"
            raise ValueError(f"A history of {len(history)} games has {lengths}: give one of each per game.")
        latest: dict[int, tuple[bool, float]] = {}
        for game_id, verdict, played in zip(history, recommended, hours, strict=True):
            position = self._position_of.get(game_id)
            if position is not None:
                latest.pop(position, None)  # so that it moves to the end
                latest[position] = verdict, played if played is not None and 0 <= played <= MAX_HOURS else math.nan
        verdicts = np.array([verdict for verdict, _ in latest.values()], dtype=bool)
        known_hours = np.array([played for _, played in latest.values()], dtype=np.float32)
        offsets = np.array([0, len(latest)], dtype=np.int64)
        return Histories(np.zeros(1, np.int64), offsets, np.array([*latest], dtype=np.int32), verdicts, known_hours)
