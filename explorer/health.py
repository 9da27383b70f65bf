"""Probes for an orchestrator, and metrics for Prometheus."""

from __future__ import annotations

import logging
import os
import struct
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import PlainTextResponse, Response
from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from explorer.dependencies import LiveModelDep, RepositoryDep
from explorer.errors import NOTHING_PUBLISHED
from explorer.repository import Repository

LOG = logging.getLogger("explorer")

READY_SECONDS = 1.0
"""How long the explorer counts as ready before it checks again: probes have no rate limit, and a check is a query."""

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the buckets of durations, in seconds."""

GAUGES = {
    "database_up": "Whether the shop's database answers.",
    "figures_missing": "Whether figures could not be read although the database answers.",
    "publication_info": "The current publication, its model and its snapshot.",
    "publication_users": "Users with their own recommendations in the current publication.",
    "publication_rows": "Recommended games in the current publication, over all users.",
    "publication_overlap": "Mean Jaccard index of the first ten games of two of its users.",
    "publication_coverage": "Share of the shop's games that are among the first ten of a user of it.",
    "publication_popular_ten": "Share of its users whose first ten games are the most popular ones.",
    "publication_data_age_days": "Days since the newest review of the current publication's data.",
    "publication_published_age_seconds": "Time since the current publication first became current.",
    "publication_made_current_age_seconds": "Time since it last became current, by a rollback too.",
    "run_age_seconds": "Time since the last finished run of a pipeline in a state.",
    "run_duration_seconds": "Duration of that run.",
    "stage_seconds": "Duration of its stages, summed over their tasks.",
    "stage_peak_memory_megabytes": "Highest memory use of a task of the stage.",
    "rows": "Rows of the shop's tables.",
    "monitoring": "The last measured figures of quality and drift.",
    "monitoring_age_seconds": "Time since they were measured.",
    "retrain": "Whether they required a new model.",
    "live_model_info": "The publication and the model that answer posted histories.",
}

STAGE_FIGURES: Sequence[tuple[str, str, Callable[[list[float]], float]]] = (
    ("stage_seconds", "seconds", sum),
    ("stage_peak_memory_megabytes", "peak_memory_mb", max),
)
"""Gauges of stages, the field of a record that each reads, and how those of a stage's tasks are combined."""

disable_created_metrics()  # type: ignore[no-untyped-call]

router = APIRouter(include_in_schema=False)


class RequestMetrics:
    """Requests by route and status, and their durations.

    With PROMETHEUS_MULTIPROC_DIR each worker writes to its own files in that folder, and any worker reports the sum.
    The files of a worker that ended remain, so that no sum decreases, until the explorer stops.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "steam_recsys_http_requests_total",
            "Requests by route and first digit of the status.",
            ["route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "steam_recsys_http_request_duration_seconds",
            "Durations of requests by route.",
            ["route"],
            registry=self._registry,
            buckets=BUCKETS,
        )

    def count(self, route: str | None, status: int, seconds: float) -> None:
        """Count a request; its route is None if no route matched, its status 0 if the client hung up."""
        route = route or "other"
        self._requests.labels(route, f"{status // 100}xx").inc()
        self._seconds.labels(route).observe(seconds)

    def registry(self) -> CollectorRegistry:
        """Return a registry that reports the sums over all workers."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry


class Gauges(Collector):
    """Gauges that are read for one response; see `GAUGES`."""

    def __init__(self) -> None:
        self._families: dict[str, GaugeMetricFamily] = {}

    def add(self, name: str, value: float, **labels: str) -> None:
        """Add a sample."""
        if name not in self._families:
            self._families[name] = GaugeMetricFamily(f"steam_recsys_{name}", GAUGES[name], labels=list(labels))
        self._families[name].add_metric(list(labels.values()), float(value))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield all gauges; see `Collector`."""
        yield from self._families.values()


class Readiness:
    """When the explorer was last ready."""

    def __init__(self) -> None:
        self._until = -float("inf")

    @property
    def is_recent(self) -> bool:
        """Whether the last check is recent enough."""
        return time.monotonic() < self._until

    def confirm(self) -> None:
        """Note a successful check."""
        self._until = time.monotonic() + READY_SECONDS


async def get_readiness(request: Request) -> Readiness:
    """Return the application's readiness."""
    readiness: Readiness = request.app.state.readiness
    return readiness


