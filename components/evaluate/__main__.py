"""`python -m components.evaluate`: look at the champion and go back to an earlier one, without a pipeline."""

import argparse
import sys

from components.evaluate.promotion import roll_back
from components.shared.errors import UserError
from components.shared.model_store import champion


def main() -> None:
    """Read the command line, and show the champion or go back to an earlier one."""
    parser = argparse.ArgumentParser(prog="python -m components.evaluate", description="The champion.")
    commands = parser.add_subparsers(dest="command", required=True)
    shown = commands.add_parser("champion", help="show the champion and the one before it")
    back = commands.add_parser("rollback", help="make an earlier model the champion again")
    for command in (shown, back):
        command.add_argument("--store", required=True, help="the store with the models, a folder or gs://…")
    back.add_argument("--version", help="the model (the champion before the present one)")
    back.add_argument("--registry", default="", help="where champions are registered too, vertex://PROJECT/LOCATION")
    arguments = parser.parse_args()
    try:
        if arguments.command == "rollback":
            print(f"{roll_back(arguments.store, arguments.version, arguments.registry)} is the champion.")
        else:
            now = champion(arguments.store)
            print(f"{now.version} is the champion since {now.promoted_at}, before it {now.previous or 'none'} was.")
    except UserError as error:
        sys.exit(f"components.evaluate: {error}")


if __name__ == "__main__":
    main()
