"""The refresh pipeline: users who have reviewed since the last publication get new lists within minutes."""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.extract.component import extract
from components.notify.component import record_run
from components.refresh import STAGES
from components.refresh.component import refresh as refresh_publication
from pipelines.target import Target


def refresh_pipeline(target: Target) -> GraphComponent:
    """Build the refresh pipeline for a target."""

    @dsl.pipeline(name="refresh", display_name="Refresh the publication")
    def refresh(
        source: str = "env:DATABASE_URL",
        replica: str = "",
        publish_to: str = "postgresql",
        mongodb: str = "env:MONGODB_URL",
        store: str = "local/store",
        alerts: str = "",
    ) -> None:
        """1. Extract what has changed. 2. Refresh the lists of the users concerned, in the current publication.

        The run's outcome is always recorded.

        Args:
            source: Reference to the URL of the shop's database.
            replica: Reference to the URL of a replica to read instead; empty reads the database itself.
            publish_to: Destination of the recommendations: postgresql (the shop's database), mongodb, or both.
            mongodb: Reference to the URL of MongoDB, for mongodb and both.
            store: Folder or bucket for snapshots, models, predictions and journals.
            alerts: Reference to the URL of a webhook for alerts; empty for no alerts.
        """
        run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        outcome = record_run(
            pipeline="refresh",
            stages=STAGES,
            database=source,
            alerts=alerts,
            page=target.page,
            job=target.job,
            **target.stored_days,
            store=store,
            run=run,
        )
        target.configure(outcome, "data", "Record the outcome")
        with dsl.ExitHandler(outcome, name="Refresh the publication"):
            # 1. Extract what has changed.
            extracted = extract(pipeline="refresh", source=source, replica=replica, store=store, run=run)
            target.configure(extracted, "data", "Extract what has changed")

            # 2. Refresh the lists of the users concerned.
            refreshed = refresh_publication(
                snapshot=extracted.outputs["snapshot"],
                source=source,
                replica=replica,
                publish_to=publish_to,
                mongodb=mongodb,
                store=store,
                run=run,
            )
            target.configure(refreshed, "data", "Refresh the lists")

    return refresh
