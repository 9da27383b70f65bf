"""`recsys clean`: remove what has expired, as the pipelines do when a run ends."""

from __future__ import annotations

import argparse
from dataclasses import fields

from commands import print_table
from steam_recsys.errors import UserError
from steam_recsys.retention import MIN_DAYS, Retention, clean_local, clean_store, describe, format_size

_KEPT = {
    "journal_days": "journals of runs in the store",
    "prediction_days": "predictions in the store that were not published",
    "model_days": "models in the store that never were champion",
    "record_days": "rows of recsys.pipeline_runs and recsys.monitoring",
    "event_days": "rows of recsys.events",
    "local_days": "artifacts and logs of local runs",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = (
        f"Whatever was written to in the last {MIN_DAYS} days stays, as a run may use it. Temporary folders of local "
        f"runs that were killed are removed too."
    )
    parser.add_argument("--store", required=True, help="the store, a folder, gs://… or s3://…")
    parser.add_argument("--database", default="env:DATABASE_URL", help="reference to the database's URL (%(default)s)")
    parser.add_argument("--local", default="local", help="folder of local runs (%(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="only show what would be removed")
    for setting in fields(Retention):
        parser.add_argument(
            f"--{setting.name.replace('_', '-')}",
            type=_days,
            default=setting.default,
            help=f"days to keep {_KEPT[setting.name]} (%(default)s)",
        )


def run(arguments: argparse.Namespace) -> None:
    """Remove what has expired and print it, with sizes."""
    try:
        retention = Retention(**{setting.name: getattr(arguments, setting.name) for setting in fields(Retention)})
    except ValueError as error:
        raise UserError(f"{error}: give other numbers of days.") from None
    removed = clean_store(arguments.store, arguments.database, retention, dry_run=arguments.dry_run)
    removed += clean_local(arguments.local, retention, dry_run=arguments.dry_run)
    if not removed:
        print("Nothing has expired.")
    else:
        written = [f"{each.written_at:%Y-%m-%d %H:%M %Z}" if each.written_at else "" for each in removed]
        rows = [(each.name, format_size(each.bytes), time) for each, time in zip(removed, written, strict=True)]
        print_table([("", "size", "last written"), *rows])
        print(f"{'Would remove' if arguments.dry_run else 'Removed'} {describe(removed)}.")


def _days(text: str) -> int:
    if not text.isdecimal() or int(text) < MIN_DAYS:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of days from {MIN_DAYS}")
    return int(text)
