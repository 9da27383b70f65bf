"""Fixtures of the explorer's tests: a shop with a publication, a role that may only read, and a server."""

import fcntl
import os
import secrets
import shutil
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
from fastapi.routing import APIRoute
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import parse_dsn

from demo.explore import reader_url
from demo.postgres import EmbeddedPostgres
from explorer.app import create_app, create_routers
from explorer.server import configure, listen
from explorer.settings import Settings
from steam_recsys.data.predictions import Plan
from steam_recsys.database.connection import create_schema
from tests.databases import copy_database, drop_database
from tests.explorer.publishing_runs import fill_shop, promote_random_model, run_inference

PASSWORD = "only for reading"
TOKEN = "the operator's own token"


@dataclass(frozen=True)
class PublishedShop:
    """A shop with a publication: its URLs for publishing and for reading, its store, and the publication's plan."""

    url: str
    reader_url: str
    store: str
    folder: Path
    plan: Plan

    def settings(self, **changed: object) -> Settings:
        """Return the explorer's settings for it."""
        return Settings(**{"database_url": self.reader_url, "store": self.store, **changed})

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Connect with autocommit as the publishing role."""
        connection = psycopg2.connect(self.url)
        connection.autocommit = True
        yield connection
        connection.close()


@dataclass(frozen=True)
class RunningExplorer:
    """A running explorer: a client and its application."""

    client: httpx.Client
    app: FastAPI

    def wait_for_model(self, version: str) -> None:
        """Wait until a publication's model answers posted histories."""
        wait_until(
            lambda: self.app.state.live_model.model is not None and self.app.state.live_model.model.version == version
        )


def wait_until(condition: Callable[[], bool], seconds: float = 600) -> None:
    """Wait until a condition holds; fail after some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def published_shop_in(
    postgres: EmbeddedPostgres, variable: str, template: PublishedShop | None = None
) -> Iterator[PublishedShop]:
    """A new shop with a publication, and the URL of its database in an environment variable for publishing.

    Args:
        postgres: The server.
        variable: Name of the environment variable.
        template: A shop to copy, which has no connections.
    """
    with tempfile.TemporaryDirectory(prefix="steam-recsys-explorer-test-") as name:
        folder = Path(name)
        database, store = f"explorer_{secrets.token_hex(6)}", str(folder / "store")
        if template:
            os.environ[variable] = url = copy_database(postgres, parse_dsn(template.url)["dbname"], database)
            shutil.copytree(template.folder, folder, dirs_exist_ok=True)
            plan = template.plan
        else:
            os.environ[variable] = url = postgres.ensure_database(database)
            connection = psycopg2.connect(url)
            connection.autocommit = True
            create_schema(connection, "steam")
            fill_shop(connection)
            connection.close()
            promote_random_model(store, folder / "model-1")
            plan = run_inference(f"env:{variable}", store, folder)
        yield PublishedShop(url, reader_url(url, PASSWORD), store, folder, plan)
        del os.environ[variable]
        drop_database(postgres, database)


@contextmanager
def serving(settings: Settings) -> Iterator[RunningExplorer]:
    """Run the explorer on a free port."""
    app = create_app(settings)
    listener = listen("127.0.0.1", 0)
    config = configure(app, settings.trusted_proxies)
    config.log_config = None  # pytest captures the log
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        wait_until(lambda: server.started or not thread.is_alive())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=url, timeout=300, verify=False) as client:  # else it reads all certificates first
            yield RunningExplorer(client, app)
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def caching_delayed(cache: Path) -> Iterator[None]:
    """Hold the lock of a cache folder, so that the model of an explorer with this folder keeps loading."""
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def routes() -> list[APIRoute]:
    """Return the explorer's routes, without static files."""
    return [route for router in create_routers(100) for route in router.routes if isinstance(route, APIRoute)]


@pytest.fixture(scope="session")
def published_shop(postgres: EmbeddedPostgres) -> Iterator[PublishedShop]:
    """A shop with a publication, for tests that change nothing in it."""
    with published_shop_in(postgres, "PUBLISHED_SHOP_URL") as published_shop:
        yield published_shop


@pytest.fixture(scope="session")
def served(published_shop: PublishedShop) -> Iterator[RunningExplorer]:
    """The explorer of that shop, with a loaded model and no rate limit."""
    with serving(published_shop.settings(requests_per_second=1e6)) as served:
        served.wait_for_model(published_shop.plan.version)
        yield served


@pytest.fixture(scope="session")
def client(served: RunningExplorer) -> httpx.Client:
    """A client of that explorer."""
    return served.client


@pytest.fixture(scope="session")
def shop_to_copy(postgres: EmbeddedPostgres) -> Iterator[PublishedShop]:
    """A shop with a publication, to be copied: it must have no connections."""
    with published_shop_in(postgres, "SHOP_TO_COPY_URL") as published_shop:
        yield published_shop


@pytest.fixture
def changing(postgres: EmbeddedPostgres, shop_to_copy: PublishedShop) -> Iterator[PublishedShop]:
    """A shop with a publication of the test's own; the operator's URL is in the environment."""
    with published_shop_in(postgres, "EXPLORER_OPERATOR_DATABASE_URL", shop_to_copy) as published_shop:
        yield published_shop
