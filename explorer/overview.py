"""The overview: what is published, how good it is, how the data drift, and how the pipelines ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request
from fastapi.responses import Response
from markupsafe import Markup

from explorer.evaluated import evaluated, trained_until
from explorer.operate import can_roll_back
from explorer.rendering import day, render
from explorer.views import Monitored, Run
from steam_recsys.reporting.charts import Axis, Series, line_chart

QUALITY = {"recommendations": "ndcg", "recent popularity": "popular_ndcg"}
DRIFT = {"games": "psi_games", "genres": "psi_genres", "history lengths": "psi_history_lengths"}
"""The lines of a chart, and the figures that they show."""

ROWS = 10
"""Measurements that a table shows, the last ones; charts show all."""

TICKS = (0.1, 0.5, 0.9)
"""Where along a chart its times are written."""

router = APIRouter(include_in_schema=False)


@router.get("/overview")
async def overview(request: Request) -> Response:
    """The state of the whole."""
    seen = await request.app.state.shop.overview()
    compared = [each for each in seen.monitoring if each.drift_is_known]
    return render(
        request,
        "overview.html",
        overview=seen,
        model=evaluated(seen.training) if seen.training else None,
        trained_until=trained_until(seen.current.model_version, seen.monitoring) if seen.current else None,
        judged=[each for each in seen.monitoring if each.figures.get("ndcg") is not None],
        quality=chart("NDCG@10 as realised", QUALITY, seen.monitoring),
        compared=compared,
        drift=chart("Population stability index", DRIFT, compared),
        evaluated={run.run_id: evaluated(run) for run in seen.runs},
        seconds={run.run_id: _seconds(run) for run in seen.runs},
        rows=ROWS,
        can_roll_back=can_roll_back(request.app.state.settings),
    )


def chart(title: str, lines: Mapping[str, str], monitoring: Sequence[Monitored]) -> Markup | None:
    """Figures over time with their intervals, as SVG whose texts are escaped; None where none was measured twice."""
    if not monitoring:
        return None
    series = [_series(label, name, monitoring) for label, name in lines.items()]
    if all(len(one.points) < 2 for one in series):
        return None
    return Markup(line_chart(title, _times(monitoring), Axis(title), series))


def _series(label: str, name: str, monitoring: Sequence[Monitored]) -> Series:
    first = monitoring[-1].measured_at
    measured = [(each, value) for each in reversed(monitoring) if (value := each.figures.get(name)) is not None]
    return Series(
        label,
        [((each.measured_at - first).total_seconds(), value) for each, value in measured],
        [f"{label}, {day(each.measured_at)}: {value:.4f}" for each, value in measured],
        [(_bound(each, f"{name}_lower", value), _bound(each, f"{name}_upper", value)) for each, value in measured],
    )


def _bound(measured: Monitored, name: str, value: float) -> float:
    bound = measured.figures.get(name)
    return value if bound is None else bound


def _times(monitoring: Sequence[Monitored]) -> Axis:
    """The axis of time, with days on it, where all is of a few days with times."""
    last, first = monitoring[0].measured_at, monitoring[-1].measured_at
    in_words = day if last - first > timedelta(days=4) else _day_and_time
    after = [share * (last - first) for share in TICKS]
    return Axis(
        "measured at, UTC", [(each.total_seconds(), in_words((first + each).astimezone(UTC))) for each in after]
    )


def _day_and_time(value: datetime) -> str:
    return f"{value.day} {value:%b, %H:%M}"


def _seconds(run: Run) -> float | None:
    """How long a run took; None where that is not known."""
    if run.started_at is None or run.finished_at is None:
        return None
    return (run.finished_at - run.started_at).total_seconds()
