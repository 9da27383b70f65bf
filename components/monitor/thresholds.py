"""When a champion is retrained: settings of the inference pipeline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """How far the shop may move, and how far quality may fall, before the model is trained again.

    Attributes:
        quality_floor: the share of recent popularity's realised NDCG@10 that the recommendations must reach. They fall
            below it where the 95 % interval of what they have more than that share lies below zero.
        quality_users: users with reviews to judge by below whom quality decides nothing.
        drift_ceiling: the highest population stability index; above 0.25 a shift is usually called significant
            (Siddiqi 2006, "Credit Risk Scorecards", chapter 8).
        unknown_ceiling: the highest share of the reviews since the training that are of games unknown to the model.
        drift_reviews: reviews since the training below which drift decides nothing.
        age_ceiling: days of reviews that the model may lack.
        growth_ceiling: the highest share of the catalogue's games that have come since the training.
        rest_days: days of reviews to wait after a training, whatever is exceeded: what did not pass the gate, or
            failed, would most likely do so again the day after.
    """

    quality_floor: float = 0.9
    quality_users: int = 200
    drift_ceiling: float = 0.25
    unknown_ceiling: float = 0.1
    drift_reviews: int = 1_000
    age_ceiling: int = 7
    growth_ceiling: float = 0.1
    rest_days: int = 3


DEFAULT = Thresholds()
"""What a pipeline asks for that is not told otherwise."""
