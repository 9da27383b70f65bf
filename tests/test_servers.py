"""The matrix of servers: every version, a pooler, a standby and other encodings publish and read the same."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from components.extract.extraction import write_snapshot
from components.ingest.ingestion import ingest
from demo.postgres import EmbeddedPostgres
from steam_recsys.database import lock_watch
from steam_recsys.database.connection import connect, create_schema
from steam_recsys.database.failures import UnavailableError
from steam_recsys.database.limits import Limits
from steam_recsys.errors import UserError
from steam_recsys.publications.destinations import DestinationConfig, kept_versions, rollback
from tests.components.reverse_etl.predicted import marked, publish_version
from tests.components.reverse_etl.test_publication import shown, tables, tables_of
from tests.raw_files import game, ranking, review, write_raw
from tests.servers import VERSIONS, OtherPostgres, Standby, pooled, programs_of, through

pytestmark = pytest.mark.slow

NAMES = ["Portal", "Pörtal", "ポータル"]


@pytest.fixture(scope="module", params=VERSIONS)
def server(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """A server of each version that is installed."""
    programs = programs_of(request.param)
    with tempfile.TemporaryDirectory(prefix="steam-recsys-postgres-") as folder:
        server = OtherPostgres(Path(folder), programs)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def database(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """The reference to a new, empty database of that server."""
    monkeypatch.setenv("DATABASE_URL", server.ensure_database(f"test_{secrets.token_hex(6)}"))
    return "env:DATABASE_URL"


def load_and_publish(database: str, connection: Connection, folder: Path) -> None:
    """Ingest, extract, publish five versions and roll back; check what readers see."""
    raw = write_raw(
        folder / "raw",
        [review(name, f"user of {name}") for name in NAMES],
        [game(name) for name in NAMES],
        [ranking(NAMES[0])],
    )
    for _ in range(2):
        summary = ingest(raw, database)
    assert (summary.inserted, summary.rejected) == (0, {})
    write_snapshot(database, folder / "snapshot", str(folder / "store"))
    for number in range(1, 6):
        publish_version(database, marked(folder / str(number), connection, number, users=3), f"v{number}")
        assert shown(connection) == (f"v{number}", float(number), 3)
    assert tables(connection) == tables_of("v3", "v4", "v5")
    assert rollback(DestinationConfig(database)) == "v4"
    assert shown(connection) == ("v4", 4.0, 3)
    with connection.cursor() as cursor:
        cursor.execute("SELECT score FROM recsys.recommended_games(1) LIMIT 1")
        assert cursor.fetchone() == (4.0,)
        cursor.execute("SELECT fencing, expires_at <= clock_timestamp() FROM recsys.lease WHERE name = 'publish'")
        assert cursor.fetchone() == (5, True)


def test_every_version_of_the_server_loads_and_publishes(database: str, connection: Connection, tmp_path: Path) -> None:
    load_and_publish(database, connection, tmp_path)


def test_a_pooler_in_transaction_mode_loads_and_publishes(
    server: EmbeddedPostgres, database: str, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = os.environ["DATABASE_URL"]
    with pooled(server) as port:
        monkeypatch.setenv("DATABASE_URL", through(port, direct))
        load_and_publish(database, connection, tmp_path)
        with connection.cursor() as cursor:  # and nothing of a session stays on the pooler's connections
            cursor.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = "
                "(SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            assert cursor.fetchone() == (0,)
        pooled_connection = psycopg2.connect(os.environ["DATABASE_URL"])
        with pooled_connection.cursor() as cursor:
            cursor.execute("SELECT name FROM pg_settings WHERE source = 'session' AND name LIKE '%timeout'")
            assert cursor.fetchall() == []
        pooled_connection.close()
        monkeypatch.setenv("DATABASE_URL", direct)
        assert publish_version(database, marked(tmp_path / "6", connection, 6, users=3), "v6").switched


def test_a_wait_through_a_pooler_names_the_blocker(
    server: EmbeddedPostgres, database: str, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_watch, "LOOK_SECONDS", 0.05)
    create_schema(connection, "steam")
    blocker = psycopg2.connect(os.environ["DATABASE_URL"], application_name="night report")
    blocker.cursor().execute("LOCK TABLE steam.games")
    with pooled(server) as port:
        monkeypatch.setenv("DATABASE_URL", through(port, os.environ["DATABASE_URL"]))
        with (
            pytest.raises(UnavailableError, match=r"for a lock \(held by process \d+ \(night report, user steam,"),
            connect(database, limits=Limits(lock=5)) as waiting,
            waiting.cursor() as cursor,
        ):
            cursor.execute("SELECT FROM steam.games")
    blocker.close()


def test_a_standby_serves_reads_and_refuses_writes_with_a_remedy(
    server: EmbeddedPostgres, database: str, connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_schema(connection, "steam")
    for number in (1, 2):
        publish_version(database, marked(tmp_path / str(number), connection, number, users=2), f"v{number}")
    predictions = marked(tmp_path / "3", connection, 3, users=2)
    name = os.environ["DATABASE_URL"].rpartition("/")[2]
    with tempfile.TemporaryDirectory(prefix="steam-recsys-standby-") as folder:
        standby = Standby(Path(folder), server)
        standby.start()
        try:
            standby.catch_up()
            monkeypatch.setenv("DATABASE_URL", standby.url(name))
            config = DestinationConfig(database)
            assert [each.version for each in kept_versions(config)["PostgreSQL"]] == ["v2", "v1"]
            write_snapshot(database, tmp_path / "snapshot", str(tmp_path / "store"))
            raw = write_raw(tmp_path / "raw", [review("Portal", "ann")])
            for write in (
                lambda: publish_version(database, predictions, "v3", [(1, 1), (2, 2)]),
                lambda: rollback(config),
                lambda: ingest(raw, database),
            ):
                with pytest.raises(UserError, match="is read-only, as a standby is: let DATABASE_URL name the primary"):
                    write()
        finally:
            standby.stop()
    assert shown(connection) == ("v2", 2.0, 2)


def other_encoding(server: EmbeddedPostgres, encoding: str, monkeypatch: pytest.MonkeyPatch) -> Connection:
    name = f"other_{secrets.token_hex(6)}"
    connection = psycopg2.connect(server.url())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    connection.close()
    monkeypatch.setenv("DATABASE_URL", server.url(name))
    connection = psycopg2.connect(server.url(name), client_encoding="UTF8")
    connection.autocommit = True
    return connection


def test_a_database_in_sql_ascii_loads_and_publishes(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = other_encoding(server, "SQL_ASCII", monkeypatch)
    load_and_publish("env:DATABASE_URL", connection, tmp_path)
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM steam.games ORDER BY game_id")
        assert [name for (name,) in cursor.fetchall()][: len(NAMES)] == NAMES
    connection.close()


def test_a_database_in_latin1_takes_its_characters_and_names_itself_for_others(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = other_encoding(server, "LATIN1", monkeypatch)
    raw = write_raw(tmp_path / "raw", [review(name, "ann") for name in NAMES[:2]])
    assert ingest(raw, "env:DATABASE_URL").inserted == 2
    raw = write_raw(tmp_path / "raw", [review(name, "ann") for name in NAMES])
    with pytest.raises(
        UserError, match=r"cannot store a character of a text \(its encoding is LATIN1\): move it to a database"
    ):
        ingest(raw, "env:DATABASE_URL")
    publish_version("env:DATABASE_URL", marked(tmp_path / "1", connection, 1, users=2))
    assert shown(connection) == ("v1", 1.0, 2)
    connection.close()
