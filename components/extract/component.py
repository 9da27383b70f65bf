"""The extraction stage as a KFP component."""

from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def extract(pipeline: str, source: str, replica: str, store: str, run: str, snapshot: dsl.Output[dsl.Dataset]) -> int:
    """Extract PostgreSQL, or a replica, into a Parquet snapshot. Returns the number of reviews."""
    from components.extract.extraction import write_snapshot
    from steam_recsys.stage import stage

    with stage("extract", store, run) as record:
        record.facts["pipeline"] = pipeline
        extracted = write_snapshot(replica or source, snapshot.path, store)
        record.facts.update(extracted.facts())
        snapshot.metadata.update(extracted.facts())
    return extracted.reviews
