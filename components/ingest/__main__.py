"""`python -m components.ingest`: load raw files without a pipeline."""

import argparse
import sys

from components.ingest.huggingface import STEAM_REVIEWS
from components.ingest.ingestion import MAX_REJECTED_SHARE, ingest
from steam_recsys.errors import UserError


def main() -> None:
    """Read the command line and ingest."""
    parser = argparse.ArgumentParser(prog="python -m components.ingest", description="Raw CSV → PostgreSQL.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--raw", metavar="FOLDER", help="a folder in the raw layout")
    source.add_argument(
        "--from-huggingface", dest="raw", action="store_const", const=STEAM_REVIEWS, help=f"the set {STEAM_REVIEWS}"
    )
    parser.add_argument("--database", default="env:DATABASE_URL", help="reference to its URL (%(default)s)")
    parser.add_argument("--year", type=int, help="of dates without one (the year of the newest dated row)")
    parser.add_argument("--max-rejected-share", type=float, default=MAX_REJECTED_SHARE, help="(%(default)s)")
    arguments = parser.parse_args()
    try:
        ingest(
            arguments.raw,
            arguments.database,
            year=arguments.year,
            max_rejected_share=arguments.max_rejected_share,
        )
    except UserError as error:
        sys.exit(f"components.ingest: {error}")


if __name__ == "__main__":
    main()
