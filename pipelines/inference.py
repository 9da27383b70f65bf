"""The story of inference: from the champion to recommendations in the shop's database."""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.extract.component import extract
from components.notify.component import record_run
from components.predict.component import make_plan, predict
from components.reverse_etl.component import publish
from components.validate.component import validate
from pipelines.target import Target

STAGES = ["extract", "validate", "plan", "predict", "reverse_etl"]
"""Those that every run has."""


def inference_pipeline(target: Target) -> GraphComponent:
    """The pipeline for a target."""

    @dsl.pipeline(name="inference", display_name="Recommend and publish")
    def inference(
        source: str = "env:DATABASE_URL",
        replica: str = "",
        store: str = "local/store",
        users_per_shard: int = 100_000,
    ) -> None:
        """1. Extract a snapshot. 2. Validate it. 3. Plan the shards. 4. Predict each. 5. Publish them all at once.

        Whatever happens, the run's outcome is recorded.

        Args:
            source: reference to the URL of the shop's database, which is published to as well.
            replica: reference to that of a replica, which is then read in its place.
            store: where snapshots, models, predictions and journals are kept.
            users_per_shard: users that one task recommends to.
        """
        run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        outcome = record_run(pipeline="inference", stages=STAGES, database=source, store=store, run=run)
        target.data(outcome, "Record the outcome")
        with dsl.ExitHandler(outcome, name="Recommend and publish"):
            extracted = extract(source=source, replica=replica, store=store, run=run)
            target.data(extracted, "Extract a snapshot")
            snapshot = extracted.outputs["snapshot"]

            validated = validate(snapshot=snapshot, store=store, run=run)
            target.data(validated, "Validate it")

            planned = make_plan(snapshot=snapshot, users_per_shard=users_per_shard, store=store, run=run).after(
                validated
            )
            target.data(planned, "Plan the shards")
            plan = planned.outputs["plan"]

            with dsl.ParallelFor(planned.outputs["Output"], name="Shards", parallelism=target.parallelism) as shard:
                predicted = predict(plan=plan, shard=shard, store=store, run=run)
                target.data(predicted, "Predict a shard")

            published = publish(plan=plan, database=source, store=store, run=run).after(predicted)
            target.data(published, "Publish")

    return inference
