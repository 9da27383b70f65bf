"""The forecast: which rule is the next reason to train again, and when, if every figure goes on as it did recently."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from statistics import linear_regression

from steam_recsys.rules import FAILED, NOT_ENOUGH, Rule

Figures = Mapping[str, float | None]

TREND_MEASUREMENTS = 10
"""Number of measurements that a trend follows from."""

MIN_MEASUREMENTS = 3
"""Number of measured days below which there is no trend."""

HORIZON = 365
"""Days that are looked ahead."""

NOT_FORESEEN = "not within a year"

KNOWN_SLOPES = {"model_age_days": 1.0}
"""Change per day of figures that need no measurements to know it."""


@dataclass(frozen=True)
class MeasuredRun:
    """What a run measured: the day, the champion, None if there was none, and the figures by name."""

    as_of: date
    model_version: str | None
    figures: Figures


@dataclass(frozen=True)
class Forecast:
    """When a rule will fail.

    Attributes:
        rule: The rule.
        day: First day on which it fails; None if that is unknown or beyond the horizon.
        text: Sentence for the report.
    """

    rule: Rule
    day: date | None
    text: str


def forecast(rules: Sequence[Rule], runs: Sequence[MeasuredRun]) -> tuple[Forecast, ...]:
    """Return when each rule will fail, those that fail next first.

    The trend of a figure is the least-squares line through its last measurements under the present model. It goes on
    from today's figure.

    Args:
        rules: The rules, with today's figures.
        runs: All measurements, the oldest first, today's last.
    """
    found = [_forecast(rule, runs) for rule in rules]
    return tuple(sorted(found, key=lambda each: (each.day is None, each.day or date.max)))


def _forecast(rule: Rule, runs: Sequence[MeasuredRun]) -> Forecast:
    today = runs[-1]
    if rule.figure is None:
        return Forecast(rule, None, rule.value)
    if rule.outcome == FAILED:
        return Forecast(rule, today.as_of, "now")
    if rule.outcome == NOT_ENOUGH:
        return Forecast(rule, None, f"decides nothing yet: {rule.reason}")
    # Several runs of one day count once, the last of them.
    measured = {
        run.as_of: value
        for run in runs
        if run.model_version == today.model_version and (value := run.figures.get(rule.name)) is not None
    }
    slope = KNOWN_SLOPES.get(rule.name)
    basis = "it grows by one a day" if slope else ""
    if slope is None:
        last = sorted(measured.items())[-TREND_MEASUREMENTS:]
        if len(last) < MIN_MEASUREMENTS:
            return Forecast(rule, None, f"too few measurements: {len(last)} of at least {MIN_MEASUREMENTS} days")
        slope = linear_regression([day.toordinal() for day, _ in last], [value for _, value in last]).slope
        basis = f"{slope:+.4f} a day over the last {len(last)} measurements"
    days = days_until_failure(rule, slope)
    if days is None:
        return Forecast(rule, None, f"{NOT_FORESEEN} ({basis})")
    day = today.as_of + timedelta(days=days)
    return Forecast(rule, day, f"in {days} day{'' if days == 1 else 's'}, on {day.isoformat()} ({basis})")


def days_until_failure(rule: Rule, slope: float) -> int | None:
    """Return the number of days until a figure that changes by `slope` a day fails; None if not within the horizon."""
    bound = rule.at_most if slope > 0 else rule.at_least
    if rule.figure is None or bound is None or not slope or not math.isfinite(slope):
        return None
    days = (bound - rule.figure) / slope
    return math.floor(days) + 1 if days < HORIZON else None
