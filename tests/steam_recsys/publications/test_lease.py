"""The publishers' lease: waiting, expiry, taking over, and what a publisher that lost it can still do."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
from psycopg2.extensions import connection as Connection

from steam_recsys.database.connection import connect, create_schema
from steam_recsys.errors import UserError
from steam_recsys.logging import set_run
from steam_recsys.publications import lease as module
from steam_recsys.publications.destinations import DestinationConfig, Destinations
from steam_recsys.publications.lease import Lease, publishing_lease
from steam_recsys.publications.loading import Loader
from steam_recsys.publications.mongo import MongoDestination
from steam_recsys.publications.postgres import PostgresDestination
from tests.components.reverse_etl.predicted import marked, publish_version
from tests.components.reverse_etl.test_publication import kept, shown, tables, tables_of
from tests.steam_recsys.publications.test_mongo import Mongo, collections, shown_in_mongo


@pytest.fixture
def leased(shop: Connection) -> Connection:
    """A connection to a shop whose schema recsys exists."""
    create_schema(shop, "recsys")
    return shop


def take_over(connection: Connection, holder: str = "the other") -> None:
    """Take the lease as if its holder had not been heard of."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE recsys.lease SET fencing = fencing + 1, holder = %s, acquired_at = clock_timestamp(), "
            "expires_at = clock_timestamp() + interval '1 hour' WHERE name = 'publish'",
            [holder],
        )


def expire(connection: Connection) -> None:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE recsys.lease SET expires_at = clock_timestamp()")


