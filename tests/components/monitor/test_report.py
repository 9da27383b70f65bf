from dataclasses import replace
from datetime import date, timedelta

from components.monitor.decision import DEFAULT, FIRST_TRAINING, Decision, decide
from components.monitor.feedback import Feedback
from components.monitor.forecast import MeasuredRun
from components.monitor.quality import Quality
from components.monitor.report import html_report
from steam_recsys.rules import Verdict
from tests.components.monitor.test_decision import FINE
from tests.steam_recsys.reporting.pages import Page

DAY = date(2024, 3, 10)


def measured(days: int, **figures: float | None) -> list[MeasuredRun]:
    """The measurements of some days, the last one as given."""
    return [
        MeasuredRun(DAY - timedelta(days=day), "m1", {"psi_games": 0.05, **figures}) for day in range(days)
    ][::-1]  # fmt: skip


def page(inputs: object, days: int = 1) -> str:
    return " ".join(
        text for text in Page(html_report(decide(inputs, DEFAULT), measured(days), Feedback())).texts if text.strip()
    )


def test_the_decision_comes_first_then_what_will_fail_next() -> None:
    text = page(FINE)
    assert text.index("The model stays.") < text.index("the next limit is reached in 5 days, on 2024-03-15")
    assert "Days of reviews that the model lacks in 5 days" in text
    assert "No rule failed." in text


def test_rules_that_failed_are_shown_open_and_all_rules_folded() -> None:
    html = html_report(decide(replace(FINE, age_days=9), DEFAULT), measured(1), Feedback())
    before, folded = html.split("<details>")
    sentence = "Days of reviews that the model lacks: 9, must be at most 7: failed."
    assert before.count(sentence) == 2  # with the decision, and with the limits
    assert "9 rules, 1 failed" in folded
    assert "The model is trained again." in before


def test_what_was_not_measured_is_said_and_never_shown_as_zero() -> None:
    text = page(replace(FINE, quality=Quality(0)))
    assert "NDCG@10 minus 0.9 times that of recent popularity, upper end of the 95 % interval not measured" in text
    assert "realised NDCG@10 not measured not measured" in text


def test_if_too_little_has_been_measured_the_next_limit_is_not_known() -> None:
    known = decide(replace(FINE, age_days=-999, published=None, quality=Quality(0)), DEFAULT)
    assert "Which limit is reached next is not known yet" in html_report(known, measured(1), Feedback())


def test_if_no_limit_is_in_sight_the_page_says_so() -> None:
    rules = tuple(replace(rule, figure=-999) for rule in decide(FINE, DEFAULT).rules if rule.name == "model_age_days")
    html = html_report(Decision(Verdict(rules)), measured(1), Feedback())
    assert "At today&#39;s trend, no further limit is reached within a year." in html
    failed = (*rules, replace(rules[0], name="games", figure=8))
    assert "no further limit is reached within a year." in html_report(
        Decision(Verdict(failed)), measured(1), Feedback()
    )


def test_a_shop_without_a_champion_has_a_page_too() -> None:
    html = html_report(FIRST_TRAINING, [MeasuredRun(DAY, None, {"reviews": 3.0})], Feedback())
    assert "Monitoring of a shop without a model" in html
    assert "There is no champion yet." in html
    assert "<h2>Limits</h2>" not in html
    assert "Next reason to train again" not in html


def test_charts_have_days_and_a_dot_per_measurement() -> None:
    html = html_report(decide(FINE, DEFAULT), measured(4, ndcg=0.2), Feedback())
    assert "games, 2024-03-10: 0.0500" in html
    assert "2024-03-07" in html
