"""How much each game of a history counts in the query tower, by verdict, hours played and age of the review."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steam_recsys.arrays import Float32Array
from steam_recsys.data.histories import Histories

TYPICAL_HOURS = 20.0
"""Hours that leave a game's weight unchanged; unknown hours count as this many."""

MAX_HOURS = 1e6
"""More than a century of play. Hours outside 0 to this limit count as unknown."""


@dataclass(frozen=True)
class HistoryWeights:
    """Weights of a history's games, tuned on validation data.

        w = verdict * ((1 + hours) / (1 + 20)) ** hours * (1 + later reviews of the user) ** -recency

    Age is counted in later reviews, not in days: some users review ten games a week, others one a year.

    Attributes:
        disliked: Verdict of a game that the user does not recommend, below zero: a disliked game never counts for games
            like it. A recommended game has 1.
        hours: Exponent of the hours.
        recency: Exponent of the age.
    """

    disliked: float = -0.5
    hours: float = 0.0
    recency: float = 0.0

    def weigh(self, history: Histories) -> Float32Array:
        """Weigh each game of each history.

        Returns:
            float32, one weight per entry of `history.games`; the absolute weights of each user have mean 1.
        """
        lengths = history.lengths
        weights = np.where(history.recommended, 1.0, self.disliked)
        if self.hours:
            valid = (history.hours >= 0) & (history.hours <= MAX_HOURS)  # False for NaN
            hours = np.where(valid, history.hours, TYPICAL_HOURS)
            weights *= ((1 + hours) / (1 + TYPICAL_HOURS)) ** self.hours
        if self.recency:
            weights *= (1.0 + history.later) ** -self.recency
        owners = history.owners
        totals = np.bincount(owners, weights=np.abs(weights), minlength=len(history))
        means = totals / np.maximum(lengths, 1)
        weights /= np.where(means > 0, means, 1)[owners]
        return weights.astype(np.float32)


DEFAULT_HISTORY_WEIGHTS = HistoryWeights()
"""All liked games count the same; a disliked game counts half as much, against games like it."""
