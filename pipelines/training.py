"""The story of training: from the shop's reviews to a champion."""

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from components.evaluate.gate import DEFAULT
from components.extract.component import extract
from components.notify.component import record_run
from components.validate.component import validate
from pipelines.story import champion_pipeline
from pipelines.target import Target

STAGES = ["extract", "validate", "train", "evaluate"]
"""Those that every run has."""


def training_pipeline(target: Target) -> GraphComponent:
    """The pipeline for a target."""
    train_champion = champion_pipeline(target)

    @dsl.pipeline(name="training", display_name="Train and promote")
    def training(
        source: str = "env:DATABASE_URL",
        replica: str = "",
        store: str = "local/store",
        registry: str = "",
        seed: int = 0,
        baseline_errors: float = DEFAULT.baseline_errors,
        champion_errors: float = DEFAULT.champion_errors,
        coverage_floor: float = DEFAULT.coverage_floor,
        slice_floor: float = DEFAULT.slice_floor,
        slice_users: int = DEFAULT.slice_users,
        alerts: str = "",
    ) -> None:
        """1. Extract a snapshot. 2. Validate it. 3. Train. 4. Evaluate against baselines and champion. 5. If it is
        better, fit it to all reviews. 6. Promote it.

        A model that is not better is no failure: the champion stays. Whatever happens, the run's outcome is recorded.

        Args:
            source: reference to the URL of the shop's database.
            replica: reference to that of a replica, which is then read in its place.
            store: where snapshots, models, predictions and journals are kept.
            registry: where champions are registered beside the store: nowhere, or vertex://PROJECT/LOCATION.
            seed: of everything random; equal seeds make equal models.
            baseline_errors: standard errors by which the model may fall short of the best baseline.
            champion_errors: the same against the champion, and it must stay above; a negative number asks for more.
            coverage_floor: the share of popularity's coverage of the catalogue that the model must reach.
            slice_floor: the share of a baseline's NDCG@10 that the model must reach on every slice.
            slice_users: users below whom a slice decides nothing.
            alerts: reference to the URL of a webhook for what somebody should know; none where it is empty.
        """
        run = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        outcome = record_run(
            pipeline="training",
            stages=STAGES,
            database=source,
            alerts=alerts,
            page=target.page,
            job=target.job,
            store=store,
            run=run,
        )
        target.data(outcome, "Record the outcome")
        with dsl.ExitHandler(outcome, name="Train and promote"):
            extracted = extract(source=source, replica=replica, store=store, run=run)
            target.data(extracted, "Extract a snapshot")
            snapshot = extracted.outputs["snapshot"]

            validated = validate(snapshot=snapshot, store=store, run=run)
            target.data(validated, "Validate it")

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
            ).after(validated).set_display_name("Train and promote")

    return training
