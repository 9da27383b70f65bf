"""`python -m components.evaluate`: look at the champion and go back to an earlier one, without a pipeline."""

import argparse
import sys

from components.evaluate.promotion import roll_back
from steam_recsys.errors import UserError
from steam_recsys.storage.model_store import champion


def main() -> None:
    """Read the command line, and show the champion or go back to an earlier one."""
    parser = argparse.ArgumentParser(prog="python -m components.evaluate", description="The champion.")
    commands = parser.add_subparsers(dest="command", required=True)
    showing = commands.add_parser("champion", help="show the champion and the one before it")
    back = commands.add_parser("rollback", help="make an earlier model the champion again")
    for command in (showing, back):
        command.add_argument("--store", required=True, help="the store with the models, a folder or gs://…")
    back.add_argument("--version", help="the model (the champion before the present one)")
    back.add_argument("--expected", help="only where this is the champion now")
    back.add_argument("--registry", default="", help="where champions are registered too, vertex://PROJECT/LOCATION")
    arguments = parser.parse_args()
    try:
        if arguments.command == "rollback":
            now = roll_back(arguments.store, arguments.version, arguments.registry, arguments.expected)
            print(f"{now} is the champion.")
        else:
            shown = champion(arguments.store)
            before = shown.previous or "none"
            print(f"{shown.version} is the champion since {shown.promoted_at}, before it {before} was.")
    except UserError as error:
        sys.exit(f"components.evaluate: {error}")


if __name__ == "__main__":
    main()
