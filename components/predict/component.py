"""The prediction stage as KFP components: a plan, then one task per shard."""

from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def make_plan(
    snapshot: dsl.Input[dsl.Dataset],
    users_per_shard: int,
    new_release_days: int,
    control_share: float,
    database: str,
    publish_to: str,
    mongodb: str,
    store: str,
    run: str,
    plan: dsl.Output[dsl.Artifact],
) -> list[int]:
    """Plan a publication. Returns the numbers of its shards."""
    from components.predict.plan import plan_predictions
    from steam_recsys.publications.destinations import DestinationConfig
    from steam_recsys.stage import stage

    config = DestinationConfig(database=database, publish_to=publish_to, mongodb=mongodb)
    with stage("plan", store, run) as record:
        planned = plan_predictions(snapshot.path, store, users_per_shard, new_release_days, control_share, config)
        planned.write(plan.path)
        record.facts.update(planned.facts())
    return list(range(len(planned.shards)))


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def predict(
    plan: dsl.Input[dsl.Artifact], shard: int, database: str, publish_to: str, mongodb: str, store: str, run: str
) -> int:
    """Recommend games to the users of one shard. Returns the number of users."""
    from components.predict.prediction import predict_shard
    from steam_recsys.data.predictions import Plan
    from steam_recsys.publications.destinations import DestinationConfig
    from steam_recsys.stage import stage

    config = DestinationConfig(database=database, publish_to=publish_to, mongodb=mongodb)
    with stage("predict", store, run, part=f"{shard:05}") as record:
        predicted = predict_shard(store, Plan.read(plan.path), shard, config)
        record.facts.update(predicted.facts())
    return predicted.users
