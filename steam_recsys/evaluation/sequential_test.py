"""A test of two proportions that may be looked at every day: its p-values and intervals hold at all looks together.

An ordinary p-value holds for one look at a number of users that was set before. If it is looked at every day until it
is below 5 %, far more than 5 % of the comparisons without a difference end with one. The mixture sequential probability
ratio test has no such limit (Johari, Pekelis and Walsh 2017, "Always Valid Inference: Continuous Monitoring of A/B
Tests", arXiv 1512.04922, section 5; section 6.1 for two samples).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steam_recsys.arrays import Float64Array, Int64Array
from steam_recsys.evaluation.intervals import CONFIDENCE_LEVEL, Interval

MIXTURE_SCALE = 0.01
"""Standard deviation of the differences that the test looks for. It must not depend on the data; another size of the
difference costs some users, but no validity."""

EXPECTED_COUNT = 5
"""Successes, and failures, that each group is expected to have before a look counts, as the test takes their sums for
normal (Cochran 1954, "Some Methods for Strengthening the Common χ² Tests", section 2)."""


@dataclass(frozen=True)
class SequentialTest:
    """The result of all looks so far.

    Attributes:
        p_value: Always-valid p-value: the smallest one of all looks.
        difference: The treatment's proportion minus the control's at the last look. Its 95 % interval belongs to a
            confidence sequence: with a probability of 95 %, the intervals of all looks contain the true difference.
            None before the first look with enough users.
    """

    p_value: float
    difference: Interval | None


def compare_proportions(
    control_users: Int64Array, control_successes: Int64Array, users: Int64Array, successes: Int64Array
) -> SequentialTest:
    """Compare the proportion of a treatment with that of a control group.

    Args:
        control_users: Number of users of the control group at each look, cumulated, int64 [looks].
        control_successes: Number of them with a success, int64 [looks].
        users: Number of users of the treatment group, int64 [looks].
        successes: Number of them with a success, int64 [looks].
    """
    difference, variance = difference_of_proportions(control_users, control_successes, users, successes)
    looks = np.flatnonzero(np.isfinite(variance))
    if not len(looks):
        return SequentialTest(1.0, None)
    p_values = np.exp(-log_mixture_ratio(difference[looks], variance[looks]))
    last, error = looks[-1], float(np.sqrt(variance[looks[-1]]))
    mean, half = float(difference[last]), confidence_half_width(float(variance[last]))
    return SequentialTest(min(1.0, float(p_values.min())), Interval(mean, mean - half, mean + half, error))


def difference_of_proportions(
    control_users: Int64Array, control_successes: Int64Array, users: Int64Array, successes: Int64Array
) -> tuple[Float64Array, Float64Array]:
    """Return the difference at each look, and the variance of its estimate, float64 [looks]; NaN with too few users.

    The arguments are as in `compare_proportions`; they may have more dimensions, of which the last one is that of the
    looks.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        pooled = (control_successes + successes) / (control_users + users)
        enough = np.minimum(pooled, 1 - pooled) * np.minimum(control_users, users) >= EXPECTED_COUNT
        difference = np.where(enough, successes / users - control_successes / control_users, np.nan)
        variance = np.where(enough, pooled * (1 - pooled) * (1 / users + 1 / control_users), np.nan)
    return difference, variance


def log_mixture_ratio(difference: Float64Array, variance: Float64Array) -> Float64Array:
    """Return the logarithm of the mixture likelihood ratio at each look; the p-value of a look is exp of minus that.

    Written with the variance V of the estimated difference d and the mixture N(0, τ²), it is the logarithm of
    √(V / (V + τ²)) · exp(τ² d² / (2 V (V + τ²))).
    """
    mixture = MIXTURE_SCALE**2
    ratio: Float64Array = 0.5 * np.log(variance / (variance + mixture)) + mixture * difference**2 / (
        2 * variance * (variance + mixture)
    )
    return ratio


def confidence_half_width(variance: float) -> float:
    """Return half the width of the confidence sequence: the difference from zero at which the p-value is 5 %."""
    mixture, alpha = MIXTURE_SCALE**2, 1 - CONFIDENCE_LEVEL
    spread = 2 * variance * (variance + mixture) / mixture
    return float(np.sqrt(spread * (np.log(1 / alpha) + 0.5 * np.log((variance + mixture) / variance))))
