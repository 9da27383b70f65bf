"""Real parts for the tests: a PostgreSQL server for the session, a fresh database for each test."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from components.shared.database import create_schema
from demo.postgres import EmbeddedPostgres
from pipelines.target import TENSORFLOW_ENVIRONMENT

os.environ.update(TENSORFLOW_ENVIRONMENT)  # before any test imports TensorFlow


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
