"""What the tests of the explorer share: a shop after a night, a role that may only read, and a server."""

import os
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psycopg2
import pytest
import uvicorn
from fastapi import FastAPI
from psycopg2.extensions import connection as Connection

from demo.explore import reader_url
from demo.postgres import EmbeddedPostgres
from explorer.app import create_app
from explorer.settings import Settings
from explorer.workers import configured, listen
from steam_recsys.data.predictions import Plan
from steam_recsys.database.connection import create_schema
from tests.explorer.nights import fill_shop, promote_random_model, run_night

PASSWORD = "only for reading"
TOKEN = "the operator's own token"


@dataclass(frozen=True)
class Explored:
    """A shop after its first night: where it is, for those who publish and those who read, and what was published."""

    url: str
    reader_url: str
    store: str
    folder: Path
    plan: Plan

    def settings(self, **changed: object) -> Settings:
        """The explorer's settings for it."""
        return Settings(**{"database_url": self.reader_url, "store": self.store, **changed})

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """An autocommit connection of those who publish."""
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        yield connection
        connection.close()


@dataclass(frozen=True)
class Served:
    """A running explorer: a client of it, and its application."""

    client: httpx.Client
    app: FastAPI

    def wait_for_model(self, version: str) -> None:
        """Wait until posted histories are answered from a publication's model."""
        wait_until(lambda: self.app.state.live.model is not None and self.app.state.live.model.version == version)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Look again and again; a condition that never holds is a failure."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def explored_shop(postgres: EmbeddedPostgres, variable: str) -> Iterator[Explored]:
    """A new shop after a night, and the URL of its database in an environment variable, for those who publish."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-explored-") as name:
        folder = Path(name)
        url = postgres.ensure_database(f"explored_{secrets.token_hex(6)}")
        os.environ[variable] = url
        connection = psycopg2.connect(url)
        connection.autocommit = True
        create_schema(connection, "steam")
        fill_shop(connection)
        connection.close()
        store = str(folder / "store")
        promote_random_model(store, folder / "model-1")
        plan = run_night(f"env:{variable}", store, folder)
        yield Explored(url, reader_url(url, PASSWORD), store, folder, plan)
        del os.environ[variable]


@contextmanager
def serving(settings: Settings) -> Iterator[Served]:
    """The explorer on a free port of this machine."""
    app = create_app(settings)
    (listener,) = listen("127.0.0.1", 0, 1)
    config = configured(app, settings.trusted_proxies)
    config.log_config = None  # what is logged is left to pytest
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=30) as client:
            yield Served(client, app)
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def explored(postgres: EmbeddedPostgres) -> Iterator[Explored]:
    """A shop after a night, for tests that change nothing in it."""
    with explored_shop(postgres, "EXPLORED_URL") as explored:
        yield explored


@pytest.fixture(scope="session")
def served(explored: Explored) -> Iterator[Served]:
    """The explorer of that shop, with the model read, and no end to how often it may be asked."""
    with serving(explored.settings(requests_per_second=1e6)) as served:
        served.wait_for_model(explored.plan.version)
        yield served


@pytest.fixture(scope="session")
def client(served: Served) -> httpx.Client:
    """A client of that explorer."""
    return served.client


@pytest.fixture
def changing(postgres: EmbeddedPostgres) -> Iterator[Explored]:
    """A shop after a night of a test's own, for what changes it; the operator's URL is in the environment."""
    with explored_shop(postgres, "EXPLORER_OPERATOR_DATABASE_URL") as explored:
        yield explored
