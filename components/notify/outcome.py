"""The exit handler's stage: a run's outcome → `recsys.pipeline_runs`, failed runs too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from psycopg2.extras import Json

from steam_recsys.database.connection import connect, create_schema
from steam_recsys.logging import log
from steam_recsys.stage import StageRecord

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
    """How a run ended: `SUCCEEDED`, `FAILED` or `CANCELLED`, and why where it failed."""

    state: str
    error: str | None


def decide_outcome(
    state: str, platform_error: str | None, stages: Sequence[StageRecord], expected: Sequence[str]
) -> Outcome:
    """A run's outcome from what the platform says and from what its stages left in the journal.

    A stage's own sentence says more than the platform's message, so it goes first; and a stage that failed, or that
    left nothing although every run of the pipeline has it, makes a failed run, whatever the platform reports.
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


def record_outcome(
    database: str, run: str, pipeline: str, outcome: Outcome, stages: Sequence[StageRecord]
) -> str | None:
    """Write a run's outcome, with its stages' durations and memory; again for the same run replaces it.

    Args:
        database: a reference such as `env:DATABASE_URL`.
        run: the run's id.
        pipeline: the pipeline's name.
        outcome: how it ended.
        stages: what its stages left in the journal.

    Returns:
        The state of the pipeline's run before this one, None for the first.

    Raises:
        UserError: the database cannot be reached, or has the schema `recsys` in another version.
    """
    finished = datetime.now(UTC)
    started = datetime.fromisoformat(stages[0].started_at) if stages else finished
    with connect(database, application="steam-recsys notify") as connection:
        create_schema(connection, "recsys")
        with connection.cursor() as cursor:
            cursor.execute(_PREVIOUS, [pipeline, run])
            previous = cursor.fetchone()
            content = Json(list(map(asdict, stages)))
            cursor.execute(_RECORD, [run, pipeline, outcome.state, outcome.error, started, finished, content])
    log("notify", f"{pipeline} run {run}: {outcome.state}{f', {outcome.error}' if outcome.error else ''}")
    return previous[0] if previous else None
