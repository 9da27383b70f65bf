"""What the gate asks for: settings of the training pipeline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Thresholds:
    """How much a challenger may fall short, and on how much evidence.

    Attributes:
        baseline_errors: standard errors of the paired difference by which the challenger may fall short of the best
            baseline. 1.96 makes a tie of what lies within the difference's 95 % interval: the best of several baselines
            is picked on the very rows that it is compared on, and where most users have one or two reviews,
            popularity is as good as anything.
        champion_errors: the same against the champion, and there the challenger must stay above: 0 asks for a mean
            that is higher than the champion's, by however little. A negative number asks the challenger to be better
            by more than as many errors, so that champions change rarely; a positive one lets it fall short by less
            than as many of a champion that ages, as it has learnt from newer reviews, but never below the best
            baseline.
        coverage_floor: the share of popularity's coverage of the catalogue that the challenger's must reach.
        slice_floor: the share of a baseline's figure that the challenger's must reach on each slice, less
            `baseline_errors` standard errors of their difference there.
        slice_users: users below whom a slice is not evidence enough to decide on.
    """

    baseline_errors: float = 1.96
    champion_errors: float = 0.0
    coverage_floor: float = 0.9
    slice_floor: float = 0.7
    slice_users: int = 100


DEFAULT = Thresholds()
"""What a pipeline asks for that is not told otherwise."""
