"""The operator's view: the state in one sentence, trends, publications, model, quality, drift, runs; and rolling back.

A model's quality is read from the facts that the evaluate stage of its run recorded. A rollback needs the operator's
token. It comes with each request, in a header or a form field and never in a cookie, so another site's page cannot
send it. In addition, requests that a browser marks as coming from another site are refused.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from markupsafe import Markup

from explorer.api import json_response
from explorer.dependencies import RepositoryDep, SettingsDep
from explorer.errors import error_responses
from explorer.filters import RollbackTarget
from explorer.middleware import RateLimiter, client_of
from explorer.schemas import CurrentVersion, Measurement, PipelineRun
from explorer.settings import Settings
from explorer.status import RankingResult, TrainingResult, describe_status
from explorer.templating import day, render
from explorer.trends import published_versions, trends
from steam_recsys.errors import UserError
from steam_recsys.evaluation.intervals import Interval
from steam_recsys.reporting.charts import Axis, Series, line_chart

LOG = logging.getLogger("explorer")

EVALUATE_STAGE = "evaluate"
NDCG, RECALL = "ndcg_at_10", "recall_at_20"
OWN_NAME = "the model"
"""What the overview calls the model whose results it shows."""

RANKING_LABELS = {"champion": "the champion of that time"}
"""Labels of rankings that differ from their names."""

SHELF_TITLES = {
    "relevance": "For you", "interests": "Your taste", "like": "Because you liked …", "new_releases": "New for you",
    "discovery": "Hidden gems", "sellers": "Top sellers", "genre": "Popular in a genre", "popular": "Popular now",
    "": "Unknown",
}  # fmt: skip
"""What shops call the lists of `recsys.recommended_games` and `recsys.shelves`; other places have their own names."""

QUALITY_LINES = {"recommendations": "ndcg", "recent popularity": "popular_ndcg"}
DRIFT_LINES = {"games": "psi_games", "genres": "psi_genres", "history lengths": "psi_history_lengths"}
"""The lines of each chart by label, and their figures."""

TABLE_ROWS = 10
"""Most measurements in a table, the last ones; charts show all."""

TIME_TICKS = (0.1, 0.5, 0.9)
"""Positions of the labels along a chart's axis of time."""

router = APIRouter(include_in_schema=False)
rollback_router = APIRouter(tags=["rollback"])


class Operator:
    """Checks that a request comes from the operator."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.rates = RateLimiter(per_second=0.1, burst=5)

    @property
    def is_configured(self) -> bool:
        """Whether rolling back is possible."""
        return self._settings.operator_token is not None

    def authorise(self, request: Request, token: str) -> None:
        """Raise `HTTPException` unless the request has the token and comes from this site."""
        expected = self._settings.operator_token
        if expected is None:
            raise HTTPException(
                404,
                "Rolling back is not configured: see EXPLORER_OPERATOR_TOKEN and EXPLORER_OPERATOR_DATABASE_URL in "
                "docs/explorer.md.",
            )
        origin = request.headers.get("origin")
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or (
            origin is not None and origin.partition("://")[2] != request.headers.get("host")
        ):
            raise HTTPException(403, "This request comes from another site: roll back on the explorer's own page.")
        if not self.rates.allows(client_of(request.scope), time.monotonic()):
            raise HTTPException(429, "Too many tokens were tried. Try again in ten seconds.", {"Retry-After": "10"})
        if not hmac.compare_digest(token.encode(), expected.get_secret_value().encode()):
            LOG.warning("A rollback was requested with a wrong token.")
            raise HTTPException(403, "This is not the operator's token: use the value of EXPLORER_OPERATOR_TOKEN.")


async def get_operator(request: Request) -> Operator:
    """Return the application's check of the operator."""
    operator: Operator = request.app.state.operator
    return operator


OperatorDep = Annotated[Operator, Depends(get_operator)]
BearerDep = Annotated[
    HTTPAuthorizationCredentials | None, Depends(HTTPBearer(scheme_name="operator", auto_error=False))
]


@router.get("/overview")
async def overview(request: Request, repository: RepositoryDep, operator: OperatorDep) -> Response:
    """Show the state of publications, model and pipelines."""
    seen = await repository.overview()
    compared = [measurement for measurement in seen.monitoring if measurement.figures.get("psi_games") is not None]
    model = training_result(seen.training) if seen.training else None
    newest = seen.publications[0].version if seen.publications else None
    return render(
        request,
        "overview.html",
        overview=seen,
        state=describe_status(seen.current, newest, seen.last_runs, model, seen.monitoring, datetime.now(UTC)),
        trends=trends(published_versions(seen.publications, seen.published), seen.monitoring),
        model=model,
        trained_until=trained_until(seen.current.model_version, seen.monitoring) if seen.current else None,
        judged=[measurement for measurement in seen.monitoring if measurement.figures.get("ndcg") is not None],
        quality=chart("Realised NDCG@10", QUALITY_LINES, seen.monitoring),
        feedback=seen.monitoring[0].feedback if seen.monitoring else {},
        shelf_titles=SHELF_TITLES,
        compared=compared,
        drift=chart("Population stability index", DRIFT_LINES, compared),
        results={run.run_id: training_result(run) for run in seen.runs},
        seconds={run.run_id: _seconds(run) for run in seen.runs},
        rows=TABLE_ROWS,
        can_roll_back=operator.is_configured,
    )


