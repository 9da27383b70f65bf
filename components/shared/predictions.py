"""A publication's predictions in the store: where they are, and what the files are called."""

POPULAR_FILE = "popular.parquet"
"""The fallback lists, in the schema POPULAR."""

CATALOGUE_FILE = "catalogue.parquet"
"""The games with what is known of them and their recent popularity as of the plan."""


def predictions_uri(store: str, version: str) -> str:
    """The folder of a publication to be."""
    return f"{store.rstrip('/')}/predictions/{version}"


def shard_name(number: int) -> str:
    """A shard's file in that folder, in the schema RECOMMENDATIONS."""
    return f"recommendations/shard-{number:05}.parquet"
