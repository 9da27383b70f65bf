"""What the tests of publications share."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pymongo
import pytest

from steam_recsys.publications.destinations import DestinationConfig


@pytest.fixture
def postgres_url(database: str) -> str:
    """The test database's URL, for connections of a test's own."""
    return os.environ[database.partition(":")[2]]


@pytest.fixture(scope="session")
def mongo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that speaks MongoDB's protocol, in a process of its own."""
    folder = tmp_path_factory.mktemp("mongo")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    options = ["--port", str(port), "--storage-path", str(folder / "data"), "--cache-size", "128M"]
    command = [sys.executable, "-m", "secantus", "--host", "127.0.0.1", *options, "--enable-test-commands"]
    with (folder / "server.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        url = f"mongodb://127.0.0.1:{port}"
        _wait_for(url, server, folder / "server.log")
        yield url
        server.terminate()


@pytest.fixture
def mongodb(mongo_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The reference to a new, empty MongoDB database."""
    monkeypatch.setenv("MONGODB_URL", f"{mongo_server}/test_{secrets.token_hex(6)}")
    return "env:MONGODB_URL"


@pytest.fixture
def mongo(mongodb: str) -> Iterator[pymongo.database.Database]:
    """The test's MongoDB database, for looking at what a stage left there."""
    with pymongo.MongoClient(os.environ["MONGODB_URL"]) as client:
        yield client.get_default_database()


@pytest.fixture
def both(database: str, mongodb: str) -> DestinationConfig:
    """PostgreSQL and MongoDB."""
    return DestinationConfig(database, "both", mongodb)


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 300
    with pymongo.MongoClient(url, serverSelectionTimeoutMS=200) as client:
        while True:
            try:
                client.admin.command("ping")
                return
            except pymongo.errors.PyMongoError:
                if server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"The server did not start: {log.read_text()[-2000:]}") from None
