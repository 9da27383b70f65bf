"""The ingestion pipeline: raw files become the shop's operational data."""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.ingest.component import ingest
from components.ingest.ingestion import MAX_REJECTED_SHARE
from components.notify.component import record_run
from pipelines.target import Target

STAGES = ["ingest"]
"""The stages that every run has."""


def ingestion_pipeline(target: Target) -> GraphComponent:
    """Build the ingestion pipeline for a target."""

    @dsl.pipeline(name="ingestion", display_name="Ingest raw files")
    def ingestion(
        raw: str,
        database: str = "env:DATABASE_URL",
        store: str = "local/store",
        year: int = 0,
        max_rejected_share: float = MAX_REJECTED_SHARE,
        columns: str = "",
        alerts: str = "",
    ) -> None:
        """1. Load the raw files into the schema `steam`. The run's outcome is always recorded.

        Args:
            raw: Folder in the raw layout, on disk, gs://…, s3://… or hf://OWNER/NAME/FOLDER; or a file with reviews.
            database: Reference to the URL of the shop's database.
            store: Folder or bucket for snapshots, models, predictions and journals.
            year: Year of the dates that have none; 0 takes the year of the newest dated row in the file.
            max_rejected_share: Largest share of a file's rows that may be rejected before the run stops.
            columns: Columns of a reviews file in another layout, as in date=timestamp_created,username=author.
            alerts: Reference to the URL of a webhook for alerts; empty for no alerts.
        """
        run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        outcome = record_run(
            pipeline="ingestion",
            stages=STAGES,
            database=database,
            alerts=alerts,
            page=target.page,
            job=target.job,
            **target.stored_days,
            store=store,
            run=run,
        )
        target.configure(outcome, "data", "Record the outcome")
        with dsl.ExitHandler(outcome, name="Ingest"):
            # 1. Load the raw files.
            loaded = ingest(
                raw=raw,
                database=database,
                year=year,
                max_rejected_share=max_rejected_share,
                columns=columns,
                store=store,
                run=run,
            )
            target.configure(loaded, "data", "Load the raw files")

    return ingestion
