"""The training pipeline: the shop's reviews become a champion."""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.evaluate.component import evaluate, promote
from components.evaluate.gate import DEFAULT
from components.extract.component import extract
from components.notify.component import record_run
from components.train import PERSONAL_BUDGET
from components.train.component import refit, train
from components.validate.component import validate
from pipelines.target import Target

STAGES = ["extract", "validate", "train", "evaluate"]
"""The stages that every run has."""


def training_pipeline(target: Target) -> GraphComponent:
    """Build the training pipeline for a target."""
    train_champion = champion_pipeline(target)

    @dsl.pipeline(name="training", display_name="Train and promote")
    def training(
        source: str = "env:DATABASE_URL",
        replica: str = "",
        store: str = "local/store",
        registry: str = "",
        seed: int = 0,
        personal_budget: float = PERSONAL_BUDGET,
        training_minutes: float = 0.0,
        accuracy_margin: float = DEFAULT.accuracy_margin,
        champion_gain: float = DEFAULT.champion_gain,
        personal_margin: float = DEFAULT.personal_margin,
        coverage_floor: float = DEFAULT.coverage_floor,
        slice_margin: float = DEFAULT.slice_margin,
        slice_users: int = DEFAULT.slice_users,
        alerts: str = "",
    ) -> None:
        """1. Extract a snapshot. 2. Validate it. 3. Train a model. 4. Evaluate it against the baselines and the
        champion. 5. If it passes the gate, refit it on all reviews. 6. Promote it.

        A model that does not pass the gate is not a failure: the champion stays. The run's outcome is always recorded.

        Args:
            source: Reference to the URL of the shop's database.
            replica: Reference to the URL of a replica to read instead; empty reads the database itself.
            store: Folder or bucket for snapshots, models, predictions and journals.
            registry: Model registry in which champions are registered as well as in the store,
                vertex://PROJECT/LOCATION; empty for none.
            seed: Random seed; the same seed gives identical models.
            personal_budget: Largest share of the best validation NDCG@10 to give up for lists that differ more between
                users.
            training_minutes: Largest duration of the training, with its final fit, in minutes; 0 for no limit.
            accuracy_margin: Share of the best baseline's and of the champion's NDCG@10 that personal lists may cost.
            champion_gain: Share of the champion's NDCG@10 by which the model's must be higher to count as more
                accurate; a negative number accepts a model that is level.
            personal_margin: By how much two users' overlap and the share of users with the popular ten may exceed
                popularity's and the champion's.
            coverage_floor: Share of popularity's and of the champion's catalogue coverage that the model must reach.
            slice_margin: Share of a baseline's NDCG@10 that the model may fall short by on every slice.
            slice_users: Users that a slice needs before it counts.
            alerts: Reference to the URL of a webhook for alerts; empty for no alerts.
        """
        run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        outcome = record_run(
            pipeline="training",
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
        with dsl.ExitHandler(outcome, name="Train and promote"):
            # 1. Extract a snapshot.
            extracted = extract(pipeline="training", source=source, replica=replica, store=store, run=run)
            target.configure(extracted, "data", "Extract a snapshot")
            snapshot = extracted.outputs["snapshot"]

            # 2. Validate it.
            validated = validate(snapshot=snapshot, store=store, run=run)
            target.configure(validated, "data", "Validate the snapshot")

            # 3. to 6. Train, evaluate, refit and promote.
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
            trained.after(validated).set_caching_options(False)

    return training


def champion_pipeline(target: Target) -> GraphComponent:
    """Build the steps from a valid snapshot to a champion, which training and inference share."""

    @dsl.pipeline(name="champion", display_name="Train and promote")
    def champion(
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
        """1. Train a model. 2. Evaluate it against the baselines and the champion. 3. If it passes the gate, refit it
        on all reviews. 4. Promote it.
        """
        # 1. Train.
        trained = train(
            snapshot=snapshot,
            seed=seed,
            personal_budget=personal_budget,
            training_minutes=training_minutes,
            store=store,
            run=run,
        )
        target.configure(trained, "model", "Train the two towers")
        model = trained.outputs["model"]

        # 2. Evaluate.
        evaluated = evaluate(
            snapshot=snapshot,
            model=model,
            store=store,
            run=run,
            accuracy_margin=accuracy_margin,
            champion_gain=champion_gain,
            personal_margin=personal_margin,
            coverage_floor=coverage_floor,
            slice_margin=slice_margin,
            slice_users=slice_users,
        )
        target.configure(evaluated, "model", "Evaluate the model")

        with dsl.If(evaluated.outputs["Output"] == True, name="Gate passed"):  # noqa: E712 - KFP overloads ==
            # 3. Refit on all reviews.
            refitted = refit(snapshot=snapshot, model=model, store=store, run=run)
            target.configure(refitted, "model", "Refit on all reviews")

            # 4. Promote.
            promoted = promote(
                model=refitted.outputs["refitted"],
                evaluation=evaluated.outputs["evaluation"],
                registry=registry,
                serving_image=target.image("explorer"),
                store=store,
                run=run,
            )
            target.configure(promoted, "model", "Promote the model")

    return champion
