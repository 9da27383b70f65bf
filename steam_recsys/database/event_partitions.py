"""The partitions of `recsys.events`, one per week: made before they are needed, and dropped when their events expire.

No event is refused if none is made for a while: it goes to the default partition, from which it expires as well. Making
and dropping a partition waits a tenth of a second for its locks, so that no page of the shop waits for longer. It takes
milliseconds; five seconds at most, if the default partition has millions of events. If that is too short, the next run
tries again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import psycopg2
from psycopg2 import sql

from steam_recsys.database.connection import Connection, Cursor, connect
from steam_recsys.logging import log

WEEKS_AHEAD = 8
"""Weeks after the current one that have partitions. If no run succeeds for longer, events go to the default one."""

LOCK_TIMEOUT_MS, STATEMENT_TIMEOUT_MS = 100, 5_000

_WEEK = timedelta(days=7)
_NAME = re.compile(r"events_(\d{4})(\d\d)(\d\d)")

_LIST = """
SELECT relname, pg_total_relation_size(oid), pg_relation_size(oid) > 0
FROM pg_class JOIN pg_inherits ON inhrelid = oid WHERE inhparent = 'recsys.events'::regclass ORDER BY relname
"""

# A partition that is created apart and then attached does not keep others from recording events meanwhile.
_CREATE = """
CREATE TABLE {partition} (LIKE recsys.events);
ALTER TABLE recsys.events ATTACH PARTITION {partition} FOR VALUES FROM ({first}) TO ({end});
"""


@dataclass(frozen=True)
class EventPartition:
    """A week's partition.

    Attributes:
        name: Name of its table in the schema `recsys`.
        monday: The first day of the week, which begins and ends at midnight UTC.
        bytes: Size of the table.
        has_events: Whether it has any.
    """

    name: str
    monday: date
    bytes: int
    has_events: bool

    @property
    def end(self) -> datetime:
        """The end of the week."""
        return _midnight(self.monday + _WEEK)


def make_event_partitions(database: str) -> None:
    """Make the partitions of this week and of the `WEEKS_AHEAD` next ones that do not exist.

    Args:
        database: Reference to the URL of a database that has the schema `recsys`.
    """
    with connect(database, application="steam-recsys events") as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT (clock_timestamp() AT TIME ZONE 'UTC')::date")
            ((today,),) = cursor.fetchall()
            existing = {partition.monday for partition in list_event_partitions(cursor)}
        connection.commit()
        this_week = today - timedelta(days=today.weekday())
        for monday in (this_week + week * _WEEK for week in range(WEEKS_AHEAD + 1)):
            if monday not in existing:
                _make(connection, monday)


def list_event_partitions(cursor: Cursor) -> list[EventPartition]:
    """Return the partitions of weeks, the oldest first, without the default one."""
    cursor.execute(_LIST)
    return [
        EventPartition(name, date(*map(int, found.groups())), size, has_events)
        for name, size, has_events in cursor.fetchall()
        if (found := _NAME.fullmatch(name))
    ]


def expired_partitions(cursor: Cursor, days: int) -> Iterator[EventPartition]:
    """Yield the partitions whose events are all older than a number of days, the oldest first."""
    cursor.execute("SELECT clock_timestamp() - make_interval(days => %s)", [days])
    ((oldest,),) = cursor.fetchall()
    yield from (partition for partition in list_event_partitions(cursor) if partition.end <= oldest)


def drop_event_partition(cursor: Cursor, partition: EventPartition) -> bool:
    """Drop a partition, unless a transaction uses it; whether it was dropped."""
    cursor.execute("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")
    (before,) = cursor.fetchall()
    cursor.execute("SAVEPOINT partition")
    try:
        _set_timeouts(cursor, f"{LOCK_TIMEOUT_MS}ms", f"{STATEMENT_TIMEOUT_MS}ms")
        cursor.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier("recsys", partition.name)))
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled):
        cursor.execute("ROLLBACK TO partition")
        log("clean", f"recsys.{partition.name} is kept, as a transaction reads recsys.events: the next run drops it")
        return False
    _set_timeouts(cursor, *before)
    return True


def _make(connection: Connection, monday: date) -> None:
    name = f"events_{monday:%Y%m%d}"
    statement = sql.SQL(_CREATE).format(
        partition=sql.Identifier("recsys", name),
        first=sql.Literal(_midnight(monday).isoformat()),
        end=sql.Literal(_midnight(monday + _WEEK).isoformat()),
    )
    try:
        with connection.cursor() as cursor:
            _set_timeouts(cursor, f"{LOCK_TIMEOUT_MS}ms", f"{STATEMENT_TIMEOUT_MS}ms")
            cursor.execute(statement)
        connection.commit()
    except psycopg2.errors.DuplicateTable:  # another run has just made it
        connection.rollback()
    except psycopg2.errors.CheckViolation:
        connection.rollback()
        log("monitor", f"events of the week of {monday} stay in recsys.events_default, where the first of them are")
    except psycopg2.errors.LockNotAvailable:
        connection.rollback()
        log("monitor", f"recsys.{name} is not made, as a transaction uses recsys.events: the next run makes it")
    except psycopg2.errors.QueryCanceled:  # attaching a partition reads all events of the default one
        connection.rollback()
        log(
            "monitor",
            f"recsys.{name} is not made, as reading recsys.events_default takes too long: delete old events from it",
        )


def _set_timeouts(cursor: Cursor, lock: str, statement: str) -> None:
    """Set the transaction's time limits."""
    cursor.execute(
        "SELECT set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true)", [lock, statement]
    )


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)
