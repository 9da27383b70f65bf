"""The extraction stage as a KFP component."""

from kfp import dsl

from components.shared.images import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def extract(source: str, store: str, run: str, snapshot: dsl.Output[dsl.Dataset]) -> int:
    """Operational PostgreSQL → Parquet snapshot. Returns the number of reviews."""
    from components.extract.snapshot import write_snapshot
    from components.shared.stage import stage

    with stage("extract", store, run) as record:
        written = write_snapshot(source, snapshot.path)
        record.facts.update(written.facts())
        snapshot.metadata.update(written.facts())
    return written.reviews
