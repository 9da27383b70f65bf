"""The ingestion stage as a KFP component."""

from kfp import dsl

from components import DATA_IMAGE


@dsl.component(base_image=DATA_IMAGE, install_kfp_package=False)
def ingest(raw: str, database: str, year: int, max_rejected_share: float, columns: str, store: str, run: str) -> int:
    """Load raw CSV files into PostgreSQL. Returns the number of new and changed reviews."""
    from components.ingest.ingestion import ingest as load_raw_files
    from steam_recsys.stage import stage

    with stage("ingest", store, run) as record:
        record.facts["pipeline"] = "ingestion"
        loaded = load_raw_files(
            raw, database, year=year or None, max_rejected_share=max_rejected_share, columns=columns
        )
        record.facts.update(loaded.facts())
    return loaded.inserted + loaded.updated
