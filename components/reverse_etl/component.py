"""The publication stage as a KFP component."""

from kfp import dsl

from components.shared.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def publish(plan: dsl.Input[dsl.Artifact], database: str, store: str, run: str) -> int:
    """Shards of recommendations → a version in PostgreSQL, made current at once. Returns the number of users."""
    from datetime import date

    from components.predict.plan import Plan
    from components.reverse_etl.publication import publish as publish_version
    from components.shared.predictions import predictions_uri
    from components.shared.stage import stage

    with stage("reverse_etl", store, run) as record:
        planned = Plan.read(plan.path)
        published = publish_version(
            database,
            predictions_uri(store, planned.version),
            version=planned.version,
            shards=len(planned.shards),
            model_version=planned.model_version,
            snapshot_id=planned.snapshot_id,
            as_of=date.fromisoformat(planned.as_of),
        )
        record.facts.update(published.facts())
    return published.users
