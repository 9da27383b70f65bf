"""What two stories share: from a valid snapshot to a champion."""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.evaluate.component import evaluate, promote
from components.train.component import refit, train
from pipelines.target import Target


def champion_pipeline(target: Target) -> GraphComponent:
    """From a valid snapshot to a champion, as a pipeline within others."""

    @dsl.pipeline(name="champion", display_name="Train and promote")
    def champion(
        snapshot: dsl.Input[dsl.Dataset],
        store: str,
        registry: str,
        seed: int,
        baseline_errors: float,
        champion_errors: float,
        coverage_floor: float,
        slice_floor: float,
        slice_users: int,
        run: str,
    ) -> None:
        """1. Train. 2. Evaluate against baselines and champion. 3. If it is better, fit it to all reviews. 4. Promote
        it.
        """
        trained = train(snapshot=snapshot, seed=seed, store=store, run=run)
        target.model(trained, "Train the two towers")
        model = trained.outputs["model"]

        evaluated = evaluate(
            snapshot=snapshot,
            model=model,
            store=store,
            run=run,
            baseline_errors=baseline_errors,
            champion_errors=champion_errors,
            coverage_floor=coverage_floor,
            slice_floor=slice_floor,
            slice_users=slice_users,
        )
        target.model(evaluated, "Evaluate")

        with dsl.If(evaluated.outputs["Output"] == True, name="Better"):  # noqa: E712 - KFP overloads ==
            refitted = refit(snapshot=snapshot, model=model, store=store, run=run)
            target.model(refitted, "Fit it to all reviews")

            promoted = promote(
                model=refitted.outputs["refitted"],
                evaluation=evaluated.outputs["evaluation"],
                registry=registry,
                store=store,
                run=run,
            )
            target.model(promoted, "Promote")

    return champion


def retraining_pipeline(target: Target) -> GraphComponent:
    """The same where it is asked for, as a task that others can follow whether it is or not."""
    train_champion = champion_pipeline(target)

    @dsl.pipeline(name="retraining", display_name="Train again if the model must be")
    def retraining(
        retrain: bool,
        snapshot: dsl.Input[dsl.Dataset],
        store: str,
        registry: str,
        seed: int,
        baseline_errors: float,
        champion_errors: float,
        coverage_floor: float,
        slice_floor: float,
        slice_users: int,
        run: str,
    ) -> None:
        """1. If the model must be trained again, train and promote."""
        with dsl.If(retrain == True, name="Must be trained again"):  # noqa: E712 - KFP overloads ==
            train_champion(
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
            ).set_display_name("Train and promote")

    return retraining
