"""The exit handler's stage: a run's outcome → `recsys.pipeline_runs` and, where somebody should know, an alert."""

from __future__ import annotations

from collections.abc import Sequence

from components.notify.alerts import Alert, alert_of, post
from components.notify.outcome import Outcome, decide_outcome, record_outcome
from components.shared.errors import UserError
from components.shared.stage import read_journal


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
) -> Outcome:
    """Decide how a run ended, record it, and post what somebody should know; the same run again replaces the record.

    Args:
        database: a reference such as `env:DATABASE_URL`.
        store: where the run's journal is.
        run: the run's id.
        pipeline: the pipeline's name.
        expected: the stages that every run of the pipeline has.
        state: what the platform calls the run's state.
        error: what the platform says went wrong, if anything.
        alerts: reference to a webhook's URL; nothing is posted where it is empty.
        page: the run's page.

    Raises:
        UserError: the outcome could not be recorded, which is posted too.
    """
    stages = read_journal(store, run)
    outcome = decide_outcome(state, error, stages, expected)
    try:
        previous = record_outcome(database, run, pipeline, outcome, stages)
        alert = alert_of(pipeline, run, outcome, stages, previous, page)
    except UserError as failure:
        reasons = tuple(filter(None, (outcome.error, str(failure))))
        if alerts:
            post(alerts, Alert(f"{pipeline} run {run}: {outcome.state}, and that could not be recorded", reasons, page))
        raise
    if alerts and alert:
        post(alerts, alert)
    return outcome
