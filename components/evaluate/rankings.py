"""What rankings answer to held-out users, ranked once and measured in many ways."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from steam_recsys.arrays import BoolArray, Float64Array, Int32Array, Int64Array
from steam_recsys.evaluation.holdout import HeldOut
from steam_recsys.evaluation.metrics import Metric, measure_ranked
from steam_recsys.evaluation.rankers import Ranker


@dataclass(frozen=True)
class Rankings:
    """Held-out users, and by ranking the best games for them, as positions: int32 [B, k], -1 where fewer are left."""

    held_out: HeldOut
    ranked: Mapping[str, Int32Array]

    @classmethod
    def from_rankers(cls, held_out: HeldOut, rankers: Mapping[str, Ranker], k: int) -> Rankings:
        """Ask every ranking. Users without a history get one answer, so it is asked for once."""
        asked, copies = held_out.history, 1
        if len(asked) and not asked.lengths.any():
            asked, copies = asked.take(np.array([0])), len(asked)
        ranked = {name: np.repeat(ranker.rank(asked, k), copies, axis=0) for name, ranker in rankers.items()}
        return cls(held_out, ranked)

    def take(self, rows: Int64Array) -> Rankings:
        """Those to the users in some rows."""
        return Rankings(self.held_out.take(rows), {name: ranked[rows] for name, ranked in self.ranked.items()})

    def only(self, games: BoolArray) -> Rankings:
        """Those to the users who take up one of some games, bool [N], with only these counted as right.

        The whole catalogue stays ranked: a place that another game takes is lost.
        """
        rows, held_out = self.held_out.only(games)
        return Rankings(held_out, {name: ranked[rows] for name, ranked in self.ranked.items()})

    def measured(self, metrics: Sequence[Metric]) -> dict[str, dict[str, Float64Array]]:
        """By ranking, then by the metric's name: a figure for each user, float64 [B]."""
        return {name: measure_ranked(of, self.held_out.relevant, metrics) for name, of in self.ranked.items()}
