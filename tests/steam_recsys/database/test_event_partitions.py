"""The partitions of `recsys.events` in a real PostgreSQL."""

import os
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from steam_recsys.database.connection import connect, create_schema
from steam_recsys.database.event_partitions import (
    WEEKS_AHEAD,
    drop_event_partition,
    list_event_partitions,
    make_event_partitions,
)
from steam_recsys.retention import Retention, clean_store


@pytest.fixture
def recorded(connection: Connection) -> Connection:
    create_schema(connection, "recsys")
    return connection


def partitions(connection: Connection) -> list[str]:
    with connection.cursor() as cursor:
        return [partition.name for partition in list_event_partitions(cursor)]


def record(connection: Connection, at: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO recsys.events VALUES (%s, 1, 1, 'shown', 'v', '')", [at])


def counts(connection: Connection) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text, count(*) FROM recsys.events GROUP BY 1")
        return dict(cursor.fetchall())


def test_the_partitions_of_the_next_weeks_are_made_once(recorded: Connection, database: str) -> None:
    make_event_partitions(database)
    made = partitions(recorded)
    assert len(made) == 1 + WEEKS_AHEAD
    make_event_partitions(database)
    assert partitions(recorded) == made
    today = datetime.now(UTC)
    for days in (0, 7 * WEEKS_AHEAD - 7, 7 * WEEKS_AHEAD + 7):
        record(recorded, today + timedelta(days=days))
    assert counts(recorded) == {f"recsys.{made[0]}": 1, f"recsys.{made[-2]}": 1, "recsys.events_default": 1}


def test_events_without_a_partition_are_kept_and_expire(recorded: Connection, database: str, store: str) -> None:
    today = datetime.now(UTC)
    record(recorded, today)
    record(recorded, today - timedelta(days=100))
    make_event_partitions(database)  # not that of this week, whose first event is in the default one
    assert len(partitions(recorded)) == WEEKS_AHEAD
    assert [each.name for each in clean_store(store, database, Retention(event_days=99))] == [
        "1 rows of recsys.events_default"
    ]
    assert counts(recorded) == {"recsys.events_default": 1}


def test_old_weeks_are_dropped_unless_they_are_read(recorded: Connection, database: str, store: str) -> None:
    today = datetime.now(UTC)
    monday = (today - timedelta(days=today.weekday() + 7 * 9)).date()
    with recorded.cursor() as cursor:
        for week in range(2):
            first = monday + timedelta(days=7 * week)
            cursor.execute(
                f"CREATE TABLE recsys.events_{first:%Y%m%d} PARTITION OF recsys.events "
                f"FOR VALUES FROM ('{first} 00:00+00') TO ('{first + timedelta(days=7)} 00:00+00')"
            )
            record(recorded, datetime(first.year, first.month, first.day, tzinfo=UTC))
    old, kept = partitions(recorded)
    days = (today.date() - monday).days - 7
    reader = psycopg2.connect(os.environ["DATABASE_URL"])
    reader.cursor().execute("SELECT count(*) FROM recsys.events")
    assert clean_store(store, database, Retention(event_days=days)) == []
    reader.close()
    assert [each.name for each in clean_store(store, database, Retention(event_days=days), dry_run=True)] == [
        f"recsys.{old}"
    ]
    assert partitions(recorded) == [old, kept]
    assert [each.name for each in clean_store(store, database, Retention(event_days=days))] == [f"recsys.{old}"]
    assert partitions(recorded) == [kept]


def test_a_partition_is_made_by_a_later_run_if_a_transaction_uses_the_table(
    recorded: Connection, database: str
) -> None:
    record(recorded, datetime.now(UTC))
    reader = psycopg2.connect(os.environ["DATABASE_URL"])
    reader.cursor().execute("SELECT count(*) FROM recsys.events")
    make_event_partitions(database)
    assert partitions(recorded) == []
    reader.close()
    make_event_partitions(database)
    assert len(partitions(recorded)) == WEEKS_AHEAD


def test_dropping_a_partition_leaves_the_transactions_time_limits(recorded: Connection, database: str) -> None:
    make_event_partitions(database)
    with connect(database) as inside, inside.cursor() as cursor:
        assert drop_event_partition(cursor, list_event_partitions(cursor)[0])
        cursor.execute("SELECT current_setting('lock_timeout'), current_setting('statement_timeout')")
        assert cursor.fetchall() == [("1min", "10min")]
