"""The prediction stage as KFP components: a plan, then each of its shards."""

# KFP reads several outputs from a NamedTuple in the signature, a form that mypy has no word for.
# mypy: disable-error-code="valid-type,call-arg"

from typing import NamedTuple

from kfp import dsl

from components.shared.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def plan(snapshot: dsl.Input[dsl.Dataset], users_per_shard: int, store: str, run: str) -> NamedTuple(
    "Plan", [("version", str), ("shards", list)]
):
    """What the publication will hold: its version and the numbers of its shards."""
    from collections import namedtuple

    from components.predict.plan import plan_predictions
    from components.shared.stage import stage

    with stage("plan", store, run) as record:
        planned = plan_predictions(snapshot.path, store, users_per_shard)
        record.facts.update(planned.facts())
    return namedtuple("Plan", ["version", "shards"])(planned.version, list(range(len(planned.shards))))


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def predict(snapshot: dsl.Input[dsl.Dataset], version: str, shard: int, store: str, run: str) -> int:
    """One shard of users → their recommendations. Returns the number of users."""
    from components.predict.prediction import predict_shard
    from components.shared.stage import stage

    with stage("predict", store, run, part=f"{shard:05}") as record:
        predicted = predict_shard(snapshot.path, store, version, shard)
        record.facts.update(predicted.facts())
    return predicted.users
