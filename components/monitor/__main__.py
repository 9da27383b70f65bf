"""`python -m components.monitor freshness`: for cron and for Kubernetes' probes, which go by the exit code."""

import argparse
import math
import sys
import traceback

from components.monitor.freshness import MAX_AGE_HOURS, check_freshness
from components.notify.alerts import Alert, post
from steam_recsys.errors import UserError

FRESH, STALE, UNKNOWN = 0, 1, 2


def main() -> None:
    """Read the command line, check, say so, and exit: 0 where all is fresh, 1 where not, 2 where it cannot tell."""
    parser = argparse.ArgumentParser(prog="python -m components.monitor", description="Is all as it should be?")
    commands = parser.add_subparsers(required=True)
    freshness = commands.add_parser("freshness", help="whether an inference run has succeeded of late")
    freshness.add_argument("--database", default="env:DATABASE_URL", help="reference to its URL (%(default)s)")
    freshness.add_argument("--max-age-hours", type=_hours, default=MAX_AGE_HOURS, help="(%(default)s)")
    freshness.add_argument("--alerts", help="reference to a webhook's URL, for what is not fresh")
    arguments = parser.parse_args()
    try:
        found = check_freshness(arguments.database, arguments.max_age_hours)
        code, sentence = FRESH if found.fresh else STALE, found.sentence
    except UserError as error:
        code, sentence = UNKNOWN, str(error)
    except Exception as error:  # Python would end with 1, which says that it is stale
        traceback.print_exc()
        code, sentence = UNKNOWN, f"The check itself failed ({type(error).__name__}): see what it says above."
    print(sentence, file=sys.stderr if code else sys.stdout)
    if code and arguments.alerts:
        post(arguments.alerts, Alert("Recommendations may be stale", (sentence,)))
    sys.exit(code)


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = math.nan
    if not 0 < hours < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of hours above 0")
    return hours


if __name__ == "__main__":
    main()
