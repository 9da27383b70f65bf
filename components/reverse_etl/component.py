"""The publication stage as a KFP component."""

from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def publish(
    plan: dsl.Input[dsl.Artifact],
    database: str,
    publish_to: str,
    mongodb: str,
    user_coverage_floor: float,
    rows_per_user_floor: float,
    churn_floor: float,
    churn_ceiling: float,
    churn_users: int,
    overlap_ceiling: float,
    store: str,
    run: str,
) -> int:
    """Publish recommendations as a version in PostgreSQL, MongoDB or both, and make it current. Returns its users."""
    from datetime import date

    from components.reverse_etl.acceptance import Thresholds
    from components.reverse_etl.publication import publish as publish_version
    from steam_recsys.data.predictions import Plan, predictions_uri
    from steam_recsys.publications.destinations import DestinationConfig
    from steam_recsys.publications.versions import VersionInfo
    from steam_recsys.stage import stage

    with stage("reverse_etl", store, run) as record:
        planned = Plan.read(plan.path)
        published = publish_version(
            DestinationConfig(database=database, publish_to=publish_to, mongodb=mongodb),
            predictions_uri(store, planned.version),
            VersionInfo(
                version=planned.version,
                model_version=planned.model_version,
                snapshot_id=planned.snapshot_id,
                as_of=date.fromisoformat(planned.as_of),
                control_share=planned.control_share,
            ),
            planned.shards,
            Thresholds(
                user_coverage_floor=user_coverage_floor,
                rows_per_user_floor=rows_per_user_floor,
                churn_floor=churn_floor,
                churn_ceiling=churn_ceiling,
                churn_users=churn_users,
                overlap_ceiling=overlap_ceiling,
            ),
        )
        record.facts.update(published.facts())
    return published.users
