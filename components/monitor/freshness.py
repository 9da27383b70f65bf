"""Freshness: whether recommendations are recent, checked from outside because a missing run cannot raise an alert."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from steam_recsys.database.connection import connect, require_schema

MAX_AGE_HOURS = 26.0
"""A day, and two hours for the run itself."""

STATEMENT_TIMEOUT = "30s"

_AGE = """
SELECT clock_timestamp() - max(finished_at) FROM recsys.pipeline_runs
WHERE pipeline = 'inference' AND state = 'SUCCEEDED'
"""


@dataclass(frozen=True)
class Freshness:
    """Whether recommendations are fresh, and the same as a sentence."""

    fresh: bool
    sentence: str


def check_freshness(database: str, max_age_hours: float = MAX_AGE_HOURS) -> Freshness:
    """Check the age of the newest successful inference run by the database's clock.

    A run that finds nothing new publishes nothing, and the recommendations are fresh all the same. So runs count, not
    publications.

    Args:
        database: Reference to the database's URL, such as `env:DATABASE_URL`.
        max_age_hours: Hours since the end of the run until which recommendations are fresh.

    Raises:
        UserError: The database cannot be reached, does not answer in time, or has no schema `recsys`.
    """
    with connect(database, application="steam-recsys freshness") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [STATEMENT_TIMEOUT])
        require_schema(connection, "recsys")
        cursor.execute(_AGE)
        row = cursor.fetchone()
    return decide_freshness(row[0] if row else None, max_age_hours)


def decide_freshness(age: timedelta | None, max_age_hours: float) -> Freshness:
    """Decide from the age of the newest successful inference run; None if there is none."""
    if age is None:
        return Freshness(False, "No inference run has succeeded yet: run the inference pipeline.")
    hours = age / timedelta(hours=1)
    if hours > max_age_hours:
        return Freshness(
            False,
            f"The last inference run that succeeded ended {hours:.1f} hours ago, more than {max_age_hours:g}: look at "
            f"recsys.pipeline_runs and at the schedule.",
        )
    return Freshness(True, f"The last inference run succeeded {hours:.1f} hours ago.")
