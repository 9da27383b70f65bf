"""`recsys publications`: list published versions, roll back, or reconcile MongoDB with PostgreSQL."""

from __future__ import annotations

import argparse

from commands import print_table
from steam_recsys.publications.destinations import PUBLISH_TO, DestinationConfig, kept_versions, reconcile, rollback


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands and their options."""
    commands = parser.add_subparsers(dest="action", required=True)
    listing = commands.add_parser("list", help="list the kept versions, the newest first")
    back = commands.add_parser("rollback", help="make a kept version current again")
    back.add_argument("--version", help="the version (the one before the current)")
    again = commands.add_parser("reconcile", help="bring MongoDB to the version that PostgreSQL shows")
    for command in (listing, back, again):
        command.add_argument(
            "--database", default="env:DATABASE_URL", help="reference to the URL of PostgreSQL (%(default)s)"
        )
        command.add_argument(
            "--mongodb", default="env:MONGODB_URL", help="reference to the URL of MongoDB (%(default)s)"
        )
    for command in (listing, back):
        command.add_argument(
            "--publish-to", default="postgresql", choices=PUBLISH_TO, help="where versions are published (%(default)s)"
        )
    again.set_defaults(publish_to="both")


def run(arguments: argparse.Namespace) -> None:
    """List, roll back or reconcile."""
    config = DestinationConfig(arguments.database, arguments.publish_to, arguments.mongodb)
    if arguments.action == "rollback":
        print(f"{rollback(config, arguments.version)} is current.")
    elif arguments.action == "reconcile":
        print(f"{reconcile(config) or 'No version'} is current.")
    else:
        _print_versions(config)


def _print_versions(config: DestinationConfig) -> None:
    rows = [("", "version", "model", "snapshot", "users", "rows", "overlap", "coverage", "popular ten", "as of",
             "published", "in")]  # fmt: skip
    for destination, versions in kept_versions(config).items():
        for kept in versions:
            published = f"{kept.published_at:%Y-%m-%d %H:%M:%S %Z}"
            mark = "*" if kept.current else ""
            sources = (kept.version, kept.model_version, kept.snapshot_id)
            sizes = (f"{kept.users:,}", f"{kept.rows:,}")
            shares = (_percentage(kept.overlap), _percentage(kept.coverage), _percentage(kept.popular_ten))
            rows.append((mark, *sources, *sizes, *shares, str(kept.as_of), published, destination))
    print_table(rows)


def _percentage(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"
