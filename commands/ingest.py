"""`recsys ingest`: load raw CSV files into PostgreSQL without a pipeline."""

from __future__ import annotations

import argparse

from components.ingest.ingestion import MAX_REJECTED_SHARE, ingest
from components.ingest.raw_files import STEAM_REVIEWS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--raw", metavar="PATH", help="a folder in the raw layout, a file with reviews, or an archive")
    source.add_argument(
        "--from-huggingface",
        dest="raw",
        action="store_const",
        const=STEAM_REVIEWS,
        help=f"the dataset {STEAM_REVIEWS} of Hugging Face",
    )
    parser.add_argument("--database", default="env:DATABASE_URL", help="reference to the database's URL (%(default)s)")
    parser.add_argument("--year", type=int, help="year of dates without one (that of the newest date)")
    parser.add_argument(
        "--columns",
        default="",
        metavar="COLUMN=NAME,…",
        help="names of columns in a reviews file that has others, as in date=timestamp_created,hours_played=minutes/60",
    )
    parser.add_argument(
        "--max-rejected-share",
        type=float,
        default=MAX_REJECTED_SHARE,
        help="share of rows that may be rejected (%(default)s)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Load the files."""
    ingest(
        arguments.raw,
        arguments.database,
        year=arguments.year,
        max_rejected_share=arguments.max_rejected_share,
        columns=arguments.columns,
    )
