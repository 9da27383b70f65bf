"""What a version must keep to before it becomes current: settings of the inference pipeline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """How far a version may be from the one that is shown.

    Attributes:
        user_coverage_floor: the share of the shown version's users that must have recommendations again, and the share
            of their number that the users must come to; and the share of the version's own users whom the shop must
            still have, as some leave it between extraction and publication.
        rows_per_user_floor: the share of the shown version's games per user that must be reached.
        churn_floor: the least churn: the mean share of a user's first ten games that are no longer among them. 0 lets
            a version through that changes nothing, as where nobody has written a review since the last.
        churn_ceiling: the greatest churn. A new model may replace most games of most users. One whose games have been
            mixed up replaces nearly all of them: what is left, ten random games of 290 have in common with ten others.
        churn_users: users of the shown version, or of the sample of them, below whom they are not evidence enough.
    """

    user_coverage_floor: float = 0.9
    rows_per_user_floor: float = 0.9
    churn_floor: float = 0.0
    churn_ceiling: float = 0.95
    churn_users: int = 100


DEFAULT = Limits()
"""What a pipeline asks for that is not told otherwise."""
