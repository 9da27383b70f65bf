"""The refresh stage as a KFP component."""

from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def refresh(
    snapshot: dsl.Input[dsl.Dataset],
    source: str,
    replica: str,
    publish_to: str,
    mongodb: str,
    store: str,
    run: str,
) -> int:
    """Bring the current publication up to a snapshot. Returns the number of users with new lists."""
    from components.refresh.refresh import refresh_publication
    from steam_recsys.publications.destinations import DestinationConfig
    from steam_recsys.stage import stage

    config = DestinationConfig(database=source, publish_to=publish_to, mongodb=mongodb)
    with stage("refresh", store, run) as record:
        refreshed = refresh_publication(snapshot.path, replica or source, store, config)
        record.facts.update(refreshed.facts())
    return refreshed.users
