"""The exit handler's stage: a run's outcome → `recsys.pipeline_runs` and, where somebody should know, an alert."""

from __future__ import annotations

from collections.abc import Sequence

from components.notify.alerts import JOB, Alert, alert_of, post
from components.notify.outcome import Outcome, decide_outcome, record_outcome
from steam_recsys.errors import UserError
from steam_recsys.stage import read_journal


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
        page: the run's page, with `components.notify.alerts.JOB` for the run.
        job: what the page calls the run.

    Raises:
        UserError: the journal could not be read or the outcome not be recorded, which is posted too.
    """
    outcome, link = Outcome(state, error), page.replace(JOB, job)
    try:
        # Without its own: an attempt before this one may have failed, and says nothing of how the run ended.
        stages = [record for record in read_journal(store, run) if record.stage != "notify"]
        outcome = decide_outcome(state, error, stages, expected)
        previous = record_outcome(database, run, pipeline, outcome, stages)
    except Exception as failure:
        if alerts:
            why = str(failure) if isinstance(failure, UserError) else f"{type(failure).__name__}: see the task's log."
            title = f"{pipeline} run {run}: {outcome.state}, and that could not be recorded"
            post(alerts, Alert(title, (*filter(None, [outcome.error]), why), link))
        raise
    alert = alert_of(pipeline, run, outcome, stages, previous, link)
    if alerts and alert:
        post(alerts, alert)
    return outcome