def test_a_waiting_publication_names_the_holder_and_gives_up(
    leased: Connection, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    set_run("run-7")
    try:
        with publishing_lease(database, "v1"):
            holder = rf"version v1, run run-7, process {os.getpid()} on \S+, code \w+, since \d{{4}}-.* UTC"
            with (
                pytest.raises(UserError, match=rf"^Another publication did not end within 0 minutes \({holder}\):"),
                publishing_lease(database, "v2"),
            ):
                pass
    finally:
        set_run("")
    with publishing_lease(database, "v2") as second:
        assert second.fencing == 2


def test_a_waiting_publication_logs_the_holder_once_and_goes_on(
    leased: Connection, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    take_over(leased, "the nightly run")
    waits = iter(range(3))

    def wait(seconds: float) -> None:
        if next(waits) == 2:
            expire(leased)

    monkeypatch.setattr(module.time, "sleep", wait)
    with publishing_lease(database, "v2") as lease:
        assert lease.fencing == 2
    printed = capsys.readouterr().out
    assert printed.count("waiting for another publication: the nightly run, since ") == 1


def test_the_holder_renews_its_lease_by_the_databases_clock(
    leased: Connection, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.01)
    with publishing_lease(database, "v1"), leased.cursor() as cursor:
        cursor.execute("SELECT expires_at FROM recsys.lease WHERE name = 'publish'")
        (first,) = cursor.fetchone()
        later, deadline = first, time.monotonic() + 60
        while later <= first:
            assert time.monotonic() < deadline
            cursor.execute("SELECT expires_at FROM recsys.lease WHERE name = 'publish'")
            (later,) = cursor.fetchone()
    with leased.cursor() as cursor:
        cursor.execute("SELECT expires_at <= clock_timestamp() FROM recsys.lease WHERE name = 'publish'")
        assert cursor.fetchone() == (True,)


def test_a_lease_is_granted_to_one_of_many(leased: Connection, database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    inside, most = 0, []
    lock = threading.Lock()

    def publish(number: int) -> int:
        nonlocal inside
        with publishing_lease(database, f"v{number}") as lease:
            with lock:
                inside += 1
                most.append(inside)
            with lock:
                inside -= 1
            return lease.fencing

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(publish, range(6))) == list(range(1, 7))
    assert max(most) == 1


def test_a_failed_renewal_is_tried_again(
    leased: Connection, database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "RENEW_SECONDS", 0.01)
    renew, failures, done = Lease.renew, iter([True, True]), threading.Event()

    def fail_twice(lease: Lease, seconds: float) -> bool:
        if next(failures, False):
            raise UserError("The database in DATABASE_URL cannot be reached.")
        done.set()
        return renew(lease, seconds)

    monkeypatch.setattr(Lease, "renew", fail_twice)
    with publishing_lease(database, "v1"):
        assert done.wait(60)
    assert capsys.readouterr().out.count("the lease cannot be renewed now, trying again") == 1


def test_a_check_keeps_others_from_taking_over_until_its_transaction_ends(leased: Connection, database: str) -> None:
    with publishing_lease(database, "v1") as lease:
        with connect(database) as connection, connection.cursor() as cursor:
            lease.check(cursor)
            with leased.cursor() as other:
                other.execute("SET lock_timeout = '50ms'")
                with pytest.raises(psycopg2.errors.LockNotAvailable):
                    take_over(leased)
        take_over(leased)
        with (
            pytest.raises(UserError, match=r"another one has taken over \(the other, since .* UTC\): let that one end"),
            lease.held(),
        ):
            pass
        assert not lease.renew(30)


Moment = Callable[[pytest.MonkeyPatch, Callable[[], None]], None]


def before(owner: type, name: str) -> Moment:
    """Run something before a method."""

    def arrange(patch: pytest.MonkeyPatch, event: Callable[[], None]) -> None:
        method, pending = getattr(owner, name), [event]

        def struck(*arguments: Any, **named: Any) -> Any:
            if pending:
                pending.pop()()
            return method(*arguments, **named)

        patch.setattr(owner, name, struck)

    return arrange


def in_the_load(patch: pytest.MonkeyPatch, event: Callable[[], None]) -> None:
    batches, pending = Loader.batches, [event]

    def struck(*arguments: Any) -> Any:
        for batch in batches(*arguments):
            assert isinstance(batch, pa.RecordBatch)
            yield batch
            if pending:
                pending.pop()()

    patch.setattr(Loader, "batches", struck)


@pytest.mark.parametrize(
    "moment",
    [
        before(PostgresDestination, "load"),
        in_the_load,
        before(Destinations, "switch"),
        before(PostgresDestination, "_begin_switch"),
        before(PostgresDestination, "drop_unfinished"),
    ],
    ids=["registering", "loading", "switching", "in the switch", "cleaning up"],
)
def test_a_publisher_that_lost_its_lease_changes_nothing(
    leased: Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: Moment
) -> None:
    for number in (1, 2):
        publish_version(database, marked(tmp_path / str(number), leased, number, users=3), f"v{number}")
    before_it = kept(database)
    with monkeypatch.context() as patch:
        moment(patch, lambda: take_over(leased))
        with pytest.raises(UserError, match=r"another one has taken over \(the other, since .* UTC\)"):
            publish_version(database, marked(tmp_path / "3", leased, 3, users=3), "v3")
    assert (shown(leased), kept(database)) == (("v2", 2.0, 3), before_it)
    expire(leased)
    assert publish_version(database, marked(tmp_path / "4", leased, 4, users=3), "v4").switched
    assert tables(leased) == tables_of("v1", "v2", "v4")


def test_a_publisher_that_lost_its_lease_drops_no_old_version(
    leased: Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(1, 4):
        publish_version(database, marked(tmp_path / str(number), leased, number, users=2), f"v{number}")
    with monkeypatch.context() as patch:
        before(PostgresDestination, "drop")(patch, lambda: take_over(leased))
        with pytest.raises(UserError, match="another one has taken over"):
            publish_version(database, marked(tmp_path / "4", leased, 4, users=2), "v4")
    assert (shown(leased), tables(leased)) == (("v4", 4.0, 2), tables_of("v1", "v2", "v3", "v4"))


@pytest.mark.parametrize("name", ["load", "point_to", "drop"])
def test_mongodb_too_is_not_changed_without_the_lease(
    leased: Connection,
    mongodb: str,
    database: str,
    mongo: Mongo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    config = DestinationConfig(database, "mongodb", mongodb)
    for number in range(1, 4):
        publish_version(config, marked(tmp_path / str(number), leased, number, users=2), f"v{number}")
    owner = (Destinations, "switch") if name == "point_to" else (MongoDestination, name)
    with monkeypatch.context() as patch:
        before(*owner)(patch, lambda: take_over(leased))
        with pytest.raises(UserError, match="another one has taken over"):
            publish_version(config, marked(tmp_path / "4", leased, 4, users=2), "v4")
    assert shown_in_mongo(mongo) == (("v4", 4.0, 2) if name == "drop" else ("v3", 3.0, 2))
    assert tables_of("v1", "v2", "v3") <= collections(mongo)


def test_a_killed_publishers_lease_expires_and_the_next_run_cleans_up(
    leased: Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in tests/components/reverse_etl/test_kills.py, without waiting."""
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "renew", lambda lease, seconds: True)  # neither renewed nor released
        before(Destinations, "switch")(patch, lambda: (_ for _ in ()).throw(MemoryError))
        with pytest.raises(MemoryError):
            publish_version(database, marked(tmp_path / "1", leased, 1, users=2), "v1")
    assert tables(leased) == tables_of("v1")
    slept: list[float] = []
    monkeypatch.setattr(module.time, "sleep", lambda seconds: (slept.append(seconds), expire(leased)))
    assert publish_version(database, marked(tmp_path / "2", leased, 2, users=2), "v2").switched
    assert slept == [module.RETRY_SECONDS]
    assert tables(leased) == tables_of("v2")
