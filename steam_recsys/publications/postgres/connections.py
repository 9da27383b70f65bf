"""Connections to the shop's PostgreSQL that a publication loads and switches over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from steam_recsys.database.connection import Connection, connect

# The server ends the session, with its locks, within a minute where this machine is lost; and not while it is only
# waiting for the next batch.
_SETTINGS = """
SET tcp_keepalives_idle = 30; SET tcp_keepalives_interval = 10; SET tcp_keepalives_count = 3;
SET idle_in_transaction_session_timeout = 0;
"""


@contextmanager
def publishing_connection(reference: str) -> Iterator[Connection]:
    """As `connect`, for a session that may be long and must not outlive its publisher.

    Raises:
        UserError: as `connect`.
    """
    with connect(reference, application="steam-recsys publish") as connection:
        with connection.cursor() as cursor:
            cursor.execute(_SETTINGS)
        connection.commit()
        yield connection
