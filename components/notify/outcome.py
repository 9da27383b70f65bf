"""The exit handler's stage: record how a run ended in `recsys.pipeline_runs`, and alert an operator if needed.

A run that succeeds as usual posts nothing. Alerts are failures, the first success after one, and trainings that
monitoring asked for. Of refreshes that fail one after the other, only the first is an alert.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from psycopg2.extras import Json

from components.notify.alerts import Alert, post
from steam_recsys.database.connection import connect, create_schema
from steam_recsys.errors import UserError
from steam_recsys.logging import log, log_warning
from steam_recsys.secrets import mask
from steam_recsys.stage import JOURNALS, StageRecord, read_journal
from steam_recsys.storage.folder import open_folder

JOB = "{job}"
"""Placeholder, in the URL of a run's page, for the name that the page has for the run."""

SUCCEEDED, FAILED, CANCELLED = "SUCCEEDED", "FAILED", "CANCELLED"

LOST_AFTER = timedelta(hours=48)
"""How long a run's journal must be unchanged before the run counts as lost; a stage with its retries takes 24 hours."""

# Vertex AI reports SUCCEEDED, FAILED or CANCELLED. Kubeflow reports the states of its metadata store: COMPLETE, FAILED
# or CANCELED, and RUNNING for a run with a condition that was not met in a nested pipeline
# (https://github.com/kubeflow/pipelines/issues/11826).
_NOT_FAILED = (SUCCEEDED, "COMPLETE", "RUNNING")
_CANCELLED = (CANCELLED, "CANCELED")

_LOST = "It ended without an outcome: it was terminated, or its exit handler failed: see the platform's log."
_UNRECORDED = """
SELECT run FROM unnest(%s::text[]) AS run
WHERE NOT EXISTS (SELECT FROM recsys.pipeline_runs AS recorded WHERE recorded.run_id = run)
"""
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
            title = f"{pipeline} run {run}: {outcome.state}, but this could not be recorded"
            post(alerts, Alert(title, (*filter(None, [outcome.error]), why), link))
        raise
    # 4. Post an alert.
    alert = decide_alert(pipeline, run, outcome, stages, previous, link)
    if alerts and alert:
        post(alerts, alert)
    # 5. Record the runs that were terminated: no exit handler ran for them. The next run can do it as well.
    if does_housekeeping(pipeline):
        try:
            record_lost_runs(database, store, datetime.now(UTC))
        except Exception as failure:
            why = str(failure) if isinstance(failure, UserError) else type(failure).__name__
            log_warning("notify", f"runs without an outcome could not be looked for: {why}")
    return outcome


def does_housekeeping(pipeline: str) -> bool:
    """Return whether a run also records lost runs and removes what has expired: not the frequent refreshes."""
    return pipeline != "refresh"


def decide_outcome(
    state: str, platform_error: str | None, stages: Sequence[StageRecord], expected: Sequence[str]
) -> Outcome:
    """Decide how a run ended, from what the platform reports and from the journal of its stages.

    A stage's own error says more than the platform's, so it is preferred. A run also failed if a stage failed or an
    expected stage is not in the journal, whatever the platform reports: a task that is killed for its memory leaves no
    record. A run that is reported as running has succeeded if no stage is missing: its exit handler runs.
    """
    failed = [stage for stage in stages if stage.error]
    if failed:
        return Outcome(FAILED, f"{failed[0].stage}: {failed[0].error}")
    if state in _CANCELLED:
        return Outcome(CANCELLED, platform_error or "It was cancelled.")
    if missing := missing_stages(stages, expected):
        reported = f" ({platform_error.rstrip('.')})" if platform_error else ""
        return Outcome(
            FAILED, f"{missing[0]}: The stage wrote nothing into the journal{reported}: see the platform's log."
        )
    if state in _NOT_FAILED:
        return Outcome(SUCCEEDED, None)
    return Outcome(FAILED, platform_error or "No stage says why: see the platform's log.")


def missing_stages(stages: Sequence[StageRecord], expected: Sequence[str]) -> list[str]:
    """Return the stages that should be in a run's journal and are not, in the order of the pipeline.

    What a run must have depends on what its stages found: a training if monitoring asked for one, a promotion if the
    gate was passed, and one prediction for each shard of the plan.

    Args:
        stages: Journal of the run's stages.
        expected: Stages that every run of the pipeline has.

    Returns:
        Names of stages, such as `train`, and of tasks that share a stage, such as `predict 00002`.
    """
    facts = {stage.stage: stage.facts for stage in stages}
    wanted: list[str] = []
    for name in expected:
        if name == "predict" and "shards" in facts.get("plan", {}):
            wanted += [f"predict {shard:05}" for shard in range(facts["plan"]["shards"])]
            continue
        wanted.append(name)
        if name == "monitor" and facts.get("monitor", {}).get("retrain"):
            wanted += ["train", "evaluate"]
        if wanted[-1] == "evaluate" and facts.get("evaluate", {}).get("promote"):
            wanted += ["refit", "promote"]
    recorded = {stage.stage for stage in stages} | {f"{stage.stage} {stage.part}" for stage in stages}
    return [name for name in wanted if name not in recorded]


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
    if pipeline == "refresh" and outcome.state == previous:  # it runs every few minutes
        return None
    if outcome.state != SUCCEEDED:
        return Alert(f"{pipeline} run {run}: {outcome.state}", (*filter(None, [outcome.error]), *why_trained), link)
    if retrain:
        promoted = any(stage.stage == "promote" for stage in stages)
        trained = (
            "a new model was trained and is now the champion"
            if promoted
            else "a model was trained but did not pass the gate"
        )
        return Alert(f"{pipeline} run {run}: {trained}", why_trained, link)
    if previous not in (None, SUCCEEDED):
        return Alert(f"{pipeline} run {run}: succeeded again", (), link)
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


def record_lost_runs(database: str, store: str, now: datetime) -> list[str]:
    """Record the runs that left a journal and no outcome: they were terminated, or their exit handler failed.

    Args:
        database: Reference to the database's URL.
        store: Store with the runs' journals.
        now: The time; journals that have changed in the `LOST_AFTER` before it belong to runs that may still go on.

    Returns:
        Ids of the runs.

    Raises:
        UserError: The store cannot be read, or the database cannot be reached.
    """
    changed: dict[str, datetime] = {}
    for name, info in open_folder(store).list_files(JOURNALS).items():
        run = name.removeprefix(f"{JOURNALS}/").partition("/")[0]
        changed[run] = max(info.written_at, changed.get(run, info.written_at))
    old = [run for run, at in changed.items() if at < now - LOST_AFTER]
    lost = []
    with connect(database, application="steam-recsys notify") as connection, connection.cursor() as cursor:
        cursor.execute(_UNRECORDED, [old])
        for (run,) in cursor.fetchall():
            stages = [record for record in read_journal(store, run) if record.stage != "notify"]
            pipeline = next((stage.facts["pipeline"] for stage in stages if "pipeline" in stage.facts), None)
            if pipeline is None:
                continue  # the first stage did not end: nothing was done
            outcome = decide_outcome(CANCELLED, _LOST, stages, ())
            error, content = outcome.error and mask(outcome.error), Json([stage.masked() for stage in stages])
            started = datetime.fromisoformat(stages[0].started_at)
            cursor.execute(_RECORD, [run, pipeline, outcome.state, error, started, changed[run], content])
            log("notify", f"{pipeline} run {run} of {started:%Y-%m-%d %H:%M} UTC: {outcome.state}, {outcome.error}")
            lost.append(run)
    return lost
