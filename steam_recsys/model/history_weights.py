"""The query tower's reading of a history: how much each game counts, by verdict, hours and age of its review."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steam_recsys.arrays import Float32Array
from steam_recsys.data.histories import Histories

USUAL_HOURS = 20.0
"""Hours at which, as where they are unknown, they neither add nor take away."""


MOST_HOURS = 1e6
"""More than a century of play is no number of hours; what cannot be one counts as unknown."""


@dataclass(frozen=True)
class HistoryWeights:
    """What a game counts in its user's history; the defaults count all alike. Chosen in training, on validation rows.

        w = verdict * ((1 + hours) / (1 + 20)) ** hours * (1 + later reviews of the user) ** -recency

    The age of a review is counted in reviews: days tell little where one user writes ten a week and another one a year.

    Attributes:
        disliked: what stands for the verdict where the user does not recommend the game; 1 where the user does.
        hours: exponent of the hours.
        recency: exponent of the age.
    """

    disliked: float = 1.0
    hours: float = 0.0
    recency: float = 0.0

    def of(self, history: Histories) -> Float32Array:
        """Each game's weight, float32 of the shape of `history.games`; a user's absolute weights have the mean 1."""
        lengths = history.lengths
        weights = np.where(history.recommended, 1.0, self.disliked)
        if self.hours:
            can_be = (history.hours >= 0) & (history.hours <= MOST_HOURS)  # False for NaN
            hours = np.where(can_be, history.hours, USUAL_HOURS)
            weights *= ((1 + hours) / (1 + USUAL_HOURS)) ** self.hours
        if self.recency:
            later = np.repeat(history.offsets[1:], lengths) - 1 - np.arange(len(weights))
            weights *= (1.0 + later) ** -self.recency
        owners = history.owners
        totals = np.bincount(owners, weights=np.abs(weights), minlength=len(history))
        means = totals / np.maximum(lengths, 1)
        weights /= np.where(means > 0, means, 1)[owners]
        return weights.astype(np.float32)


UNIFORM = HistoryWeights()
"""All games alike."""
