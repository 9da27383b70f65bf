"""Real parts for the tests: a PostgreSQL server for the session, a fresh database for each test."""

import os
import secrets
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from google.cloud import storage
from hypothesis import settings

from components.notify import alerts
from demo.bucket import bucket_server
from demo.postgres import EmbeddedPostgres
from steam_recsys.database.connection import create_schema
from tests.webhook import Webhook

settings.register_profile("whatever the machine", deadline=None)  # no test passes or fails by the clock
settings.load_profile("whatever the machine")


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    # Not in pytest's own folder: another session may clear that away while the server runs.
    with tempfile.TemporaryDirectory(prefix="steam-recsys-postgres-") as folder:
        server = EmbeddedPostgres(Path(folder), durable=False)
        server.start()
        yield server
        server.stop()


@pytest.fixture
def database(postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> str:
    """The reference to a new, empty database."""
    monkeypatch.setenv("DATABASE_URL", postgres.ensure_database(f"test_{secrets.token_hex(6)}"))
    return "env:DATABASE_URL"


@pytest.fixture
def connection(database: str, postgres: EmbeddedPostgres) -> Iterator[psycopg2.extensions.connection]:
    """An autocommit connection to the test's database, for looking at what a stage left there."""
    connection = psycopg2.connect(os.environ["DATABASE_URL"])
    connection.autocommit = True
    yield connection
    connection.close()


@pytest.fixture
def shop(connection: psycopg2.extensions.connection) -> psycopg2.extensions.connection:
    """A connection to a database that has the operational schema, still empty."""
    create_schema(connection, "steam")
    return connection


@pytest.fixture
def store(tmp_path: Path) -> str:
    """A new, empty store for models, predictions and journals."""
    return str(tmp_path / "store")


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    """A webhook, which `env:ALERTS_URL` names, and which is asked again at once."""
    monkeypatch.setattr(alerts, "BACKOFF_SECONDS", 0)
    with Webhook() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("ALERTS_URL", f"http://127.0.0.1:{server.server_port}/services/SECRET")
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[str]:
    """The URL of a server that speaks Google Cloud Storage's protocol."""
    with bucket_server() as url:
        del os.environ["STORAGE_EMULATOR_HOST"]
        yield url


@pytest.fixture
def gcs(gcs_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same, and the client is told of it."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_server)
    return gcs_server


@pytest.fixture
def bucket_store(gcs: str) -> str:
    """A new, empty store in a bucket."""
    name = f"bucket-{secrets.token_hex(6)}"
    storage.Client().create_bucket(name)
    return f"gs://{name}/some/store"


@pytest.fixture(params=["disk", "bucket"])
def any_store(request: pytest.FixtureRequest) -> str:
    """A new, empty store: a test that takes it runs on disk and in a bucket."""
    return request.getfixturevalue({"disk": "store", "bucket": "bucket_store"}[request.param])
