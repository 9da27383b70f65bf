"""The entry point of `recsys`, also as `python -m commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from steam_recsys.errors import UserError
from steam_recsys.logging import mask_output
from steam_recsys.secrets import mask

COMMANDS = {
    "ingest": "load raw CSV files into PostgreSQL",
    "publications": "list published versions, roll back, or reconcile MongoDB with PostgreSQL",
    "models": "list models, show the champion, or roll back to an earlier one",
    "refresh": "refresh the current publication from the reviews since, once or continuously",
    "freshness": "check that an inference run has succeeded recently",
    "clean": "remove what earlier runs left behind and is no longer needed",
    "explore": "serve recommendations as pages and as a JSON API",
    "user": "show a user's recommendations",
}
"""The sub-commands, each in the module of its name, with a line of help."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a sub-command. An error that the user can fix is printed as one sentence, with exit code 1.

    Args:
        arguments: The command line without the program's name; by default that of this process.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    mask_output()
    try:
        parsed = _parser(arguments).parse_args(arguments)
        parsed.run(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        try:
            print(flush=True)
        except BrokenPipeError:  # the reader of the output has ended, as `head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what is still buffered
            sys.exit(1)
        raise  # another connection
    except UserError as error:
        sys.exit(f"recsys: {mask(str(error))}")
    except ModuleNotFoundError as error:
        sys.exit(f"recsys: {arguments[0]} needs the Python module {error.name}, which is not installed: install it.")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """A parser that knows the options of the sub-command in use, and only the names of the others."""
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{width}}  {description}" for name, description in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="recsys",
        description=f"Work with a shop's recommendations.\n\ncommands:\n{listed}",
        epilog="recsys COMMAND --help shows a command's options. Pipelines are compiled and run by compile.py.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {_version()}")
    commands = parser.add_subparsers(title="arguments", metavar="COMMAND", help="one of these commands", required=True)
    for name, description in COMMANDS.items():
        command = commands.add_parser(name, description=f"{description[0].upper()}{description[1:]}.")
        if name in arguments[:1]:
            module = import_module(f"commands.{name}")
            command.set_defaults(run=module.run)
            module.add_arguments(command)
    return parser


def _version() -> str:
    try:
        return version("steam-recsys")
    except PackageNotFoundError:  # in an image, which has the sources only
        return "(not installed as a package)"


if __name__ == "__main__":
    main()
