"""The inference pipeline: the champion's recommendations reach the shop's database."""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.evaluate.gate import DEFAULT as GATE
from components.extract.component import extract
from components.monitor.component import monitor
from components.monitor.decision import DEFAULT as MONITORING
from components.notify.component import record_run
from components.predict.component import make_plan, predict
from components.reverse_etl.acceptance import DEFAULT as ACCEPTANCE
from components.reverse_etl.component import publish
from components.train import PERSONAL_BUDGET
from components.validate.component import validate
from pipelines.target import Target
from pipelines.training import champion_pipeline
from steam_recsys.model.lists import NEW_RELEASE_DAYS

STAGES = ["extract", "validate", "monitor", "plan", "predict", "reverse_etl"]
"""The stages that every run has."""


def inference_pipeline(target: Target) -> GraphComponent:
    """Build the inference pipeline for a target."""
    retrain_if_needed = retraining_pipeline(target)

    @dsl.pipeline(name="inference", display_name="Recommend and publish")
    def inference(
        source: str = "env:DATABASE_URL",
        replica: str = "",
        publish_to: str = "postgresql",
        mongodb: str = "env:MONGODB_URL",
        store: str = "local/store",
        users_per_shard: int = 100_000,
        new_release_days: int = NEW_RELEASE_DAYS,
        control_share: float = 0.0,
        user_coverage_floor: float = ACCEPTANCE.user_coverage_floor,
        rows_per_user_floor: float = ACCEPTANCE.rows_per_user_floor,
        churn_floor: float = ACCEPTANCE.churn_floor,
        churn_ceiling: float = ACCEPTANCE.churn_ceiling,
        churn_users: int = ACCEPTANCE.churn_users,
        overlap_ceiling: float = ACCEPTANCE.overlap_ceiling,
        quality_floor: float = MONITORING.quality_floor,
        quality_users: int = MONITORING.quality_users,
        drift_ceiling: float = MONITORING.drift_ceiling,
        unknown_ceiling: float = MONITORING.unknown_ceiling,
        drift_reviews: int = MONITORING.drift_reviews,
        age_ceiling: int = MONITORING.age_ceiling,
        growth_ceiling: float = MONITORING.growth_ceiling,
        published_overlap_ceiling: float = MONITORING.published_overlap_ceiling,
        published_coverage_floor: float = MONITORING.published_coverage_floor,
        published_users: int = MONITORING.published_users,
        cooldown_days: int = MONITORING.cooldown_days,
        registry: str = "",
        seed: int = 0,
        personal_budget: float = PERSONAL_BUDGET,
        training_minutes: float = 0.0,
        accuracy_margin: float = GATE.accuracy_margin,
        champion_gain: float = GATE.champion_gain,
        personal_margin: float = GATE.personal_margin,
        coverage_floor: float = GATE.coverage_floor,
        slice_margin: float = GATE.slice_margin,
        slice_users: int = GATE.slice_users,
        alerts: str = "",
    ) -> None:
        """1. Extract a snapshot. 2. Validate it. 3. Monitor the champion. 4. Retrain if needed. 5. Plan the shards.
        6. Predict each shard, with the new champion if there is one. 7. Publish all shards at once.

        The run's outcome is always recorded.

        Args:
            source: Reference to the URL of the shop's database.
            replica: Reference to the URL of a replica to read instead; empty reads the database itself.
            publish_to: Destination of the recommendations: postgresql (the shop's database), mongodb, or both.
            mongodb: Reference to the URL of MongoDB, for mongodb and both.
            store: Folder or bucket for snapshots, models, predictions and journals.
            users_per_shard: Users that one prediction task handles.
            new_release_days: Days before the newest review in which a new release came out.
            control_share: Share of the users who get popular games instead of recommendations, to compare with.
            user_coverage_floor: Share of the current version's users that must have recommendations again.
            rows_per_user_floor: Share of the current version's games per user that must be reached.
            churn_floor: Smallest average share of a user's first ten games that must have changed.
            churn_ceiling: Largest average share of a user's first ten games that may have changed.
            churn_users: Users that a version needs before anything is compared with it, or its users with each other.
            overlap_ceiling: Largest average share of two users' first ten games that both may have.
            quality_floor: Share of recent popularity's realised NDCG@10 below which the model is retrained.
            quality_users: Users with new reviews that quality needs before it counts.
            drift_ceiling: Population stability index above which the model is retrained.
            unknown_ceiling: Share of new reviews of games unknown to the model above which it is retrained.
            drift_reviews: Reviews since the training that drift needs before it counts.
            age_ceiling: Days of reviews that the model may lack.
            growth_ceiling: Share of games added since the training above which the model is retrained.
            published_overlap_ceiling: Average share of two users' first ten games that both have, above which the model
                is retrained.
            published_coverage_floor: Share of the games that are among any user's first ten, below which the model is
                retrained.
            published_users: Users that a publication needs before its overlap and coverage count.
            cooldown_days: Days of reviews to wait between two trainings.
            registry, seed, personal_budget, training_minutes, accuracy_margin, champion_gain, personal_margin,
                coverage_floor, slice_margin, slice_users: As in the training pipeline.
            alerts: Reference to the URL of a webhook for alerts; empty for no alerts.
        """
        run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        outcome = record_run(
            pipeline="inference",
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
        with dsl.ExitHandler(outcome, name="Recommend and publish"):
            # 1. Extract a snapshot.
            extracted = extract(pipeline="inference", source=source, replica=replica, store=store, run=run)
            target.configure(extracted, "data", "Extract a snapshot")
            snapshot = extracted.outputs["snapshot"]

            # 2. Validate it.
            validated = validate(snapshot=snapshot, store=store, run=run)
            target.configure(validated, "data", "Validate the snapshot")

            # 3. Monitor the champion.
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
                published_overlap_ceiling=published_overlap_ceiling,
                published_coverage_floor=published_coverage_floor,
                published_users=published_users,
                cooldown_days=cooldown_days,
                store=store,
                run=run,
            ).after(validated)
            target.configure(monitored, "data", "Monitor the champion")

            # 4. Retrain if needed.
            retrained = retrain_if_needed(
                retrain=monitored.outputs["Output"],
                snapshot=snapshot,
                store=store,
                registry=registry,
                seed=seed,
                personal_budget=personal_budget,
                training_minutes=training_minutes,
                accuracy_margin=accuracy_margin,
                champion_gain=champion_gain,
                personal_margin=personal_margin,
                coverage_floor=coverage_floor,
                slice_margin=slice_margin,
                slice_users=slice_users,
                run=run,
            ).set_display_name("Retrain if needed")
            retrained.set_caching_options(False)

            # 5. Plan the shards.
            planned = make_plan(
                snapshot=snapshot,
                users_per_shard=users_per_shard,
                new_release_days=new_release_days,
                control_share=control_share,
                database=source,
                publish_to=publish_to,
                mongodb=mongodb,
                store=store,
                run=run,
            ).after(retrained)
            target.configure(planned, "data", "Plan the shards")
            plan = planned.outputs["plan"]

            # 6. Predict each shard.
            with dsl.ParallelFor(planned.outputs["Output"], name="Shards", parallelism=target.parallelism) as shard:
                predicted = predict(
                    plan=plan,
                    shard=shard,
                    database=source,
                    publish_to=publish_to,
                    mongodb=mongodb,
                    store=store,
                    run=run,
                )
                target.configure(predicted, "data", "Predict a shard")

            # 7. Publish all shards at once.
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
                overlap_ceiling=overlap_ceiling,
                store=store,
                run=run,
            ).after(predicted)
            target.configure(published, "data", "Publish the recommendations")

    return inference


