"""The story of ingestion: the raw files become the shop's operational data."""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.ingest.component import ingest
from components.ingest.ingestion import MAX_REJECTED_SHARE
from components.notify.component import record_run
from pipelines.target import Target

STAGES = ["ingest"]
"""Those that every run has."""


def ingestion_pipeline(target: Target) -> GraphComponent:
    """The pipeline for a target."""

    @dsl.pipeline(name="ingestion", display_name="Ingest raw files")
    def ingestion(
        raw: str,
        database: str = "env:DATABASE_URL",
        store: str = "local/store",
        year: int = 0,
        max_rejected_share: float = MAX_REJECTED_SHARE,
        alerts: str = "",
    ) -> None:
        """1. Load the raw files into the schema `steam`. Whatever happens, record the run's outcome.

        Args:
            raw: a folder in the raw layout, on disk or gs://…, or hf://OWNER/NAME/FOLDER.
            database: reference to the URL of the shop's database.
            store: where snapshots, models, predictions and journals are kept.
            year: of dates without one; 0 takes the year of the file's newest dated row.
            max_rejected_share: of a file's rows; where more cannot be read, the run stops.
            alerts: reference to the URL of a webhook for what somebody should know; none where it is empty.
        """
        run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        outcome = record_run(
            pipeline="ingestion",
            stages=STAGES,
            database=database,
            alerts=alerts,
            page=target.page,
            job=target.job,
            store=store,
            run=run,
        )
        target.data(outcome, "Record the outcome")
        with dsl.ExitHandler(outcome, name="Ingest"):
            loaded = ingest(
                raw=raw, database=database, year=year, max_rejected_share=max_rejected_share, store=store, run=run
            )
            target.data(loaded, "Load the raw files")

    return ingestion
