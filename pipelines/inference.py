"""The story of inference: from the champion to recommendations in the shop's database."""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.evaluate.gate import DEFAULT as GATE
from components.extract.component import extract
from components.monitor.component import monitor
from components.monitor.decision import DEFAULT as WATCH
from components.notify.component import record_run
from components.predict.component import make_plan, predict
from components.reverse_etl.acceptance import DEFAULT as ACCEPTANCE
from components.reverse_etl.component import publish
from components.validate.component import validate
from pipelines.story import retraining_pipeline
from pipelines.target import Target

STAGES = ["extract", "validate", "monitor", "plan", "predict", "reverse_etl"]
"""Those that every run has."""


def inference_pipeline(target: Target) -> GraphComponent:
    """The pipeline for a target."""
    retrain_if_needed = retraining_pipeline(target)

    @dsl.pipeline(name="inference", display_name="Recommend and publish")
    def inference(
        source: str = "env:DATABASE_URL",
        replica: str = "",
        publish_to: str = "postgresql",
        mongodb: str = "env:MONGODB_URL",
        store: str = "local/store",
        users_per_shard: int = 100_000,
        user_coverage_floor: float = ACCEPTANCE.user_coverage_floor,
        rows_per_user_floor: float = ACCEPTANCE.rows_per_user_floor,
        churn_floor: float = ACCEPTANCE.churn_floor,
        churn_ceiling: float = ACCEPTANCE.churn_ceiling,
        churn_users: int = ACCEPTANCE.churn_users,
        quality_floor: float = WATCH.quality_floor,
        quality_users: int = WATCH.quality_users,
        drift_ceiling: float = WATCH.drift_ceiling,
        unknown_ceiling: float = WATCH.unknown_ceiling,
        drift_reviews: int = WATCH.drift_reviews,
        age_ceiling: int = WATCH.age_ceiling,
        growth_ceiling: float = WATCH.growth_ceiling,
        rest_days: int = WATCH.rest_days,
        registry: str = "",
        seed: int = 0,
        baseline_errors: float = GATE.baseline_errors,
        champion_errors: float = GATE.champion_errors,
        coverage_floor: float = GATE.coverage_floor,
        slice_floor: float = GATE.slice_floor,
        slice_users: int = GATE.slice_users,
        alerts: str = "",
    ) -> None:
        """1. Extract a snapshot. 2. Validate it. 3. See how the champion does. 4. Train again if it must be. 5. Plan
        the shards. 6. Predict each, with the new champion if there is one. 7. Publish them all at once.

        Whatever happens, the run's outcome is recorded.

        Args:
            source: reference to the URL of the shop's database.
            replica: reference to that of a replica, which is then read in its place.
            publish_to: postgresql, which is that database, mongodb or both.
            mongodb: reference to the URL of MongoDB, for the latter two.
            store: where snapshots, models, predictions and journals are kept.
            users_per_shard: users that one task recommends to.
            user_coverage_floor: share of the users of the version that is shown that must have recommendations again.
            rows_per_user_floor: share of its games per user that must be reached.
            churn_floor: least share of a user's first ten games that must have changed since, on average.
            churn_ceiling: greatest such share.
            churn_users: users of the version that is shown below whom nothing is compared with it.
            quality_floor: share of recent popularity's realised NDCG@10 below which the model is trained again.
            quality_users: users with new reviews below whom quality decides nothing.
            drift_ceiling: population stability index above which it is trained again.
            unknown_ceiling: share of new reviews of games unknown to the model above which it is.
            drift_reviews: reviews since the training below which drift decides nothing.
            age_ceiling: days of reviews that the model may lack.
            growth_ceiling: share of the games that have come since the training above which it is trained again.
            rest_days: days of reviews to wait after a training before the next.
            registry, seed, baseline_errors, champion_errors, coverage_floor, slice_floor, slice_users: as the training
                pipeline has them.
            alerts: reference to the URL of a webhook for what somebody should know; none where it is empty.
        """
        run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        outcome = record_run(
            pipeline="inference",
            stages=STAGES,
            database=source,
            alerts=alerts,
            page=target.page,
            job=target.job,
            store=store,
            run=run,
        )
        target.data(outcome, "Record the outcome")
        with dsl.ExitHandler(outcome, name="Recommend and publish"):
            extracted = extract(source=source, replica=replica, store=store, run=run)
            target.data(extracted, "Extract a snapshot")
            snapshot = extracted.outputs["snapshot"]

            validated = validate(snapshot=snapshot, store=store, run=run)
            target.data(validated, "Validate it")

            monitored = monitor(
                snapshot=snapshot,
                database=source,
                publish_to=publish_to,
                mongodb=mongodb,
                quality_floor=quality_floor,
                quality_users=quality_users,
                drift_ceiling=drift_ceiling,
                unknown_ceiling=unknown_ceiling,
                drift_reviews=drift_reviews,
                age_ceiling=age_ceiling,
                growth_ceiling=growth_ceiling,
                rest_days=rest_days,
                store=store,
                run=run,
            ).after(validated)
            target.data(monitored, "See how the champion does")

            retrained = retrain_if_needed(
                retrain=monitored.outputs["Output"],
                snapshot=snapshot,
                store=store,
                registry=registry,
                seed=seed,
                baseline_errors=baseline_errors,
                champion_errors=champion_errors,
                coverage_floor=coverage_floor,
                slice_floor=slice_floor,
                slice_users=slice_users,
                run=run,
            ).set_display_name("Train again if the model must be")

            planned = make_plan(snapshot=snapshot, users_per_shard=users_per_shard, store=store, run=run).after(
                retrained
            )
            target.data(planned, "Plan the shards")
            plan = planned.outputs["plan"]

            with dsl.ParallelFor(planned.outputs["Output"], name="Shards", parallelism=target.parallelism) as shard:
                predicted = predict(plan=plan, shard=shard, store=store, run=run)
                target.data(predicted, "Predict a shard")

            published = publish(
                plan=plan,
                database=source,
                publish_to=publish_to,
                mongodb=mongodb,
                user_coverage_floor=user_coverage_floor,
                rows_per_user_floor=rows_per_user_floor,
                churn_floor=churn_floor,
                churn_ceiling=churn_ceiling,
                churn_users=churn_users,
                store=store,
                run=run,
            ).after(predicted)
            target.data(published, "Publish")

    return inference
