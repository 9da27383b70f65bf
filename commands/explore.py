"""`recsys explore`: serve recommendations as pages and as a JSON API."""

from __future__ import annotations

import argparse
import os

from explorer.__main__ import main as serve


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the help about settings; there are no options."""
    parser.epilog = (
        "Settings are environment variables: EXPLORER_DATABASE_URL (by default DATABASE_URL), EXPLORER_STORE, "
        "EXPLORER_PORT and more, see docs/explorer.md. `make explore` sets them for the demo."
    )


def run(arguments: argparse.Namespace) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    if "DATABASE_URL" in os.environ:
        os.environ.setdefault("EXPLORER_DATABASE_URL", os.environ["DATABASE_URL"])
    serve()