async def get_metrics(request: Request) -> RequestMetrics:
    """Return the application's metrics of requests."""
    metrics: RequestMetrics = request.app.state.metrics
    return metrics


@router.get("/readyz")
async def readyz(
    repository: RepositoryDep,
    live_model: LiveModelDep,
    readiness: Annotated[Readiness, Depends(get_readiness)],
) -> Response:
    """There is a publication and, with a model store, a loaded model."""
    if not readiness.is_recent:
        if await repository.publication() is None:
            raise HTTPException(503, NOTHING_PUBLISHED)
        if live_model.is_loading:
            live_model.check()
        readiness.confirm()
    return PlainTextResponse("ready\n")


@router.get("/metrics")
async def metrics(
    repository: RepositoryDep,
    live_model: LiveModelDep,
    request_metrics: Annotated[RequestMetrics, Depends(get_metrics)],
) -> Response:
    """Metrics in Prometheus' text format; those of requests are complete without the database too."""
    gauges = Gauges()
    reachable = await repository.reachable()
    gauges.add("database_up", reachable)
    for name, add in SOURCES.items() if reachable else ():
        try:
            await add(gauges, repository, datetime.now(UTC))
            gauges.add("figures_missing", 0, of=name)
        except HTTPException:
            gauges.add("figures_missing", 1, of=name)
        except Exception:
            LOG.exception("The figures of the group %s cannot be read.", name)
            gauges.add("figures_missing", 1, of=name)
    if live_model.model is not None:
        gauges.add("live_model_info", 1, version=live_model.model.version, model=live_model.model.model_version)
    try:
        requests = generate_latest(request_metrics.registry())
    except struct.error:  # another worker is just creating its file
        requests = generate_latest(request_metrics.registry())
    content = generate_latest(gauges) + requests
    return Response(content, media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _add_publication(gauges: Gauges, repository: Repository, now: datetime) -> None:
    publication = await repository.publication()
    if publication is None:
        return
    names = {"version": publication.version, "model": publication.model_version, "snapshot": publication.snapshot_id}
    gauges.add("publication_info", 1, **names)
    gauges.add("publication_users", publication.users)
    gauges.add("publication_rows", publication.rows)
    for name in ("overlap", "coverage", "popular_ten"):
        if (figure := getattr(publication, name)) is not None:
            gauges.add(f"publication_{name}", figure)
    newest = publication.as_of - timedelta(days=1)  # popularity counts reviews before `as_of`
    gauges.add("publication_data_age_days", (now.date() - newest).days)
    for name, moment in (("published", publication.published_at), ("made_current", publication.made_current_at)):
        if moment is not None:
            gauges.add(f"publication_{name}_age_seconds", (now - moment).total_seconds())


async def _add_runs(gauges: Gauges, repository: Repository, now: datetime) -> None:
    for run in await repository.last_runs():
        labels = {"pipeline": run.pipeline, "state": run.state}
        if run.finished_at is None:
            continue
        gauges.add("run_age_seconds", (now - run.finished_at).total_seconds(), **labels)
        if run.started_at is not None:
            gauges.add("run_duration_seconds", (run.finished_at - run.started_at).total_seconds(), **labels)
        for name, field, combine in STAGE_FIGURES:
            figures: defaultdict[str, list[float]] = defaultdict(list)
            for record in run.stages:
                if record.get("stage") and record.get(field) is not None:  # records may lack figures
                    figures[str(record["stage"])].append(record[field])
            for stage, values in sorted(figures.items()):
                gauges.add(name, combine(values), stage=stage, **labels)


async def _add_rows(gauges: Gauges, repository: Repository, now: datetime) -> None:
    counts = await repository.counts()
    for table in ("users", "games", "reviews"):
        gauges.add("rows", getattr(counts, table), table=table)


async def _add_monitoring(gauges: Gauges, repository: Repository, now: datetime) -> None:
    for measurement in (await repository.monitoring())[:1]:
        gauges.add("monitoring_age_seconds", (now - measurement.measured_at).total_seconds())
        gauges.add("retrain", measurement.retrain)
        for name, figure in measurement.figures.items():
            if figure is not None:
                gauges.add("monitoring", figure, figure=name)


SOURCES: Mapping[str, Callable[[Gauges, Repository, datetime], Awaitable[None]]] = {
    "publication": _add_publication,
    "runs": _add_runs,
    "rows": _add_rows,
    "monitoring": _add_monitoring,
}
"""Groups of gauges that are read from the database separately, so that one failure does not hide the others."""
