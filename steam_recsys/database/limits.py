"""Time limits of statements, which each transaction sets for itself.

So no setting of a role, a database or a server can end our work early or let it wait for ever. `SET LOCAL` ends with
the transaction: through a pooler that gives each transaction another connection, such as PgBouncer, no client inherits
a setting of another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

_CLIENT_CHECK_SINCE = 140_000
"""The first version of PostgreSQL that has the setting client_connection_check_interval."""

_TRANSACTION_TIMEOUT_SINCE = 170_000
"""The first version of PostgreSQL that has the setting transaction_timeout."""


@dataclass(frozen=True)
class Limits:
    """How long the server waits, in seconds, before it ends a statement or a transaction.

    Attributes:
        lock: Longest wait for one lock.
        statement: Longest duration of a statement, the waits included.
        idle: Longest time that a transaction waits for this process between two statements.
    """

    lock: int = 60
    statement: int = 600
    idle: int = 600

    def statements(self, server_version: int, *, checks_clients: bool = False) -> str:
        """Return the statements that begin a transaction with these limits.

        They take no snapshot, so that `SET TRANSACTION SNAPSHOT` may follow. The server ends the session, with its
        locks, within seconds after this process is killed, also in the middle of a statement if it can notice that, and
        with the settings of TCP within a minute after this machine is lost. The whole transaction has no limit of
        its own, as each of its statements has one.

        Args:
            server_version: As in libpq's `PQserverVersion`, such as 150018.
            checks_clients: Whether the server has the setting client_connection_check_interval, see `checks_clients`.
        """
        settings = {
            "lock_timeout": f"'{self.lock}s'",
            "statement_timeout": f"'{self.statement}s'",
            "idle_in_transaction_session_timeout": f"'{self.idle}s'",
            "tcp_keepalives_idle": "30",
            "tcp_keepalives_interval": "10",
            "tcp_keepalives_count": "3",
        }
        if checks_clients:
            settings["client_connection_check_interval"] = "'10s'"
        if server_version >= _TRANSACTION_TIMEOUT_SINCE:
            settings["transaction_timeout"] = "0"
        return "; ".join(f"SET LOCAL {name} = {value}" for name, value in settings.items())


DEFAULT = Limits()

LONG_STATEMENTS = Limits(statement=6 * 3600)
"""For statements that load millions of rows or index them."""


class LimitedConnection(Connection):
    """A connection whose transactions all begin with its limits."""

    limits = DEFAULT
    checks_clients: bool | None = None
    """Whether the server can notice in the middle of a statement that its client is gone; None if that is unknown."""


class LimitedCursor(Cursor):
    """A cursor of such a connection."""

    def execute(self, query: Any, vars: Any = None) -> None:
        """Execute a statement, after the limits if it begins a transaction."""
        self._begin()
        super().execute(query, vars)

    def copy_expert(self, sql: Any, file: Any, size: int = 8192) -> None:
        """Run a COPY statement, after the limits if it begins a transaction."""
        self._begin()
        super().copy_expert(sql, file, size)

    def _begin(self) -> None:
        connection = self.connection
        assert isinstance(connection, LimitedConnection)
        if connection.info.transaction_status == TRANSACTION_STATUS_IDLE:
            with Cursor(connection) as plain:
                if connection.checks_clients is None:
                    plain.execute("SELECT version()")
                    ((version,),) = plain.fetchall()
                    connection.rollback()  # the limits begin a transaction
                    connection.checks_clients = checks_clients(connection.server_version, version)
                plain.execute(
                    connection.limits.statements(connection.server_version, checks_clients=connection.checks_clients)
                )


def checks_clients(server_version: int, version: str) -> bool:
    """Return whether a server has the setting client_connection_check_interval; those on Windows refuse it.

    Args:
        server_version: As in libpq's `PQserverVersion`.
        version: The result of the SQL function `version()`.
    """
    return server_version >= _CLIENT_CHECK_SINCE and "linux" in version.lower()
