"""The training stage as a KFP component."""

from kfp import dsl

from components.shared.images import MODEL_IMAGE


@dsl.component(base_image=MODEL_IMAGE, install_kfp_package=False)
def train(snapshot: dsl.Input[dsl.Dataset], seed: int, store: str, run: str, model: dsl.Output[dsl.Model]) -> str:
    """Snapshot → two-tower model. Returns the model's version."""
    from components.shared.stage import stage
    from components.train.training import train_model

    with stage("train", store, run) as record:
        trained = train_model(snapshot.path, model.path, seed=seed)
        record.facts.update(trained.facts())
        model.metadata.update(trained.facts())
    return trained.version
