"""Answers while the user waits, in game ids: what an online service asks of a model, without TensorFlow.

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
from steam_recsys.model.history_weights import MOST_HOURS
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.two_tower import TwoTowerArrays

ITEMS = "items.npz"
"""The file of a model's folder with the vectors and the popularity of the games of its vocabulary."""


@dataclass(frozen=True)
class Recommendation:
    """A game, its score, and the game of the history that contributed most to it.

    None where popularity alone would put the game as high, as for an empty history.
    """

    game_id: int
    score: float
    because: int | None


class OnlineRecommender:
    """Recommends to one user at a time, from a history of any age: the last click may be a second old.

    It is never changed, so that threads may share one. When popularity or games have changed, make another one.
    """

    def __init__(self, game_ids: Int32Array, catalogue: Scorer) -> None:
        """`game_ids` is int32 [N], distinct, and names the catalogue's positions."""
        self._game_ids: list[int] = game_ids.tolist()
        self._position_of = {game_id: position for position, game_id in enumerate(self._game_ids)}
        self._catalogue = catalogue

    @classmethod
    def load(cls, folder: str | Path) -> OnlineRecommender:
        """Read a model's folder: the games that it learnt from, with the popularity of the day of its training.

        For other games or today's popularity, make one of `TwoTowerArrays.for_catalogue`.

        Raises:
            UserError: the folder holds no complete model.
        """
        model = TwoTowerArrays.load(folder)
        try:
            with np.load(Path(folder) / ITEMS, allow_pickle=False) as items:
                catalogue = Scorer(**items, links=model.links, scale=model.scale, history_weights=model.history_weights)
        except FileNotFoundError:
            raise UserError(f"{folder} holds no complete model ({ITEMS} is missing): train it again.") from None
        return cls(model.game_ids, catalogue)

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
        """The k best games for a user, best first; equal scores in the order of the catalogue.

        They and their scores are what `Scorer.recommend` and the SavedModel answer to the same history.

        Args:
            history: the user's games in the order of time, the newest last. Ids that the catalogue lacks are passed
                over, and of several mentions of a game the last counts.
            k: how many games; fewer where fewer are left.
            recommended: whether the user recommends each of them; all of them where left out.
            hours: how long the user has played each, None where unknown, as is what cannot be a number of hours.
            exclude: games that must not be recommended besides the history's, which never are.
            among: bool [N], the positions of the catalogue that may be recommended; all on offer where left out.

        Returns:
            To an empty history, the games that are popular now, without a reason.

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
        answers = (column[0].tolist() for column in self._catalogue.recommend(known, k, excluded=without, among=among))
        return [
            Recommendation(self._game_ids[position], score, None if reason < 0 else self._game_ids[reason])
            for position, score, reason in zip(*answers, strict=True)
            if position >= 0
        ]

    def _known(self, history: Sequence[int], recommended: Sequence[bool], hours: Sequence[float | None]) -> Histories:
        """The history by positions, one user's, each game once."""
        if not len(history) == len(recommended) == len(hours):
            lengths = f"{len(recommended)} verdicts and {len(hours)} hours"
            raise ValueError(f"A history of {len(history)} games has {lengths}: give one of each a game.")
        latest: dict[int, tuple[bool, float]] = {}
        for game_id, verdict, played in zip(history, recommended, hours, strict=True):
            position = self._position_of.get(game_id)
            if position is not None:
                latest.pop(position, None)  # so that it moves to the end
                latest[position] = verdict, played if played is not None and 0 <= played <= MOST_HOURS else math.nan
        verdicts = np.array([verdict for verdict, _ in latest.values()], dtype=bool)
        known_hours = np.array([played for _, played in latest.values()], dtype=np.float32)
        offsets = np.array([0, len(latest)], dtype=np.int64)
        return Histories(np.zeros(1, np.int64), offsets, np.array([*latest], dtype=np.int32), verdicts, known_hours)
