"""What the tests of the explorer share: a small shop with recommendations, a role that may only read, and a server."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn
from fastapi import FastAPI
from psycopg2.extensions import connection as Connection

from explorer.app import create_app
from explorer.settings import Settings

READER = Path(__file__).parents[2] / "explorer" / "reader.sql"
PASSWORD = "only-for-reading"


def let_read(connection: Connection) -> str:
    """Make the role of the explorer on a connection's database; the URL of a user in it."""
    with connection.cursor() as cursor:
        cursor.execute(READER.read_text())
        cursor.execute("SELECT FROM pg_roles WHERE rolname = 'explorer_test'")
        if cursor.rowcount == 0:
            cursor.execute("CREATE USER explorer_test PASSWORD %s IN ROLE recsys_reader", [PASSWORD])
    _, _, server = os.environ["DATABASE_URL"].partition("@")
    return f"postgresql://explorer_test:{PASSWORD}@{server}"


@contextmanager
def serving(settings: Settings) -> Iterator[tuple[httpx.Client, FastAPI]]:
    """A client of a server with these settings, on a free port of this machine; and the application."""
    app = create_app(settings)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False, server_header=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            thread.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            yield client, app
    finally:
        server.should_exit = True
        thread.join()
