"""`recsys freshness`: for cron and for Kubernetes' probes, which read the exit code."""

from __future__ import annotations

import argparse
import math
import sys

from components.monitor.freshness import check_freshness
from steam_recsys.errors import UserError
from steam_recsys.publications.versions import MAX_AGE_HOURS
from steam_recsys.secrets import mask

FRESH, STALE, UNKNOWN = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = "The exit code is 0 if recommendations are fresh, 1 if they are stale, 2 if the check failed."
    parser.add_argument("--database", default="env:DATABASE_URL", help="reference to the database's URL (%(default)s)")
    parser.add_argument(
        "--max-age-hours",
        type=_hours,
        default=MAX_AGE_HOURS,
        help="age in hours up to which recommendations are fresh (%(default)s)",
    )
    parser.add_argument(
        "--pipeline",
        default="inference",
        choices=("inference", "refresh"),
        help="the pipeline whose last success counts (%(default)s)",
    )
    parser.add_argument(
        "--alerts", help="reference to the URL of a webhook for an alert if recommendations are not fresh"
    )


def run(arguments: argparse.Namespace) -> None:
    """Check, print a sentence, post an alert if recommendations are not fresh, and exit."""
    try:
        found = check_freshness(arguments.database, arguments.max_age_hours, arguments.pipeline)
        code, sentence = FRESH if found.fresh else STALE, found.sentence
    except UserError as error:
        code, sentence = UNKNOWN, str(error)
    except Exception as error:  # Python would exit with 1, which means stale
        sys.excepthook(type(error), error, error.__traceback__)
        code, sentence = UNKNOWN, f"The check itself failed ({type(error).__name__}): see the traceback above."
    print(mask(sentence), file=sys.stderr if code else sys.stdout)
    if code and arguments.alerts:
        from components.notify.alerts import Alert, post

        post(arguments.alerts, Alert("Recommendations may be stale", (sentence,)))
    sys.exit(code)


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number of hours above 0")
    return hours
