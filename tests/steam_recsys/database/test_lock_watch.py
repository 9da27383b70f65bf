"""Naming the sessions that keep others waiting."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from components.ingest import ingestion
from steam_recsys.database import lock_watch
from steam_recsys.database.connection import connect, create_schema
from steam_recsys.database.failures import UnavailableError
from steam_recsys.database.limits import Limits
from steam_recsys.database.lock_watch import LockWatch, describe_blockers
from steam_recsys.errors import UserError
from tests.raw_files import review, write_raw

NAMED = r"held by process {pid} \(night report, user steam, since \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d UTC\)"


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_watch, "LOOK_SECONDS", 0.02)


@pytest.fixture
def blocker(shop: Connection) -> Iterator[Connection]:
    """Another client in a transaction."""
    connection = psycopg2.connect(os.environ["DATABASE_URL"], application_name="night report")
    yield connection
    connection.close()


@pytest.mark.parametrize(
    ("taken", "wanted"),
    [
        ("LOCK TABLE steam.users", "SELECT FROM steam.users"),
        ("INSERT INTO steam.users (username) VALUES ('ann')", "INSERT INTO steam.users (username) VALUES ('ann')"),
        ("SELECT FROM steam.schema_version FOR UPDATE", "SELECT FROM steam.schema_version FOR UPDATE"),
        ("SELECT pg_advisory_lock(1)", "SELECT pg_advisory_xact_lock(1)"),
    ],
    ids=["table", "key", "row", "advisory"],
)
def test_a_wait_ends_and_names_who_holds_the_lock(
    blocker: Connection, database: str, capsys: pytest.CaptureFixture[str], taken: str, wanted: str
) -> None:
    blocker.cursor().execute(taken)
    expected = NAMED.format(pid=blocker.info.backend_pid)
    with (
        pytest.raises(UnavailableError, match=f"waiting too long for a lock \\({expected}\\): end the transaction"),
        connect(database, limits=Limits(lock=3)) as waiting,
        waiting.cursor() as cursor,
    ):
        cursor.execute(wanted)
    assert (
        f"[database] waiting for a lock that is held by process {blocker.info.backend_pid}" in capsys.readouterr().out
    )


def test_a_statement_that_is_cancelled_while_it_waits_names_the_holder(blocker: Connection, database: str) -> None:
    blocker.cursor().execute("LOCK TABLE steam.users")
    expected = NAMED.format(pid=blocker.info.backend_pid)
    with (
        pytest.raises(UnavailableError, match=f"cancelled a statement \\(it waited for a lock that is {expected}\\)"),
        connect(database, limits=Limits(statement=3)) as waiting,
        waiting.cursor() as cursor,
    ):
        cursor.execute("SELECT FROM steam.users")


def test_a_wait_that_ends_well_is_forgotten(blocker: Connection) -> None:
    blocker.cursor().execute("LOCK TABLE steam.users")
    seen: list[str] = []

    def release(blockers: str) -> None:
        seen.append(blockers)
        blocker.rollback()

    waiting = psycopg2.connect(os.environ["DATABASE_URL"], application_name="waiting")
    with LockWatch(os.environ["DATABASE_URL"], waiting, "waiting", announce=release) as watch:
        waiting.cursor().execute("SELECT FROM steam.users")
        deadline = time.monotonic() + 60
        while watch.blockers:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    waiting.close()
    assert [each.partition(",")[0] for each in seen] == [f"process {blocker.info.backend_pid} (night report"]


@pytest.mark.parametrize("lock", ["steam-recsys:ingest", "steam-recsys:steam"])
def test_a_load_that_waits_for_an_advisory_lock_gives_up_and_names_its_holder(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    monkeypatch.setattr(ingestion, "LOAD_PATIENCE", "3s")
    monkeypatch.setattr(ingestion, "LONG_STATEMENTS", Limits(lock=3))
    blocker = psycopg2.connect(os.environ["DATABASE_URL"], application_name="night report")
    blocker.cursor().execute("SELECT pg_advisory_lock(hashtext(%s))", [lock])
    with pytest.raises(UserError, match=NAMED.format(pid=blocker.info.backend_pid)):
        ingestion.ingest(write_raw(tmp_path / "raw", [review("Portal", "ann")]), database)
    blocker.close()
    assert ingestion.ingest(write_raw(tmp_path / "raw", [review("Portal", "ann")]), database).inserted == 1


def test_an_existing_schema_is_not_waited_for(blocker: Connection, database: str) -> None:
    blocker.cursor().execute("SELECT pg_advisory_lock(hashtext('steam-recsys:steam'))")
    with connect(database, limits=Limits(lock=1)) as inside:
        create_schema(inside, "steam")


def test_blockers_are_described_by_what_is_known_of_them() -> None:
    assert describe_blockers([]) == ""
    assert describe_blockers([(0, None, None, None)]) == "a prepared transaction, listed in pg_prepared_xacts"
    assert describe_blockers([(7, None, "ann", None)]) == "process 7 (an application without a name, user ann)"
    many = [(pid, "psql", "ann", None) for pid in range(1, 6)]
    assert describe_blockers(many).endswith("process 3 (psql, user ann) and 2 more")
