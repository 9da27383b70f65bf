"""`python -m components.reverse_etl`: look at the published versions and go back to one, without a pipeline."""

import argparse
import sys

from steam_recsys.errors import UserError
from steam_recsys.publications.destinations import PUBLISH_TO, DestinationConfig
from steam_recsys.publications.rollback import kept_versions, reconcile, rollback


def main() -> None:
    """Read the command line, and list the versions, roll back or reconcile."""
    parser = argparse.ArgumentParser(prog="python -m components.reverse_etl", description="Published versions.")
    commands = parser.add_subparsers(dest="command", required=True)
    back = commands.add_parser("rollback", help="make a kept version current again")
    back.add_argument("--version", help="(the one before the current)")
    listing = commands.add_parser("list", help="list the kept versions")
    again = commands.add_parser("reconcile", help="bring MongoDB to the version that PostgreSQL shows")
    for command in (back, listing, again):
        command.add_argument("--database", default="env:DATABASE_URL", help="reference to its URL (%(default)s)")
        command.add_argument("--mongodb", default="env:MONGODB_URL", help="reference to its URL (%(default)s)")
    for command in (back, listing):
        command.add_argument(
            "--publish-to", default="postgresql", choices=PUBLISH_TO, help="where versions are published (%(default)s)"
        )
    again.set_defaults(publish_to="both")
    arguments = parser.parse_args()
    places = DestinationConfig(arguments.database, arguments.publish_to, arguments.mongodb)
    try:
        if arguments.command == "rollback":
            print(f"{rollback(places, arguments.version)} is current.")
        elif arguments.command == "reconcile":
            print(f"{reconcile(places) or 'No version'} is current.")
        else:
            _print_versions(places)
    except UserError as error:
        sys.exit(f"components.reverse_etl: {error}")


def _print_versions(places: DestinationConfig) -> None:
    rows = [("", "version", "model", "snapshot", "users", "rows", "as of", "published", "in")]
    for destination, versions in kept_versions(places).items():
        for kept in versions:
            published = f"{kept.published_at:%Y-%m-%d %H:%M:%S %Z}"
            mark = "*" if kept.current else ""
            made = (kept.version, kept.model_version, kept.snapshot_id)
            rows.append((mark, *made, f"{kept.users:,}", f"{kept.rows:,}", str(kept.as_of), published, destination))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
