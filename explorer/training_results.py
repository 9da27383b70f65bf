"""How a run's model compares with the baselines, from the facts that its evaluate stage recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from explorer.schemas import Measurement, PipelineRun

STAGE = "evaluate"
NDCG, RECALL = "ndcg_at_10", "recall_at_20"
OWN = "the model"
LABELS = {"champion": "the champion of that time"}
"""Labels of rankings that differ from their names."""


@dataclass(frozen=True)
class RankingResult:
    """A ranking's figures on held-out reviews, from 0 to 1; None if unknown."""

    name: str
    ndcg: float
    recall: float | None


@dataclass(frozen=True)
class TrainingResult:
    """A model's results on held-out reviews.

    Attributes:
        version: The model's version.
        trained_at: The start of its training, None if unknown.
        cutoff: The first day whose reviews were held out.
        users: The number of users who wrote them.
        passed: Whether the model passed the gate.
        failures: A sentence for each rule of the gate that it failed.
        own: The model's figures.
        baselines: Figures of the champion of that time and of the baselines, the best first.
    """

    version: str
    trained_at: datetime | None
    cutoff: date
    users: int
    passed: bool
    failures: list[str]
    own: RankingResult
    baselines: list[RankingResult]


def training_result(run: PipelineRun) -> TrainingResult | None:
    """Return a run's result; None if it evaluated no model, or another version of the project did."""
    records = {record.get("stage"): record for record in run.stages}
    facts = records.get(STAGE, {}).get("facts") or {}
    try:
        own = RankingResult(OWN, facts[NDCG], facts[RECALL])
        return TrainingResult(
            version=facts["version"],
            trained_at=_moment(records.get("train", {}).get("started_at")) or run.started_at,
            cutoff=date.fromisoformat(facts["cutoff"]),
            users=facts["users"],
            passed=facts["promote"],
            failures=facts["failures"],
            own=own,
            baselines=sorted(_baselines(facts), key=lambda ranking: -ranking.ndcg),
        )
    except (KeyError, TypeError, ValueError):
        return None


def trained_until(version: str, monitoring: Sequence[Measurement]) -> date | None:
    """Return the last day whose reviews a model was trained on, as last measured; None if it never was.

    It is later than the evaluation's cutoff: a model that passes the gate is trained again on all reviews.
    """
    for measurement in monitoring:
        age = measurement.figures.get("model_age_days")
        if measurement.model_version == version and age is not None:
            return measurement.as_of - timedelta(days=1 + age)
    return None


def _baselines(facts: Mapping[str, Any]) -> Iterator[RankingResult]:
    """Yield a result for each name that precedes a metric's name."""
    for key, figure in facts.items():
        name = key.removesuffix(f"_{NDCG}")
        if name != key:
            yield RankingResult(LABELS.get(name, name.replace("_", " ")), figure, facts.get(f"{name}_{RECALL}"))


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
