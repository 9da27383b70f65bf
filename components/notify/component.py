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
    store: str,
    run: str,
) -> str:
    """Record in PostgreSQL how a run ended, also if it failed, and post an alert if needed. Returns its state."""
    from components.notify.outcome import conclude
    from steam_recsys.stage import stage

    with stage("notify", store, run):
        ended = status.state, status.error_message
        outcome = conclude(database, store, run, pipeline, stages, *ended, alerts, page, job)
    return outcome.state
