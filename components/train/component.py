"""The training stage as KFP components: the model that is evaluated, then the refit that serves."""

from kfp import dsl

from components import MODEL_IMAGE


@dsl.component(base_image=MODEL_IMAGE, install_kfp_package=False)
def train(
    snapshot: dsl.Input[dsl.Dataset],
    seed: int,
    personal_budget: float,
    training_minutes: float,
    store: str,
    run: str,
    model: dsl.Output[dsl.Model],
) -> str:
    """Train a two-tower model on a snapshot. Returns the model's version."""
    from components.train.tensorflow_runtime import stage_name
    from components.train.training import train_model
    from steam_recsys.stage import stage

    with stage(stage_name("train"), store, run) as record:
        trained = train_model(
            snapshot.path,
            model.path,
            store,
            seed=seed,
            personal_budget=personal_budget,
            training_minutes=training_minutes,
        )
        if not trained:
            return ""  # the chief's outputs count
        record.facts.update(trained.facts())
        model.metadata.update(trained.facts())
    return trained.version


@dsl.component(base_image=MODEL_IMAGE, install_kfp_package=False)
def refit(
    snapshot: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    store: str,
    run: str,
    refitted: dsl.Output[dsl.Model],
) -> str:
    """Fit the model that passed the gate to all reviews. Returns its version."""
    from components.train.refit import refit_model
    from components.train.tensorflow_runtime import stage_name
    from steam_recsys.stage import stage

    with stage(stage_name("refit"), store, run):
        return refit_model(snapshot.path, model.path, refitted.path, store)
