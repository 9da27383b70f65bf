"""Freshness: whether recommendations are as young as they should be, for when no run is there to complain."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from steam_recsys.database.connection import connect, require_schema

MAX_AGE_HOURS = 26.0
"""A day, and two hours for the run itself."""

PATIENCE = "30s"
"""How long the database is waited for once it has taken the connection."""

_NEWEST = """
SELECT clock_timestamp() - max(finished_at) FROM recsys.pipeline_runs
WHERE pipeline = 'inference' AND state = 'SUCCEEDED'
"""


@dataclass(frozen=True)
class Freshness:
    """Whether recommendations are fresh, and a sentence that says so."""

    fresh: bool
    sentence: str


def check_freshness(database: str, max_age_hours: float = MAX_AGE_HOURS) -> Freshness:
    """How old the newest successful inference run is, by the database's clock.

    A run that finds nothing new publishes nothing, and its recommendations are fresh all the same: so runs count, and
    not publications.

    Args:
        database: a reference such as `env:DATABASE_URL`.
        max_age_hours: hours since its end up to which recommendations are fresh.

    Raises:
        UserError: the database cannot be reached or does not answer, or nothing was ever run on it.
    """
    with connect(database, application="steam-recsys freshness") as connection, connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [PATIENCE])
        require_schema(connection, "recsys")
        cursor.execute(_NEWEST)
        row = cursor.fetchone()
    return decide_freshness(row[0] if row else None, max_age_hours)


def decide_freshness(age: timedelta | None, max_age_hours: float) -> Freshness:
    """The same from the age of the newest successful inference run; None where there is none."""
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
