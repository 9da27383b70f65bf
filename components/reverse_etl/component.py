"""The publication stage as a KFP component."""

from kfp import dsl

from components.shared.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def publish(version: str, database: str, store: str, run: str) -> int:
    """Shards of recommendations → a version in PostgreSQL, made current at once. Returns the number of users."""
    from datetime import date

    from components.predict.plan import Plan, predictions_folder
    from components.reverse_etl.publication import publish as publish_version
    from components.shared.stage import stage

    with stage("reverse_etl", store, run) as record:
        folder = predictions_folder(store, version)
        plan = Plan.read(folder)
        published = publish_version(
            database,
            folder,
            version=version,
            model_version=plan.model_version,
            snapshot_id=plan.snapshot_id,
            as_of=date.fromisoformat(plan.as_of),
        )
        record.facts.update(published.facts())
    return published.users
