"""The rule engine of the gate, of acceptance and of monitoring: a figure, its bounds, and the verdict on all rules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

PASSED, FAILED, NOT_ENOUGH = "passed", "failed", "not enough evidence"
"""The outcomes of a rule."""

NOT_MEASURED = "not measured"

MARKS = {PASSED: "✓ passed", FAILED: "✗ failed", NOT_ENOUGH: "– not enough evidence"}
"""The outcomes as tables show them."""


def format_number(number: float) -> str:
    """Format an int with thousands separators, and a float with four decimals too."""
    return f"{number:,}" if isinstance(number, int) else f"{number:,.4f}"


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A figure and the bounds that it must keep to.

    Attributes:
        about: Name of the figure.
        figure: The figure; a count is an int, anything else a float. None was not measured, and decides nothing.
        at_least: Lowest figure that passes; None for no lower bound.
        at_most: Highest figure that passes; None for no upper bound.
        above: Number that the figure must exceed; None for no such bound.
        reason: Where the bounds or the figure come from, with the numbers.
        enough: Whether there is enough evidence to decide.
        name: Name of the figure in recorded measurements; empty if it is not recorded.

    Example:
        >>> print(Rule(about="Games per user", figure=42.0, at_least=45.0, reason="0.9 × 50 of v1"))
        Games per user: 42.0000, must be at least 45.0000 (0.9 × 50 of v1): failed.
    """

    about: str
    figure: float | None
    at_least: float | None = None
    at_most: float | None = None
    above: float | None = None
    reason: str = ""
    enough: bool = True
    name: str = ""

    @property
    def outcome(self) -> str:
        """`PASSED`, `FAILED` or `NOT_ENOUGH`; NaN as a figure or as a bound fails."""
        if self.figure is None or not self.enough:
            return NOT_ENOUGH
        kept = (
            self.at_least is None or self.figure >= self.at_least,
            self.at_most is None or self.figure <= self.at_most,
            self.above is None or self.figure > self.above,
        )
        return PASSED if all(kept) and not math.isnan(self.figure) else FAILED

    @property
    def value(self) -> str:
        """The figure as text."""
        return NOT_MEASURED if self.figure is None else format_number(self.figure)

    @property
    def bounds(self) -> str:
        """The bounds as text; those of a count are rounded to the counts that pass."""
        low, high = self.at_least, self.at_most
        if isinstance(self.figure, int):
            low, high = _rounded(low, math.ceil), _rounded(high, math.floor)
        if low is not None and low == high:
            return f"exactly {format_number(low)}"
        named = (("at least", low), ("more than", self.above), ("at most", high))
        return " and ".join(f"{name} {format_number(bound)}" for name, bound in named if bound is not None)

    def __str__(self) -> str:
        bounds = f", must be {self.bounds}" if self.outcome != NOT_ENOUGH else ""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.about}: {self.value}{bounds}{reason}: {self.outcome}."


@dataclass(frozen=True)
class Verdict:
    """All rules that a decision follows from."""

    rules: tuple[Rule, ...]

    @property
    def passed(self) -> bool:
        """Whether no rule failed; a rule without enough evidence decides nothing."""
        return not self.failures

    @property
    def failures(self) -> tuple[Rule, ...]:
        """The rules that failed."""
        return tuple(rule for rule in self.rules if rule.outcome == FAILED)

    @property
    def sentences(self) -> tuple[str, ...]:
        """One sentence per rule."""
        return tuple(map(str, self.rules))


def _rounded(bound: float | None, rounding: Callable[[float], int]) -> float | None:
    return bound if bound is None or not math.isfinite(bound) else rounding(bound)
