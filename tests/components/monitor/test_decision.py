from dataclasses import replace
from datetime import date, datetime

import pytest

from components.monitor.decision import DEFAULT, FIRST_TRAINING, Decision, MonitoringInputs, decide
from components.monitor.drift import Drift
from components.monitor.quality import Quality
from steam_recsys.evaluation.intervals import Interval
from steam_recsys.publications.versions import KeptVersion
from steam_recsys.rules import FAILED, NOT_ENOUGH, Verdict

GOOD = Quality(500, *[Interval(0.2, 0.18, 0.22)] * 4, above_floor=Interval(0.02, 0.01, 0.03))
CALM = Drift(5_000, 0.01, 0.01, 0.01, 0.01, 0.3, 0.1, -0.1)
PERSONAL = KeptVersion(
    version="v1",
    model_version="m1",
    snapshot_id="s1",
    as_of=date(2024, 1, 1),
    control_share=0.0,
    users=1_000,
    rows=300_000,
    overlap=0.4,
    coverage=0.1,
    popular_ten=0.1,
    published_at=datetime(2024, 1, 1),
    first_switch=1,
    last_switch=1,
    current=True,
)
FINE = MonitoringInputs(quality=GOOD, drift=CALM, age_days=3, catalogue_growth=0.05, published=PERSONAL)


def failed(inputs: MonitoringInputs) -> list[str]:
    decision = decide(inputs, DEFAULT)
    assert decision.retrain == bool(decision.reasons)
    assert not decision.cooling_down
    assert list(decision.reasons) == [str(rule) for rule in decision.rules if rule.outcome == FAILED]
    return [rule.about for rule in decision.rules if rule.outcome == FAILED]


def test_a_model_within_all_limits_stays() -> None:
    assert failed(FINE) == []


@pytest.mark.parametrize(
    ("inputs", "about"),
    [
        (replace(FINE, quality=replace(GOOD, above_floor=Interval(-0.02, -0.03, -0.01))), "NDCG@10 minus 0.9 times"),
        (replace(FINE, drift=replace(CALM, psi_games=0.26)), "index of the games"),
        (replace(FINE, drift=replace(CALM, psi_genres=0.26)), "index of the genres"),
        (replace(FINE, drift=replace(CALM, psi_history_lengths=0.26)), "index of the history lengths"),
        (replace(FINE, drift=replace(CALM, unknown_games_share=0.11)), "games unknown to the model"),
        (replace(FINE, age_days=8), "Days of reviews that the model lacks"),
        (replace(FINE, catalogue_growth=0.11), "games that were added since the training"),
        (replace(FINE, drift=replace(CALM, psi_games=float("nan"))), "index of the games"),
        (replace(FINE, published=replace(PERSONAL, overlap=0.81)), "Overlap of two users' first ten published games"),
        (replace(FINE, published=replace(PERSONAL, coverage=0.0049)), "in any user's published top ten"),
    ],
)  # fmt: skip
def test_each_rule_alone_triggers_a_training(inputs: MonitoringInputs, about: str) -> None:
    (found,) = failed(inputs)
    assert about in found


@pytest.mark.parametrize(
    "inputs",
    [
        replace(FINE, quality=replace(GOOD, above_floor=Interval(-0.02, -0.05, 0.001))),
        replace(FINE, drift=replace(CALM, psi_games=0.25, unknown_games_share=0.1)),
        replace(FINE, age_days=7, catalogue_growth=0.1),
        replace(FINE, published=replace(PERSONAL, overlap=0.8, coverage=0.005)),
    ],
)
def test_a_figure_at_its_limit_or_within_chance_triggers_none(inputs: MonitoringInputs) -> None:
    assert failed(inputs) == []


def test_few_users_and_few_reviews_decide_nothing() -> None:
    bad = Interval(-0.02, -0.03, -0.01)
    few = MonitoringInputs(
        quality=Quality(199, bad, bad, bad, bad, bad),
        drift=Drift(999, 9, 9, 9, 1, 1, 1, 1),
        age_days=0,
        catalogue_growth=0.0,
        published=replace(PERSONAL, users=999, overlap=1.0, coverage=0.0),
    )
    decision = decide(few, DEFAULT)
    assert [rule.outcome for rule in decision.rules].count(NOT_ENOUGH) == 7
    assert not decision.retrain
    assert not decide(replace(FINE, quality=Quality(0)), DEFAULT).retrain
    for published in (None, replace(PERSONAL, overlap=None, coverage=None)):
        assert [rule.outcome for rule in decide(replace(FINE, published=published), DEFAULT).rules[-2:]] == [
            NOT_ENOUGH
        ] * 2


@pytest.mark.parametrize(("since", "retrain"), [(0, False), (2, False), (3, True), (None, True), (-30, True)])
def test_nothing_is_trained_within_a_few_days_of_a_training(since: int | None, retrain: bool) -> None:
    decision = decide(replace(FINE, age_days=8, days_since_training=since), DEFAULT)
    assert (decision.retrain, decision.cooling_down) == (retrain, not retrain)
    assert len(decision.reasons) == 1
    assert not decide(replace(FINE, days_since_training=since), DEFAULT).cooling_down


def test_sentences_include_the_numbers() -> None:
    decision = decide(replace(FINE, age_days=8), DEFAULT)
    assert decision.reasons == ("Days of reviews that the model lacks: 8, must be at most 7: failed.",)
    assert "(5,000 of at least 1,000 reviews since the training): passed." in str(decision.rules[1])
    (undecided, *_) = decide(replace(FINE, quality=Quality(7)), DEFAULT).rules
    assert str(undecided).endswith("(7 of at least 200 users with new reviews): not enough evidence.")


def test_a_shop_without_a_champion_trains_one() -> None:
    assert FIRST_TRAINING.reasons == ("There is no champion yet.",)
    assert FIRST_TRAINING.retrain
    assert Decision(Verdict(())).reasons == ()
