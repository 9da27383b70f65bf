"""The overview's first sentence and its colour."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from explorer.schemas import Measurement, PipelineRun, Publication
from explorer.status import ATTENTION, GOOD, LABELS, PROBLEM, RankingResult, TrainingResult, describe_status
from steam_recsys.evaluation.intervals import Interval

NOW = datetime(2024, 3, 5, 12, tzinfo=UTC)
NIGHT = NOW - timedelta(hours=8)
CURRENT = Publication("v2", "m1", "s", 100, 1000, date(2024, 3, 5), NIGHT, NIGHT, True, 0.4, 0.235, 0.1)
BEST = RankingResult("recent popularity", 0.1, 0.2, Interval(0.02, -0.01, 0.05))
TRAINED = TrainingResult(
    "m1", NIGHT, date(2024, 3, 1), 500, True, [], RankingResult("the model", 0.12, 0.3), [BEST]
)  # fmt: skip


def ended(state: str, hours: float) -> PipelineRun:
    """An inference run that ended some hours ago."""
    return PipelineRun(state, "inference", state, None, None, NOW - timedelta(hours=hours), [])


def measured(model: str = "m1", **figures: float | None) -> Measurement:
    return Measurement(NIGHT, date(2024, 3, 5), "run", model, False, [], figures)


def quality(low: float, high: float, psi: float | None = 0.02) -> Measurement:
    """Realised quality from `low` to `high`, beside that of popularity, 0.1."""
    return measured(
        ndcg=(low + high) / 2, ndcg_lower=low, ndcg_upper=high, popular_ndcg=0.1, popular_ndcg_lower=0.08,
        popular_ndcg_upper=0.12, ndcg_gain=(low + high) / 2 - 0.1, ndcg_gain_lower=low - 0.1,
        ndcg_gain_upper=high - 0.1, psi_games=psi,
    )  # fmt: skip


FINE: dict[str, Any] = {
    "current": CURRENT, "newest": "v2", "runs": [ended("SUCCEEDED", 8)], "training": TRAINED,
    "monitoring": [quality(0.09, 0.15)],
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "colour", "said"),
    [
        ({}, GOOD, "Published 5 Mar 2024, 04:00 UTC, on time; quality is level with recent popularity on newer "
                   "reviews; 23.5 % of the games are in some user's first ten; little drift of the data."),
        ({"current": None}, PROBLEM, "Nothing has been published yet: run the inference pipeline."),
        ({"runs": []}, GOOD, "Published 5 Mar 2024, 04:00 UTC, on time;"),
        ({"current": replace(CURRENT, published_at=NOW - timedelta(days=9))}, GOOD, "25 Feb 2024, 12:00 UTC, on time"),
        ({"runs": [ended("SUCCEEDED", 30)], "current": replace(CURRENT, published_at=NOW - timedelta(hours=30))},
         ATTENTION, "late: no inference run has succeeded for 30 hours"),
        ({"runs": [ended("SUCCEEDED", 53)], "current": replace(CURRENT, published_at=NOW - timedelta(hours=53))},
         PROBLEM, "late: no inference run has succeeded for 53 hours"),
        ({"runs": [ended("SUCCEEDED", 8), ended("FAILED", 1)]}, ATTENTION, "but the last inference run failed"),
        ({"runs": [ended("SUCCEEDED", 8), ended("FAILED", 9)]}, GOOD, "on time;"),
        ({"newest": "v3"}, ATTENTION, "Rolled back on 5 Mar 2024, 04:00 UTC, to the publication of 5 Mar 2024, 04:00"),
        ({"monitoring": [quality(0.13, 0.2)]}, GOOD, "quality is better than that of recent popularity"),
        ({"monitoring": [quality(0.01, 0.07)]}, ATTENTION, "quality is worse than that of recent popularity"),
        ({"monitoring": [measured(ndcg=None), quality(0.13, 0.2)]}, GOOD, "better than that of recent popularity"),
        ({"monitoring": []}, GOOD, "level with recent popularity on held-out reviews"),
        ({"monitoring": [], "training": replace(TRAINED, baselines=[replace(BEST, difference=Interval(-2, -3, -1))])},
         ATTENTION, "quality is worse than that of recent popularity"),
        ({"monitoring": [replace(quality(0.01, 0.07), model_version="older")]}, GOOD,
         "level with recent popularity on held-out reviews"),
        ({"monitoring": [], "training": None}, GOOD, "quality has not been measured yet; 23.5 %"),
        ({"current": replace(CURRENT, coverage=None)}, GOOD, "; coverage is unknown;"),
        ({"monitoring": [quality(0.09, 0.15, 0.2)]}, GOOD, "some drift of the data."),
        ({"monitoring": [quality(0.09, 0.15, 0.3)]}, ATTENTION, "drifted strongly since the model's training"),
        ({"monitoring": [quality(0.09, 0.15, None)]}, GOOD, "no reviews since the model's training"),
        ({"monitoring": [measured("older", psi_games=0.9)]}, GOOD, "drift has not been measured yet"),
    ],
)  # fmt: skip
def test_the_sentence_says_when_how_good_and_what_changed(changed: dict[str, Any], colour: str, said: str) -> None:
    status = describe_status(**{**FINE, **changed}, now=NOW)
    assert (status.colour, said in status.sentence) == (colour, True), status.sentence
    assert status.label == LABELS[colour]


def test_the_figures_are_below_the_sentence() -> None:
    assert describe_status(**FINE, now=NOW).note == (
        "Quality: NDCG@10 0.1200 against 0.1000. Drift: population stability index 0.02, strong above 0.25."
    )


def test_nothing_is_well_before_it_is_measured() -> None:
    unknown = {**FINE, "current": replace(CURRENT, coverage=None), "monitoring": [], "training": None}
    status = describe_status(**unknown, now=NOW)
    assert (status.colour, status.label, status.note) == (ATTENTION, "Not measured yet", "")
    late = describe_status(**{**unknown, "newest": "v3"}, now=NOW)
    assert (late.colour, late.label) == (ATTENTION, "Needs attention")
