"""Publication survives restarts, lost connections, full disks and clocks that disagree.

Each time readers keep a complete version, the error is one sentence, and a retry succeeds.
"""

import os
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pyarrow as pa
import pytest
from psycopg2.extensions import connection as Connection

from demo.postgres import EmbeddedPostgres
from steam_recsys.database.connection import create_schema
from steam_recsys.errors import UserError
from steam_recsys.publications.destinations import DestinationConfig, Destinations, rollback
from steam_recsys.publications.loading import Loader
from steam_recsys.publications.mongo import MongoDestination
from tests.components.reverse_etl.predicted import Row, marked, publish_version, write_predictions
from tests.components.reverse_etl.test_publication import kept, shown, tables, tables_of
from tests.shop import add_game
from tests.steam_recsys.publications.test_mongo import Mongo, shown_in_mongo

Fault = Callable[[], object]


class Server(EmbeddedPostgres):
    """A separate server that a test may damage."""

    def crash(self) -> None:
        """Restart at once on the same port, without waiting for clients."""
        self._run("pg_ctl", "-D", self.data, "-w", "-m", "immediate", "restart")

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement in the test's database over a new connection."""
        connection = psycopg2.connect(os.environ["DATABASE_URL"])
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory(prefix="steam-recsys-postgres-") as folder:
        server = Server(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture
def database(server: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The reference to a new, empty database of that server; the fixtures built on it follow."""
    monkeypatch.setenv("DATABASE_URL", server.ensure_database(f"test_{secrets.token_hex(6)}"))
    return "env:DATABASE_URL"


@pytest.fixture
def shop(connection: Connection) -> Connection:
    """A connection to that database, with the operational schema, still empty."""
    create_schema(connection, "steam")
    return connection


def in_the_load(patch: pytest.MonkeyPatch, fault: Fault) -> None:
    """Run a fault when the first batch of a publication has been handed to COPY."""
    batches, pending = Loader.batches, [fault]

    def struck(*arguments: Any) -> Iterator[pa.RecordBatch]:
        for batch in batches(*arguments):
            yield batch
            if pending:
                pending.pop()()

    patch.setattr(Loader, "batches", struck)


def in_the_switch(patch: pytest.MonkeyPatch, fault: Fault) -> None:
    """Run a fault after the views were changed and before the commit."""
    patch.setattr(Destinations, "_point_to", lambda *arguments: fault())


def look() -> Connection:
    """Open a new connection, as the test's first one may be lost."""
    connection = psycopg2.connect(os.environ["DATABASE_URL"])
    connection.autocommit = True
    return connection


def kill_backends(server: Server, condition: str) -> None:
    killed = server.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND {condition}"
    )
    assert killed


@pytest.mark.parametrize(
    ("when", "fault"),
    [
        (in_the_load, Server.crash),
        (in_the_switch, Server.crash),
        (in_the_load, lambda server: kill_backends(server, "query LIKE 'COPY%part_%'")),
        (in_the_load, lambda server: kill_backends(server, "application_name = 'steam-recsys publish'")),
        (in_the_switch, lambda server: kill_backends(server, "application_name = 'steam-recsys publish'")),
    ],
    ids=["restart in the load", "restart in the switch", "COPY dropped", "all dropped", "dropped in the switch"],
)
def test_a_lost_database_fails_the_run_with_a_message_and_a_retry_succeeds(
    shop: Connection,
    server: Server,
    database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    when: Callable[[pytest.MonkeyPatch, Fault], None],
    fault: Callable[[Server], None],
) -> None:
    publish_version(database, marked(tmp_path / "1", shop, 1.0, users=5), "v1")
    predictions = marked(tmp_path / "2", shop, 2.0, users=5)
    with monkeypatch.context() as patch:
        when(patch, lambda: fault(server))
        with pytest.raises(
            UserError, match=r"The database in DATABASE_URL (failed|cannot be reached) \(.*\): "
        ) as raised:
            publish_version(database, predictions, "v2")
    assert "\n" not in str(raised.value)
    after = look()
    assert shown(after) == ("v1", 1.0, 5)
    assert publish_version(database, predictions, "v2").switched
    assert (shown(after), tables(after)) == (("v2", 2.0, 5), tables_of("v1", "v2"))
    after.close()


def test_a_crash_of_postgresql_after_mongodbs_switch_reverts_both(
    shop: Connection,
    server: Server,
    both: DestinationConfig,
    mongo: Mongo,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    publish_version(both, marked(tmp_path / "1", shop, 1.0, users=2), "v1")
    predictions = marked(tmp_path / "2", shop, 2.0, users=2)
    switch = MongoDestination.point_to

    def switch_and_crash(self: MongoDestination, version: str) -> None:
        switch(self, version)
        if version == "v2":
            server.crash()

    with monkeypatch.context() as patch:
        patch.setattr(MongoDestination, "point_to", switch_and_crash)
        with pytest.raises(UserError, match=r"The database in DATABASE_URL failed \(.*\): "):
            publish_version(both, predictions, "v2")
    after = look()
    assert shown(after) == shown_in_mongo(mongo) == ("v1", 1.0, 2)
    assert publish_version(both, predictions, "v2").switched
    assert shown(after) == shown_in_mongo(mongo) == ("v2", 2.0, 2)
    after.close()


def test_a_version_survives_a_crash_right_after_its_switch(
    shop: Connection, server: Server, database: str, tmp_path: Path
) -> None:
    for number in (1, 2):
        publish_version(database, marked(tmp_path / str(number), shop, number, users=5), f"v{number}")
    server.crash()
    after = look()
    assert (shown(after), tables(after)) == (("v2", 2.0, 5), tables_of("v1", "v2"))
    assert rollback(DestinationConfig(database)) == "v1"
    after.close()


@pytest.fixture
def small_disk(server: Server) -> Iterator[Path]:
    """A file system of eight megabytes that the server may write to."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-small-disk-") as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=777", "tmpfs", folder], check=False)
        if mounted.returncode:
            pytest.skip("this user may mount no file system, and no other disk is small enough to be filled")
        try:
            path = Path(folder) / "tablespace"
            path.mkdir()
            owner = (server.data / "PG_VERSION").stat()
            os.chown(path, owner.st_uid, owner.st_gid)
            yield path
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_fails_the_run_with_a_message_and_a_retry_succeeds(
    shop: Connection, server: Server, database: str, tmp_path: Path, small_disk: Path
) -> None:
    publish_version(database, marked(tmp_path / "1", shop, 1.0, users=2), "v1")
    with shop.cursor() as cursor:
        cursor.execute("INSERT INTO steam.users (username) SELECT 'many ' || n FROM generate_series(1, 20000) AS n")
        cursor.execute("SELECT user_id FROM steam.users ORDER BY user_id")
        users = [user for (user,) in cursor.fetchall()]
    games = [add_game(shop, f"Another {number}") for number in range(50)]
    rows: list[Row] = [(user, games, [2.0] * 50, [None] * 50) for user in users]
    predictions = write_predictions(tmp_path / "2", [rows[:10_000], rows[10_000:]], [("", 1, games[0], 1.0)])
    (name,) = server.execute("SELECT current_database()")[0]
    server.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'")
    try:
        server.execute(f'ALTER DATABASE "{name}" SET default_tablespace = small')
        with pytest.raises(UserError, match=r"has no room left on its disk: make some on its server") as raised:
            publish_version(database, predictions, "v2")
        assert "\n" not in str(raised.value)
        assert (shown(shop), tables(shop)) == (("v1", 1.0, 2), tables_of("v1"))
    finally:
        server.execute(f'ALTER DATABASE "{name}" RESET default_tablespace')
        server.execute("DROP TABLESPACE small")
    assert publish_version(database, predictions, "v2").switched
    assert (shown(shop), tables(shop)) == (("v2", 2.0, len(users)), tables_of("v1", "v2"))


@pytest.mark.parametrize("skew", ["1 day", "-1 day"])
def test_clocks_that_disagree_change_neither_the_order_of_versions_nor_what_is_kept(
    shop: Connection, database: str, tmp_path: Path, skew: str
) -> None:
    for number in range(1, 6):
        publish_version(database, marked(tmp_path / str(number), shop, number, users=2), f"v{number}")
        with shop.cursor() as cursor:  # as if the database's clock had been wrong for every other version
            cursor.execute(
                "UPDATE recsys.publications SET (published_at, made_current_at) = (published_at + %(skew)s::interval, "
                "made_current_at + %(skew)s::interval) WHERE version = %(version)s",
                {"skew": skew if number % 2 else "0", "version": f"v{number}"},
            )
    assert [each.version for each in kept(database)] == ["v5", "v4", "v3"]
    assert [rollback(DestinationConfig(database)) for _ in range(2)] == ["v4", "v3"]
