"""`python -m components.reverse_etl`: look at the published versions and go back to one, without a pipeline."""

import argparse
import sys

from components.reverse_etl.publication import kept_versions, rollback
from components.shared.errors import UserError


def main() -> None:
    """Read the command line, and list the versions or roll back."""
    parser = argparse.ArgumentParser(prog="python -m components.reverse_etl", description="Published versions.")
    commands = parser.add_subparsers(dest="command", required=True)
    back = commands.add_parser("rollback", help="make a kept version current again")
    back.add_argument("--version", help="(the one before the current)")
    listing = commands.add_parser("list", help="list the kept versions")
    for command in (back, listing):
        command.add_argument("--database", default="env:DATABASE_URL", help="reference to its URL (%(default)s)")
    arguments = parser.parse_args()
    try:
        if arguments.command == "rollback":
            print(f"{rollback(arguments.database, arguments.version)} is current.")
        else:
            _print_versions(arguments.database)
    except UserError as error:
        sys.exit(f"components.reverse_etl: {error}")


def _print_versions(database: str) -> None:
    rows = [("", "version", "model", "snapshot", "users", "rows", "as of", "published")]
    for kept in kept_versions(database):
        published = f"{kept.published_at:%Y-%m-%d %H:%M:%S %Z}"
        mark = "*" if kept.current else ""
        counts = (f"{kept.users:,}", f"{kept.rows:,}")
        rows.append((mark, kept.version, kept.model_version, kept.snapshot_id, *counts, str(kept.as_of), published))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
