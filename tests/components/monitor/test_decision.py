from dataclasses import replace

import pytest

from components.monitor.decision import EXCEEDED, FIRST, NOT_ENOUGH, Decision, Measured, decide
from components.monitor.drift import Drift
from components.monitor.quality import Quality
from components.monitor.thresholds import DEFAULT
from steam_recsys.evaluation.intervals import Interval

GOOD = Quality(500, *[Interval(0.2, 0.18, 0.22)] * 4, above_floor=Interval(0.02, 0.01, 0.03))
CALM = Drift(5_000, 0.01, 0.01, 0.01, 0.01, 0.3, 0.1, -0.1)
FINE = Measured(GOOD, CALM, age_days=3, catalogue_growth=0.05)


def exceeded(measured: Measured) -> list[str]:
    decision = decide(measured, DEFAULT)
    assert decision.retrain == bool(decision.reasons)
    assert not decision.resting
    assert list(decision.reasons) == [rule.sentence for rule in decision.rules if rule.outcome == EXCEEDED]
    return [rule.about for rule in decision.rules if rule.outcome == EXCEEDED]


def test_a_model_within_all_limits_stays() -> None:
    assert exceeded(FINE) == []


@pytest.mark.parametrize(
    ("measured", "about"),
    [
        (replace(FINE, quality=replace(GOOD, above_floor=Interval(-0.02, -0.03, -0.01))), "NDCG@10 less 0.9 times"),
        (replace(FINE, drift=replace(CALM, psi_games=0.26)), "index of the games"),
        (replace(FINE, drift=replace(CALM, psi_genres=0.26)), "index of the genres"),
        (replace(FINE, drift=replace(CALM, psi_history_lengths=0.26)), "index of the history lengths"),
        (replace(FINE, drift=replace(CALM, unknown_games_share=0.11)), "games unknown to the model"),
        (replace(FINE, age_days=8), "days of reviews that the model lacks"),
        (replace(FINE, catalogue_growth=0.11), "games that have come since the training"),
        (replace(FINE, drift=replace(CALM, psi_games=float("nan"))), "index of the games"),
    ],
)  # fmt: skip
def test_each_limit_alone_asks_for_a_training(measured: Measured, about: str) -> None:
    (found,) = exceeded(measured)
    assert about in found


@pytest.mark.parametrize(
    "measured",
    [
        replace(FINE, quality=replace(GOOD, above_floor=Interval(-0.02, -0.05, 0.001))),
        replace(FINE, drift=replace(CALM, psi_games=0.25, unknown_games_share=0.1)),
        replace(FINE, age_days=7, catalogue_growth=0.1),
    ],
)
def test_what_reaches_a_limit_or_may_be_chance_asks_for_none(measured: Measured) -> None:
    assert exceeded(measured) == []


def test_few_users_and_few_reviews_decide_nothing() -> None:
    bad = Interval(-0.02, -0.03, -0.01)
    few = Measured(Quality(199, bad, bad, bad, bad, bad), Drift(999, 9, 9, 9, 1, 1, 1, 1), 0, 0.0)
    decision = decide(few, DEFAULT)
    assert [rule.outcome for rule in decision.rules[:5]] == [NOT_ENOUGH] * 5
    assert not decision.retrain
    assert not decide(replace(FINE, quality=Quality(0)), DEFAULT).retrain


@pytest.mark.parametrize(("since", "retrain"), [(0, False), (2, False), (3, True), (None, True), (-30, True)])
def test_nothing_is_trained_within_some_days_of_a_training(since: int | None, retrain: bool) -> None:
    decision = decide(replace(FINE, age_days=8, days_since_training=since), DEFAULT)
    assert (decision.retrain, decision.resting) == (retrain, not retrain)
    assert len(decision.reasons) == 1
    assert not decide(replace(FINE, days_since_training=since), DEFAULT).resting


def test_sentences_have_the_numbers() -> None:
    decision = decide(replace(FINE, age_days=8), DEFAULT)
    assert decision.reasons == (
        "The number of days of reviews that the model lacks is 8, at most 7 is asked for: exceeded.",
    )
    assert "(5,000 of at least 1,000 reviews since the training): kept." in decision.rules[1].sentence
    assert (
        decide(replace(FINE, quality=Quality(7)), DEFAULT)
        .rules[0]
        .sentence.endswith("(7 of at least 200 users with new reviews): not enough evidence.")
    )


def test_a_shop_without_a_champion_is_to_train_one() -> None:
    assert FIRST.reasons == ("There is no champion yet.",)
    assert Decision(retrain=False).reasons == ()
