"""Time limits, which each transaction sets for itself."""

import io
import os
import secrets
import subprocess
import sys

import psycopg2
import pytest
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from steam_recsys.database.connection import connect
from steam_recsys.database.limits import Limits, checks_clients
from tests.explorer.conftest import wait_until

SETTINGS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout", "transaction_timeout")
OWN = ["1min", "10min", "10min", "0"]


def read(cursor: Cursor) -> list[str]:
    found = []
    for name in SETTINGS:
        cursor.execute("SELECT current_setting(%s)", [name])
        found.append(cursor.fetchone()[0])
    return found


@pytest.fixture
def hasty(connection: Connection, database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A reference to the database for a role whose settings would end everything soon."""
    role = f"hasty_{secrets.token_hex(4)}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'p' SUPERUSER")
        for name in SETTINGS:
            cursor.execute(f"ALTER ROLE {role} SET {name} = '77ms'")
        cursor.execute(f"ALTER ROLE {role} SET default_transaction_isolation = 'serializable'")
    url = os.environ["DATABASE_URL"]
    monkeypatch.setenv("HASTY_URL", f"postgresql://{role}:p@{url.partition('@')[2]}")
    return "env:HASTY_URL"


def test_every_transaction_of_a_connection_has_its_own_limits(hasty: str) -> None:
    with connect(hasty) as inside, inside.cursor() as cursor:
        assert read(cursor) == OWN
        inside.commit()
        assert read(cursor) == OWN
        inside.rollback()
        cursor.copy_expert("COPY (SELECT) TO STDOUT", io.BytesIO())
        assert read(cursor) == OWN


def test_no_setting_outlives_its_transaction(hasty: str) -> None:
    with connect(hasty) as inside:
        with inside.cursor() as cursor:
            assert read(cursor) == OWN
        inside.commit()
        with Cursor(inside) as plain:
            assert read(plain) == ["77ms"] * 4


def test_statements_that_take_longer_than_the_roles_limits_end(hasty: str) -> None:
    with connect(hasty) as inside, inside.cursor() as cursor:
        for _ in range(2):
            cursor.execute("SELECT pg_sleep(0.3)")
        assert cursor.rowcount == 1


def test_a_snapshot_can_be_imported_after_the_limits(connection: Connection, hasty: str) -> None:
    with connect(hasty) as first, first.cursor() as cursor:
        first.set_session(isolation_level="REPEATABLE READ", readonly=True)
        cursor.execute("SELECT pg_export_snapshot()")
        (name,) = cursor.fetchone()
        with connect(hasty) as second, second.cursor() as other:
            second.set_session(isolation_level="REPEATABLE READ", readonly=True)
            other.execute("SET TRANSACTION SNAPSHOT %s", [name])
            assert read(other) == OWN


@pytest.mark.parametrize(("version", "has"), [(150018, False), (160002, False), (170000, True), (180006, True)])
def test_only_servers_that_know_a_setting_get_it(version: int, has: bool) -> None:
    assert ("transaction_timeout" in Limits().statements(version)) == has


@pytest.mark.parametrize(
    ("number", "platform", "has"),
    [
        (130022, "x86_64-pc-linux-gnu", False), (140000, "x86_64-pc-linux-gnu", True),
        (180006, "x86_64-windows", False),
    ],
)  # fmt: skip
def test_only_servers_that_can_notice_a_lost_client_are_asked_to(number: int, platform: str, has: bool) -> None:
    found = checks_clients(number, f"PostgreSQL {number // 10000} on {platform}, compiled by a compiler")
    assert found == has
    assert ("client_connection_check_interval" in Limits().statements(number, checks_clients=found)) == has


DOOMED = """
from steam_recsys.database.connection import connect

with connect("env:DATABASE_URL", application="doomed") as inside, inside.cursor() as cursor:
    cursor.execute("SELECT pg_sleep(300)")
"""


def test_a_statement_ends_soon_after_its_process_is_killed(connection: Connection, database: str) -> None:
    def running() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'doomed' AND state = 'active' "
                "AND query LIKE '%pg_sleep%'"
            )
            return cursor.fetchone() == (1,)

    with subprocess.Popen([sys.executable, "-c", DOOMED]) as doomed:
        wait_until(running)
        doomed.kill()
    wait_until(lambda: not running())


def test_a_named_limit_is_set(database: str) -> None:
    with connect(database, limits=Limits(lock=1, statement=2, idle=3)) as inside, inside.cursor() as cursor:
        assert read(cursor) == ["1s", "2s", "3s", "0"]


def test_connections_need_no_startup_options(database: str) -> None:
    with connect(database) as inside, inside.cursor() as cursor:
        cursor.execute("SELECT name FROM pg_settings WHERE source = 'client' ORDER BY name")
        assert {name for (name,) in cursor.fetchall()} <= {"application_name", "client_encoding"}


def test_the_settings_exist_on_the_server(connection: Connection) -> None:
    assert isinstance(connection, psycopg2.extensions.connection)
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("BEGIN; {}; ROLLBACK").format(sql.SQL(Limits().statements(connection.server_version))))
