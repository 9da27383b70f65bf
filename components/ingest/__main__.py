"""`python -m components.ingest`: load raw files without a pipeline."""

import argparse
import sys

from components.ingest.ingestion import MAX_REJECTED_SHARE, ingest
from components.ingest.raw_files import STEAM_REVIEWS
from steam_recsys.errors import UserError


def main() -> None:
    """Read the command line and ingest."""
    parser = argparse.ArgumentParser(
        prog="python -m components.ingest", description="Load raw CSV files into PostgreSQL."
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--raw", metavar="FOLDER", help="folder with the raw files")
    source.add_argument(
        "--from-huggingface", dest="raw", action="store_const", const=STEAM_REVIEWS, help=f"the set {STEAM_REVIEWS}"
    )
    parser.add_argument("--database", default="env:DATABASE_URL", help="reference to its URL (default: %(default)s)")
    parser.add_argument("--year", type=int, help="year of dates without one (default: the year of the newest date)")
    parser.add_argument(
        "--max-rejected-share",
        type=float,
        default=MAX_REJECTED_SHARE,
        help="allowed share of unreadable rows (default: %(default)s)",
    )
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