def training_result(run: PipelineRun) -> TrainingResult | None:
    """Return a run's result; None if it evaluated no model, or another version of the project did."""
    records = {record.get("stage"): record for record in run.stages}
    facts = records.get(EVALUATE_STAGE, {}).get("facts") or {}
    try:
        own = RankingResult(OWN_NAME, facts[NDCG], facts[RECALL])
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


def chart(title: str, lines: Mapping[str, str], monitoring: Sequence[Measurement]) -> Markup | None:
    """Draw figures over time with their intervals, as SVG with escaped texts; None if none was measured twice."""
    if not monitoring:
        return None
    series = [_series(label, name, monitoring) for label, name in lines.items()]
    if all(len(one.points) < 2 for one in series):
        return None
    return Markup(line_chart(title, _times(monitoring), Axis(title), series))


async def authorise(request: Request, operator: OperatorDep, credentials: BearerDep) -> None:
    """Raise `HTTPException` unless the request has the operator's token as a bearer token."""
    operator.authorise(request, credentials.credentials if credentials else "")


@rollback_router.post(
    "/api/v1/rollback",
    operation_id="rollBack",
    summary="Roll back to a publication",
    response_model=CurrentVersion,
    response_description="The publication that is current now",
    responses=error_responses(400, 403, 404, 408, 409, 413, 422, 429, 503),
    dependencies=[Depends(authorise)],
)
async def rollback(request: Request, settings: SettingsDep, target: RollbackTarget | None = None) -> Response:
    """Make a kept publication current again: the named one, or the one before the current one.

    To name the current one changes nothing, so a request with a version can be repeated. Each request without a version
    goes back by one more.
    """
    if target is None and await request.body():
        raise HTTPException(422, "The body is null: send an object with a version, or no body.")
    version = await _roll_back(settings, target.version if target else None)
    return json_response(request, CurrentVersion(version))


@rollback_router.post("/rollback", include_in_schema=False)
async def rollback_form(request: Request, settings: SettingsDep, operator: OperatorDep) -> Response:
    """Do the same for a page's form with the fields `token` and `version`, then show the overview."""
    fields = parse_qs((await request.body()).decode("utf-8", "replace"))
    operator.authorise(request, fields.get("token", [""])[0])
    version = fields.get("version", [""])[0]
    if not version:  # a form that is sent twice would go back by two
        raise HTTPException(422, "No version is chosen: choose one on the overview.")
    await _roll_back(settings, version)
    return RedirectResponse("/overview", status_code=303)


async def _roll_back(settings: Settings, version: str | None) -> str:
    """Make a version current, the previous one by default; return it. If it is current already, nothing changes."""
    # Imported here because only a rollback needs what publishes.
    from steam_recsys.database.failures import UnavailableError
    from steam_recsys.publications.destinations import DestinationConfig, rollback

    destinations = DestinationConfig(
        "env:EXPLORER_OPERATOR_DATABASE_URL", settings.publish_to, "env:EXPLORER_MONGODB_URL"
    )
    try:
        current = await asyncio.to_thread(rollback, destinations, version)
    except UserError as error:
        raise HTTPException(503 if isinstance(error, UnavailableError) else 409, str(error)) from None
    LOG.warning("The operator made publication %s current.", current)
    return current


def _baselines(facts: Mapping[str, Any]) -> Iterator[RankingResult]:
    """Yield a result for each name that precedes a metric's name."""
    for key, figure in facts.items():
        name = key.removesuffix(f"_{NDCG}")
        if name != key:
            difference = Interval(*(facts[f"{key}_difference{end}"] for end in ("", "_lower", "_upper")))
            label = RANKING_LABELS.get(name, name.replace("_", " "))
            yield RankingResult(label, figure, facts.get(f"{name}_{RECALL}"), difference)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


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
    after = [share * (last - first) for share in TIME_TICKS]
    return Axis("measured at, UTC", [(each.total_seconds(), label((first + each).astimezone(UTC))) for each in after])


def _day_and_time(value: datetime) -> str:
    return f"{value.day} {value:%b, %H:%M}"


def _seconds(run: PipelineRun) -> float | None:
    """Return a run's duration; None if unknown."""
    if run.started_at is None or run.finished_at is None:
        return None
    return (run.finished_at - run.started_at).total_seconds()
