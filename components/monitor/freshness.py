"""Freshness: whether recommendations are recent, checked from outside because a missing run cannot raise an alert."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from steam_recsys.database.connection import connect, require_schema
from steam_recsys.errors import UserError
from steam_recsys.publications.versions import MAX_AGE_HOURS

STATEMENT_TIMEOUT = "30s"

CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far the clock of a machine that records runs may be ahead of the database's."""

# The newest run, whose age may be negative; a run that ended at infinity, which no interval reaches, ends far ahead.
_NEWEST = """
SELECT run_id, clock_timestamp() - least(finished_at, clock_timestamp() + interval '100 years')
FROM recsys.pipeline_runs
WHERE pipeline = %s AND state = 'SUCCEEDED' AND finished_at > '-infinity'
ORDER BY finished_at DESC LIMIT 1
"""


@dataclass(frozen=True)
class Freshness:
    """Whether recommendations are fresh, and the same as a sentence."""

    fresh: bool
    sentence: str


def check_freshness(database: str, max_age_hours: float = MAX_AGE_HOURS, pipeline: str = "inference") -> Freshness:
    """Check the age of a pipeline's newest successful run by the database's clock.

    A run that finds nothing new publishes nothing, and the recommendations are fresh all the same. So runs count, not
    publications.

    Args:
        database: Reference to the database's URL, such as `env:DATABASE_URL`.
        max_age_hours: Hours since the end of the run until which recommendations are fresh.
        pipeline: `inference`, or `refresh` if that is scheduled too.

    Raises:
        UserError: The database cannot be reached, does not answer in time, or has no schema `recsys`; or the newest run
            is recorded as one that ends in the future, which would hide that no others succeed.
    """
    with connect(database, application="steam-recsys freshness") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [STATEMENT_TIMEOUT])
        require_schema(connection, "recsys")
        cursor.execute(_NEWEST, [pipeline])
        run, age = cursor.fetchone() or ("", None)
    return decide_freshness(run, age, max_age_hours, pipeline)


def decide_freshness(run: str, age: timedelta | None, max_age_hours: float, pipeline: str = "inference") -> Freshness:
    """Decide from a pipeline's newest successful run and its age; None if there is none.

    Raises:
        UserError: The run ended in the future.
    """
    if age is None:
        return Freshness(False, f"No {pipeline} run has succeeded yet: run the {pipeline} pipeline.")
    if age < -CLOCK_TOLERANCE:
        raise UserError(
            f"Whether recommendations are fresh is unknown, since the {pipeline} run {run} is recorded to end "
            f"{-age / timedelta(hours=1):,.1f} hours after now: correct the clock of the machine that recorded it, or "
            f"the database's, then finished_at of that run in recsys.pipeline_runs."
        )
    hours = max(age, timedelta(0)) / timedelta(hours=1)
    if hours > max_age_hours:
        return Freshness(
            False,
            f"The last {pipeline} run that succeeded ended {hours:.1f} hours ago, more than {max_age_hours:g}: look at "
            f"recsys.pipeline_runs and at the schedule.",
        )
    return Freshness(True, f"The last {pipeline} run succeeded {hours:.1f} hours ago.")
