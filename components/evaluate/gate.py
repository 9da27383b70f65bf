"""The gate: whether a challenger becomes champion. A pure function of what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from components.evaluate.metrics import NDCG, Doubles

METRIC = NDCG(10)
"""The metric that decides."""

TOLERANCE = 1.0
"""Standard errors of the paired difference by which the challenger may fall short of a baseline: less is a tie."""


@dataclass(frozen=True)
class Rule:
    """One comparison over the same users.

    Attributes:
        rival: its name.
        tolerance: standard errors of the difference by which the challenger may fall short.
        challenger: the challenger's mean.
        rival_mean: the rival's.
        error: the standard error of the mean of the users' differences.
    """

    rival: str
    tolerance: float
    challenger: float
    rival_mean: float
    error: float

    @property
    def passed(self) -> bool:
        """Whether the challenger passes."""
        return self.challenger >= self.rival_mean - self.tolerance * self.error  # False for NaN

    @property
    def demand(self) -> str:
        """What the rule asks for."""
        return f"not worse than {self.rival}{', but for chance' if self.tolerance else ''}"

    @property
    def sentence(self) -> str:
        """The rule and how it came out, with its numbers."""
        verb = "is not worse than" if self.passed else "is worse than"
        difference = f"difference {self.challenger - self.rival_mean:+.4f} ± {self.error:.4f}"
        return f"NDCG@10 {self.challenger:.4f} {verb} {self.rival_mean:.4f} of {self.rival} ({difference})."


@dataclass(frozen=True)
class Verdict:
    """The decision and the rules that it follows from."""

    promote: bool
    rules: tuple[Rule, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """A sentence a rule."""
        return tuple(rule.sentence for rule in self.rules)


def decide(challenger: Doubles, baselines: Mapping[str, Doubles], champion: Doubles | None) -> Verdict:
    """Promote if the challenger is not worse than the best baseline, and its mean is not below the champion's.

    Against a baseline a tie is enough: where most users have one or two reviews, popularity is as good as anything.
    What is a tie is measured, not set: the users' figures are compared pair by pair, as in a paired test, and the
    challenger may fall short by one standard error of the mean difference. Against the champion nothing is granted.

    Args:
        challenger: NDCG@10 of each user, float64 [B].
        baselines: the same users' figures, by the baseline's name; at least one.
        champion: the same users' figures; None for a first model.
    """
    best = max(baselines, key=lambda name: baselines[name].mean())
    rules = [_compare(f"the best baseline, {best}", TOLERANCE, challenger, baselines[best])]
    if champion is not None:
        rules.append(_compare("the champion", 0.0, challenger, champion))
    return Verdict(all(rule.passed for rule in rules), tuple(rules))


def _compare(rival: str, tolerance: float, challenger: Doubles, figures: Doubles) -> Rule:
    return Rule(rival, tolerance, float(challenger.mean()), float(figures.mean()), standard_error(challenger - figures))


def standard_error(figures: Doubles) -> float:
    """The standard error of the mean of float64 [B]; 0 for a single figure, which says nothing of its error."""
    return float(figures.std(ddof=1) / np.sqrt(len(figures))) if len(figures) > 1 else 0.0
