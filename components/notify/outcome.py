"""The exit handler's stage: record how a run ended in `recsys.pipeline_runs`, and alert an operator if needed.

A run that succeeds as usual posts nothing. Alerts are failures, the first success after one, and trainings that
monitoring asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from psycopg2.extras import Json

from components.notify.alerts import Alert, post
from steam_recsys.database.connection import connect, create_schema
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.secrets import mask
from steam_recsys.stage import StageRecord, read_journal

JOB = "{job}"
"""Placeholder, in the URL of a run's page, for the name that the page has for the run."""

SUCCEEDED = "SUCCEEDED"

_PREVIOUS = """
SELECT state FROM recsys.pipeline_runs WHERE pipeline = %s AND run_id <> %s ORDER BY finished_at DESC LIMIT 1
"""
_RECORD = """
INSERT INTO recsys.pipeline_runs (run_id, pipeline, state, error, started_at, finished_at, stages)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (run_id) DO UPDATE SET (state, error, finished_at, stages) =
    (excluded.state, excluded.error, excluded.finished_at, excluded.stages)
"""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: `SUCCEEDED`, `FAILED` or `CANCELLED`, and why if it did not succeed."""

    state: str
    error: str | None


def conclude(
    database: str,
    store: str,
    run: str,
    pipeline: str,
    expected: Sequence[str],
    state: str,
    error: str | None,
    alerts: str = "",
    page: str = "",
    job: str = "",
) -> Outcome:
    """Decide how a run ended, record it, and post an alert if needed. A repetition replaces the run's record.

    Args:
        database: Reference to the database's URL, such as `env:DATABASE_URL`.
        store: Store with the run's journal.
        run: Id of the run.
        pipeline: Name of the pipeline.
        expected: Stages that every run of the pipeline has.
        state: State of the run, as the platform reports it.
        error: Error that the platform reports, if any.
        alerts: Reference to a webhook's URL; empty for no alerts.
        page: URL of the run's page, with `JOB` as a placeholder.
        job: Name that the page has for the run.

    Raises:
        UserError: The journal cannot be read or the outcome cannot be recorded. An alert is posted before.
    """
    outcome, link = Outcome(state, error), page.replace(JOB, job)
    try:
        # 1. Read the journal, without this stage: an earlier attempt may have failed, which is not the run's outcome.
        stages = [record for record in read_journal(store, run) if record.stage != "notify"]
        # 2. Decide how the run ended.
        outcome = decide_outcome(state, error, stages, expected)
        # 3. Record it.
        previous = record_outcome(database, run, pipeline, outcome, stages)
    except Exception as failure:
        if alerts:
            why = str(failure) if isinstance(failure, UserError) else f"{type(failure).__name__}: see the task's log."
            title = f"{pipeline} run {run}: {outcome.state}, and that could not be recorded"
            post(alerts, Alert(title, (*filter(None, [outcome.error]), why), link))
        raise
    # 4. Post an alert.
    alert = decide_alert(pipeline, run, outcome, stages, previous, link)
    if alerts and alert:
        post(alerts, alert)
    return outcome


def decide_outcome(
    state: str, platform_error: str | None, stages: Sequence[StageRecord], expected: Sequence[str]
) -> Outcome:
    """Decide how a run ended, from what the platform reports and from the journal of its stages.

    A stage's own error says more than the platform's, so it is preferred. A run also failed if a stage failed or an
    expected stage is not in the journal, whatever the platform reports.
    """
    failed = [stage for stage in stages if stage.error]
    if failed:
        return Outcome("FAILED", f"{failed[0].stage}: {failed[0].error}")
    if state == SUCCEEDED:
        missing = [name for name in expected if name not in {stage.stage for stage in stages}]
        if missing:
            return Outcome("FAILED", f"{missing[0]}: It left nothing in the journal: see the platform's log.")
        return Outcome(state, None)
    return Outcome(state, platform_error or "No stage says why: see the platform's log.")


def decide_alert(
    pipeline: str, run: str, outcome: Outcome, stages: Sequence[StageRecord], previous: str | None, link: str
) -> Alert | None:
    """Decide whether an operator should know how a run ended; None if it succeeded as usual.

    Args:
        pipeline: Name of the pipeline.
        run: Id of the run.
        outcome: How it ended.
        stages: Journal of its stages.
        previous: State of the pipeline's run before this one; None if it is unknown.
        link: URL of the run's page.
    """
    monitored = next((stage.facts for stage in stages if stage.stage == "monitor"), {})
    retrain = bool(monitored.get("retrain"))
    why_trained = tuple(monitored.get("reasons", ())) if retrain else ()
    if outcome.state != SUCCEEDED:
        return Alert(f"{pipeline} run {run}: {outcome.state}", (*filter(None, [outcome.error]), *why_trained), link)
    if retrain:
        promoted = any(stage.stage == "promote" for stage in stages)
        ending = "and the new one serves" if promoted else "and what came out did not pass the gate"
        return Alert(f"{pipeline} run {run}: a model was trained, {ending}", why_trained, link)
    if previous not in (None, SUCCEEDED):
        return Alert(f"{pipeline} run {run}: it succeeded again", (), link)
    return None


def record_outcome(
    database: str, run: str, pipeline: str, outcome: Outcome, stages: Sequence[StageRecord]
) -> str | None:
    """Record how a run ended, with the durations and the memory of its stages. A repetition replaces the record.

    Args:
        database: Reference to the database's URL, such as `env:DATABASE_URL`.
        run: Id of the run.
        pipeline: Name of the pipeline.
        outcome: How it ended.
        stages: Journal of its stages.

    Returns:
        The state of the pipeline's run before this one; None for the first.

    Raises:
        UserError: The database cannot be reached, or its schema `recsys` has another version.
    """
    finished = datetime.now(UTC)
    started = datetime.fromisoformat(stages[0].started_at) if stages else finished
    with connect(database, application="steam-recsys notify") as connection:
        create_schema(connection, "recsys")
        with connection.cursor() as cursor:
            cursor.execute(_PREVIOUS, [pipeline, run])
            previous = cursor.fetchone()
            error, content = outcome.error and mask(outcome.error), Json([stage.masked() for stage in stages])
            cursor.execute(_RECORD, [run, pipeline, outcome.state, error, started, finished, content])
    log("notify", f"{pipeline} run {run}: {outcome.state}{f', {outcome.error}' if outcome.error else ''}")
    return previous[0] if previous else None
