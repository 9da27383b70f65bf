"""Training results from the recorded facts of an evaluation."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from explorer.overview import RankingResult, trained_until, training_result
from explorer.schemas import Measurement, PipelineRun
from tests.explorer.training_runs import facts_of, stages_of

STARTED = datetime(2024, 3, 5, 4, 30, tzinfo=UTC)


def run(stages: list[dict[str, Any]]) -> PipelineRun:
    return PipelineRun("run", "training", "SUCCEEDED", None, STARTED, STARTED, stages)


def monitored(as_of: date, version: str | None, **figures: float | None) -> Measurement:
    return Measurement(STARTED, as_of, "run", version, False, [], figures)


def test_a_result_has_its_baselines_the_best_first() -> None:
    found = training_result(run(stages_of("new", STARTED)))
    assert found is not None
    assert (found.version, found.users, found.cutoff) == ("new", 1676, date(2015, 10, 5))
    assert found.trained_at == STARTED + timedelta(minutes=1)
    assert found.own == RankingResult("the model", 0.2033, 0.3723)
    assert found.baselines == [
        RankingResult("recent popularity", 0.2036, 0.3682),
        RankingResult("the champion of that time", 0.1999, 0.3701),
        RankingResult("popularity", 0.1819, 0.3327),
        RankingResult("item-kNN", 0.0796, 0.1642),
    ]
    assert found.passed
    assert found.failures == []


def test_a_failed_gate_lists_the_failed_rules() -> None:
    found = training_result(run(stages_of("new", STARTED, passed=False)))
    assert found is not None
    assert not found.passed
    assert [reason.partition(" is ")[0] for reason in found.failures] == ["NDCG@10 of all users"]


@pytest.mark.parametrize("missing", ["version", "cutoff", "promote", "failures", "users", "ndcg_at_10"])
def test_facts_of_another_version_give_no_result(missing: str) -> None:
    facts = {name: fact for name, fact in facts_of("new").items() if name != missing}
    assert training_result(run([{"stage": "evaluate", "facts": facts}])) is None
    assert training_result(run([{"stage": "evaluate", "facts": {**facts_of("new"), "cutoff": "lately"}}])) is None


def test_runs_without_an_evaluation_give_no_result() -> None:
    for stages in ([], [{"stage": "train"}], [{"stage": "evaluate", "facts": {}, "error": "no memory"}]):
        assert training_result(run(stages)) is None


def test_trained_until_is_the_day_of_a_measurement_minus_the_models_age() -> None:
    monitoring = [
        monitored(date(2016, 1, 9), "newer", model_age_days=0),
        monitored(date(2016, 1, 4), "model", model_age_days=None),
        monitored(date(2016, 1, 3), "model", model_age_days=2),
    ]
    assert trained_until("model", monitoring) == date(2015, 12, 31)
    assert trained_until("newer", monitoring) == date(2016, 1, 8)
    assert trained_until("unknown", monitoring) is None
