"""Whether it is alive, whether it can answer, and figures for Prometheus."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from explorer.exposition import Exposition
from explorer.problems import Problem
from explorer.shop import Shop
from explorer.views import Run

READY_SECONDS = 1.0
"""How long it counts as ready without another look: nobody's rate is limited here, and a look costs a query."""

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def healthz() -> Response:
    """The process answers; what it depends on may be down."""
    return PlainTextResponse("ok\n")


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """There is a publication to show, and its model, or an earlier one, where there is a store."""
    state = request.app.state
    if time.monotonic() >= state.ready_until:
        if await state.shop.publication() is None:
            raise Problem(503, "Nothing has been published yet: run the inference pipeline first.")
        if state.settings.store is not None and state.live.model is None:
            raise Problem(503, "The model of the current publication is still being read: wait a moment.")
        state.ready_until = time.monotonic() + READY_SECONDS
    return PlainTextResponse("ready\n")


@router.get("/metrics")
async def metrics(request: Request) -> Response:
    """Figures in Prometheus' text format; those of requests are there without the database too."""
    state = request.app.state
    text = Exposition("steam_recsys")
    reachable = await state.shop.reachable()
    text.add("database_up", reachable)
    for name, add in FIGURES.items() if reachable else ():
        try:
            await add(text, state.shop, datetime.now(UTC))
            text.add("figures_missing", 0, of=name)
        except Problem:
            text.add("figures_missing", 1, of=name)
    if state.live.model is not None:
        text.add("live_model_info", 1, version=state.live.model.version, model=state.live.model.model_version)
    for route, statuses, buckets, seconds in state.counters.sums():
        for digit, requests in enumerate(statuses):
            if requests:
                text.add("http_requests_total", requests, route=route, status=f"{digit}xx")
        text.histogram("http_request_duration_seconds", buckets, seconds, route=route)
    return Response(text.content(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def _publication(text: Exposition, shop: Shop, now: datetime) -> None:
    publication = await shop.publication()
    if publication is None:
        return
    names = {"version": publication.version, "model": publication.model_version, "snapshot": publication.snapshot_id}
    text.add("publication_info", 1, **names)
    text.add("publication_users", publication.users)
    text.add("publication_rows", publication.rows)
    newest = publication.as_of - timedelta(days=1)  # the last day that it counts popularity up to
    text.add("publication_data_age_days", (now.date() - newest).days)
    for name, moment in (("published", publication.published_at), ("made_current", publication.made_current_at)):
        if moment is not None:
            text.add(f"publication_{name}_age_seconds", (now - moment).total_seconds())


async def _runs(text: Exposition, shop: Shop, now: datetime) -> None:
    for run in await shop.last_runs():
        _run(text, run, now)


def _run(text: Exposition, run: Run, now: datetime) -> None:
    labels = {"pipeline": run.pipeline, "state": run.state}
    if run.finished_at is None:
        return
    text.add("run_age_seconds", (now - run.finished_at).total_seconds(), **labels)
    if run.started_at is not None:
        text.add("run_duration_seconds", (run.finished_at - run.started_at).total_seconds(), **labels)
    for stage in sorted({str(record["stage"]) for record in run.stages}):
        records = [record for record in run.stages if record["stage"] == stage]
        text.add("stage_seconds", sum(record["seconds"] for record in records), stage=stage, **labels)
        peak = max(record["peak_memory_mb"] for record in records)
        text.add("stage_peak_memory_megabytes", peak, stage=stage, **labels)


async def _rows(text: Exposition, shop: Shop, now: datetime) -> None:
    counts = await shop.counts()
    for table in ("users", "games", "reviews"):
        text.add("rows", getattr(counts, table), table=table)


async def _monitoring(text: Exposition, shop: Shop, now: datetime) -> None:
    for measured in (await shop.monitoring())[:1]:
        text.add("monitoring_age_seconds", (now - measured.measured_at).total_seconds())
        text.add("retrain", measured.retrain)
        for name, figure in measured.figures.items():
            if figure is not None:
                text.add("monitoring", figure, figure=name)


FIGURES: Mapping[str, Callable[[Exposition, Shop, datetime], Awaitable[None]]] = {
    "publication": _publication,
    "runs": _runs,
    "rows": _rows,
    "monitoring": _monitoring,
}
"""What is read of the database, each by itself: one that cannot be read takes no other with it."""