def retraining_pipeline(target: Target) -> GraphComponent:
    """Build the conditional retraining, as one task that others can follow whether it retrains or not."""
    train_champion = champion_pipeline(target)

    @dsl.pipeline(name="retraining", display_name="Retrain if needed")
    def retraining(
        retrain: bool,
        snapshot: dsl.Input[dsl.Dataset],
        store: str,
        registry: str,
        seed: int,
        personal_budget: float,
        training_minutes: float,
        accuracy_margin: float,
        champion_gain: float,
        personal_margin: float,
        coverage_floor: float,
        slice_margin: float,
        slice_users: int,
        run: str,
    ) -> None:
        """1. If retraining is needed, train, evaluate and promote a model."""
        with dsl.If(retrain == True, name="Retraining needed"):  # noqa: E712 - KFP overloads ==
            trained = train_champion(
                snapshot=snapshot,
                store=store,
                registry=registry,
                seed=seed,
                personal_budget=personal_budget,
                training_minutes=training_minutes,
                accuracy_margin=accuracy_margin,
                champion_gain=champion_gain,
                personal_margin=personal_margin,
                coverage_floor=coverage_floor,
                slice_margin=slice_margin,
                slice_users=slice_users,
                run=run,
            ).set_display_name("Train and promote")
            trained.set_caching_options(False)

    return retraining
