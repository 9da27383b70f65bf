"""The exit handler as a KFP component."""

from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def record_run(
    status: dsl.PipelineTaskFinalStatus,
    pipeline: str,
    stages: list[str],
    database: str,
    alerts: str,
    page: str,
    job: str,
    journal_days: int,
    prediction_days: int,
    model_days: int,
    record_days: int,
    event_days: int,
    store: str,
    run: str,
) -> str:
    """Record in PostgreSQL how a run ended, also if it failed, post an alert if needed, and remove what has expired.

    Returns the run's state.
    """
    from components.notify.outcome import conclude, does_housekeeping
    from steam_recsys.retention import Retention, clean_after_run
    from steam_recsys.stage import stage

    retention = Retention(
        journal_days=journal_days,
        prediction_days=prediction_days,
        model_days=model_days,
        record_days=record_days,
        event_days=event_days,
    )

    with stage("notify", store, run):
        ended = status.state, status.error_message
        outcome = conclude(database, store, run, pipeline, stages, *ended, alerts, page, job)
        if does_housekeeping(pipeline):
            clean_after_run(store, database, retention)
    return outcome.state
