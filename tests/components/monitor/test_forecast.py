from datetime import date, timedelta

import pytest

from components.monitor.forecast import (
    HORIZON,
    TREND_MEASUREMENTS,
    Forecast,
    MeasuredRun,
    days_until_failure,
    forecast,
)
from steam_recsys.rules import Rule

TODAY = date(2024, 3, 10)


def runs(*values: float | None, model: str = "m1", name: str = "psi_games", last: int = 0) -> list[MeasuredRun]:
    """One run a day with a figure, the last one `last` days before today."""
    first = TODAY - timedelta(days=last + len(values) - 1)
    return [MeasuredRun(first + timedelta(days=day), model, {name: value}) for day, value in enumerate(values)]


def rule(figure: float | None, name: str = "psi_games", **bounds: float | bool) -> Rule:
    return Rule(about=name, figure=figure, name=name, **{"at_most": 0.25, **bounds})


def only(rule: Rule, measured: list[MeasuredRun]) -> Forecast:
    (found,) = forecast([rule], measured)
    return found


def test_a_figure_that_rises_fails_on_the_first_day_above_its_limit() -> None:
    found = only(rule(0.2), runs(0.08, 0.12, 0.16, 0.2))
    assert found.day == TODAY + timedelta(days=2)
    assert found.text == "in 2 days, on 2024-03-12 (+0.0400 a day over the last 4 measurements)"


def test_the_trend_goes_on_from_todays_figure_and_ignores_noise_around_the_line() -> None:
    assert only(rule(0.2), runs(0.09, 0.11, 0.17, 0.15, 0.2)).day == TODAY + timedelta(days=2)


@pytest.mark.parametrize(
    ("figure", "bounds", "slope", "days"),
    [
        (0.2, {"at_most": 0.25}, 0.04, 2),
        (5, {"at_most": 7}, 1.0, 3),
        (0.35, {"at_least": 0.0, "at_most": None}, -0.1, 4),
        (0.0, {"at_least": 0.0, "at_most": None}, -1.0, 1),
        (0.2, {"at_most": 0.25}, -0.04, None),
        (0.2, {"at_most": 0.25}, 0.0, None),
        (0.2, {"at_most": 0.25}, 1e-320, None),
        (0.2, {"at_most": 0.25}, float("nan"), None),
        (0.0, {"at_most": HORIZON - 0.5}, 1.0, HORIZON),
        (0.0, {"at_most": float(HORIZON)}, 1.0, None),
        (None, {"at_most": 0.25}, 1.0, None),
    ],
)
def test_days_until_failure(figure: float | None, bounds: dict[str, float], slope: float, days: int | None) -> None:
    assert days_until_failure(rule(figure, **bounds), slope) == days


def test_without_a_trend_the_reason_is_said() -> None:
    measured = runs(0.1, 0.1, 0.1)
    assert only(rule(None), measured).text == "not measured"
    assert only(rule(0.3), measured).text == "now"
    assert only(rule(0.1, enough=False), measured).text.startswith("decides nothing yet")
    assert only(rule(0.1), runs(0.0, 0.1)).text == "too few measurements: 2 of at least 3 days"
    assert only(rule(0.1), measured).text == "not within a year (+0.0000 a day over the last 3 measurements)"


def test_only_measurements_of_the_present_model_and_one_a_day_count() -> None:
    older = runs(0.9, 0.9, 0.9, model="m0", last=2)
    assert only(rule(0.1), [*older, *runs(0.0, 0.1)]).text.startswith("too few measurements: 2")
    twice = [*runs(0.0, last=1), *runs(0.3), *runs(0.1)]
    assert only(rule(0.1), twice).text.startswith("too few measurements: 2")


def test_only_the_last_measurements_count() -> None:
    assert only(rule(0.1), runs(*[9.0] * 20, *[0.1] * TREND_MEASUREMENTS)).text.startswith(
        "not within a year (+0.0000 a day"
    )


def test_the_models_age_needs_no_measurements() -> None:
    found = only(rule(5, "model_age_days", at_most=7), runs(5, name="model_age_days"))
    assert found.text == "in 3 days, on 2024-03-13 (it grows by one a day)"


def test_what_fails_next_comes_first() -> None:
    rules = [rule(None), rule(0.2), rule(7, "model_age_days", at_most=7), rule(0.26)]
    assert [each.rule for each in forecast(rules, runs(0.08, 0.12, 0.16, 0.2))] == [rules[n] for n in (3, 2, 1, 0)]


def test_a_trend_is_the_slope_of_the_least_squares_line() -> None:
    gap = [*runs(0.0, 0.1, last=2), *runs(0.3)]
    assert "(+0.1000 a day over the last 3 measurements)" in only(rule(0.1), gap).text
    assert "(+0.0500 a day over the last 3 measurements)" in only(rule(0.1), runs(0.1, 0.5, 0.2)).text
