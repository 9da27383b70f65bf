"""The overview: publications, the model's quality, drift of the data, and runs of the pipelines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from markupsafe import Markup

from explorer.api import OperatorDep
from explorer.dependencies import RepositoryDep
from explorer.schemas import Measurement, PipelineRun
from explorer.templating import day, render
from steam_recsys.reporting.charts import Axis, Series, line_chart

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


QUALITY = {"recommendations": "ndcg", "recent popularity": "popular_ndcg"}
DRIFT = {"games": "psi_games", "genres": "psi_genres", "history lengths": "psi_history_lengths"}
"""The lines of a chart and their figures."""

ROWS = 10
"""Most measurements in a table, the last ones; charts show all."""

TICKS = (0.1, 0.5, 0.9)
"""Positions of the labels along a chart's axis of time."""

router = APIRouter(include_in_schema=False)


@router.get("/overview")
async def overview(request: Request, repository: RepositoryDep, operator: OperatorDep) -> Response:
    """Show the state of publications, model and pipelines."""
    seen = await repository.overview()
    compared = [measurement for measurement in seen.monitoring if measurement.drift_is_known]
    return render(
        request,
        "overview.html",
        overview=seen,
        model=training_result(seen.training) if seen.training else None,
        trained_until=trained_until(seen.current.model_version, seen.monitoring) if seen.current else None,
        judged=[measurement for measurement in seen.monitoring if measurement.figures.get("ndcg") is not None],
        quality=chart("Realised NDCG@10", QUALITY, seen.monitoring),
        compared=compared,
        drift=chart("Population stability index", DRIFT, compared),
        results={run.run_id: training_result(run) for run in seen.runs},
        seconds={run.run_id: _seconds(run) for run in seen.runs},
        rows=ROWS,
        can_roll_back=operator.is_configured,
    )


def chart(title: str, lines: Mapping[str, str], monitoring: Sequence[Measurement]) -> Markup | None:
    """Draw figures over time with their intervals, as SVG with escaped texts; None if none was measured twice."""
    if not monitoring:
        return None
    series = [_series(label, name, monitoring) for label, name in lines.items()]
    if all(len(one.points) < 2 for one in series):
        return None
    return Markup(line_chart(title, _times(monitoring), Axis(title), series))


def _series(label: str, name: str, monitoring: Sequence[Measurement]) -> Series:
    first = monitoring[-1].measured_at
    measured = [(each, value) for each in reversed(monitoring) if (value := each.figures.get(name)) is not None]
    return Series(
        label,
        [((each.measured_at - first).total_seconds(), value) for each, value in measured],
        [f"{label}, {day(each.measured_at)}: {value:.4f}" for each, value in measured],
        [(_bound(each, f"{name}_lower", value), _bound(each, f"{name}_upper", value)) for each, value in measured],
    )


def _bound(measurement: Measurement, name: str, value: float) -> float:
    bound = measurement.figures.get(name)
    return value if bound is None else bound


def _times(monitoring: Sequence[Measurement]) -> Axis:
    """Return the axis of time, labelled with days, or with times if it spans a few days."""
    last, first = monitoring[0].measured_at, monitoring[-1].measured_at
    label = day if last - first > timedelta(days=4) else _day_and_time
    after = [share * (last - first) for share in TICKS]
    return Axis("measured at, UTC", [(each.total_seconds(), label((first + each).astimezone(UTC))) for each in after])


def _day_and_time(value: datetime) -> str:
    return f"{value.day} {value:%b, %H:%M}"


def _seconds(run: PipelineRun) -> float | None:
    """Return a run's duration; None if unknown."""
    if run.started_at is None or run.finished_at is None:
        return None
    return (run.finished_at - run.started_at).total_seconds()
