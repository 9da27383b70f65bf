import doctest
import math

import pytest

from steam_recsys import rules
from steam_recsys.rules import FAILED, NOT_ENOUGH, PASSED, Rule, Verdict


@pytest.mark.parametrize(
    ("bounds", "figure", "outcome"),
    [
        ({"at_least": 1.0}, 1.0, PASSED),
        ({"at_least": 1.0}, 0.999, FAILED),
        ({"at_most": 1.0}, 1.0, PASSED),
        ({"at_most": 1.0}, 1.001, FAILED),
        ({"above": 1.0}, 1.0, FAILED),
        ({"above": 1.0}, 1.001, PASSED),
        ({"at_least": 1.0, "at_most": 2.0}, 2.5, FAILED),
        ({"at_least": 1.0, "at_most": 2.0}, 1.5, PASSED),
    ],
)
def test_a_figure_passes_within_its_bounds(bounds: dict[str, float], figure: float, outcome: str) -> None:
    assert Rule(about="x", figure=figure, **bounds).outcome == outcome


@pytest.mark.parametrize("bounds", [{}, {"at_least": 0.0}, {"at_most": 0.0}, {"above": 0.0}])
def test_nan_fails(bounds: dict[str, float]) -> None:
    assert Rule(about="x", figure=math.nan, **bounds).outcome == FAILED
    for name in bounds:
        assert Rule(about="x", figure=1.0, **{name: math.nan}).outcome == FAILED


def test_without_enough_evidence_nothing_is_decided() -> None:
    rule = Rule(about="x", figure=0.0, at_least=1.0, enough=False, reason="2 of at least 3 users")
    assert rule.outcome == NOT_ENOUGH
    assert Verdict((rule,)).passed
    assert str(rule) == "x: 0.0000 (2 of at least 3 users): not enough evidence."


def test_a_figure_that_was_not_measured_decides_nothing() -> None:
    rule = Rule(about="x", figure=None, at_least=1.0)
    assert rule.outcome == NOT_ENOUGH
    assert (rule.value, rule.bounds) == ("not measured", "at least 1.0000")
    assert str(rule) == "x: not measured: not enough evidence."


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (Rule(about="x", figure=0.5, at_least=0.25), "x: 0.5000, must be at least 0.2500: passed."),
        (Rule(about="x", figure=0.5, above=0.5, reason="y"), "x: 0.5000, must be more than 0.5000 (y): failed."),
        (Rule(about="x", figure=1007, at_least=902.7), "x: 1,007, must be at least 903: passed."),
        (Rule(about="x", figure=3, at_least=2, at_most=2), "x: 3, must be exactly 2: failed."),
        (Rule(about="x", figure=2, at_most=1.9), "x: 2, must be at most 1: failed."),
        (Rule(about="x", figure=1, at_least=1, at_most=math.inf), "x: 1, must be at least 1 and at most inf: passed."),
    ],
)
def test_a_sentence_has_figure_bounds_reason_and_outcome(rule: Rule, sentence: str) -> None:
    assert str(rule) == sentence


def test_a_verdict_lists_the_rules_that_failed() -> None:
    good, bad = Rule(about="good", figure=1, at_least=1), Rule(about="bad", figure=0, at_least=1)
    verdict = Verdict((good, bad))
    assert not verdict.passed
    assert verdict.failures == (bad,)
    assert verdict.sentences == (str(good), str(bad))
    assert Verdict(()).passed


def test_doctests() -> None:
    assert doctest.testmod(rules).failed == 0
