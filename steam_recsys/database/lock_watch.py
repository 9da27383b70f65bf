"""Who keeps a connection waiting for a lock, as `pg_blocking_pids` says while it waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_ACTIVE, TRANSACTION_STATUS_INERROR
from psycopg2.extensions import connection as Connection

from steam_recsys.database.urls import socket_settings

APPLICATION = "steam-recsys lock watch"

LOOK_SECONDS = 2.0
"""How often to look while a statement runs."""

_NAMED = 3
"""How many of the blocking sessions are named."""

# Through a pooler the driver does not know the server's process. Then these are the sessions of this application that
# wait. A blocking process 0 is a prepared transaction.
_BLOCKERS = """
SELECT DISTINCT blocking.pid, nullif(b.application_name, ''), b.usename::text,
    to_char(b.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS')
FROM pg_stat_activity AS w
CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS blocking (pid)
LEFT JOIN pg_stat_activity AS b ON b.pid = blocking.pid
WHERE w.wait_event_type = 'Lock' AND w.datname = current_database() AND w.application_name = %(application)s
  AND (w.pid = %(pid)s
       OR NOT EXISTS (SELECT FROM pg_stat_activity AS o WHERE o.pid = %(pid)s AND o.application_name = %(application)s))
ORDER BY blocking.pid
"""


class LockWatch:
    """Watches a connection from a thread, over a connection of its own that opens once a statement takes long.

    Attributes:
        blockers: The sessions that the statement has waited for, as text; empty if it was seen to wait for none.
    """

    def __init__(
        self,
        url: str,
        watched: Connection,
        application: str,
        *,
        look_seconds: float | None = None,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        """Prepare to watch.

        Args:
            url: The database's URL.
            watched: The connection.
            application: Its application_name.
            look_seconds: How often to look while a statement runs; None for `LOOK_SECONDS`.
            announce: Called with the blockers when they change.
        """
        self.blockers = ""
        self._url = url
        self._watched = watched
        self._application = application
        self._look_seconds = LOOK_SECONDS if look_seconds is None else look_seconds
        self._announce = announce
        self._own: Connection | None = None
        self._ended = threading.Event()
        self._in_use = threading.Lock()  # held while this thread reads the connection's state
        self._thread = threading.Thread(target=self._watch, name="lock watch", daemon=True)

    def __enter__(self) -> LockWatch:
        """Begin to watch."""
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stop, so that the connection may be closed; a look that is under way ends by itself."""
        self._ended.set()
        with self._in_use:
            pass

    def _watch(self) -> None:
        try:
            while not self._ended.wait(self._look_seconds):
                with self._in_use:
                    if self._ended.is_set():
                        return
                    status, process = self._watched.info.transaction_status, self._watched.info.backend_pid
                if status == TRANSACTION_STATUS_ACTIVE:
                    self._look(process)
                elif status != TRANSACTION_STATUS_INERROR:  # then the error is about to be read
                    self.blockers = ""
        finally:
            if self._own is not None:
                self._own.close()

    def _look(self, process: int) -> None:
        try:
            if self._own is None:
                self._own = psycopg2.connect(
                    self._url, application_name=APPLICATION, connect_timeout=10, **socket_settings(self._url)
                )
            with self._own, self._own.cursor() as cursor:
                cursor.execute("SET LOCAL statement_timeout = '10s'")
                cursor.execute(_BLOCKERS, {"pid": process, "application": self._application})
                found = describe_blockers(cursor.fetchall())
        except psycopg2.Error:  # no connection is left for it, or it was ended: the watched one goes on
            self._own = None
            return
        if found and found != self.blockers:
            self.blockers = found  # it stays until the statement ends, as the wait may be over before its error arrives
            if self._announce is not None and not self._ended.is_set():
                self._announce(found)


def describe_blockers(rows: list[tuple[Any, ...]]) -> str:
    """Return blocking sessions as text: process, application, user and the start of the transaction.

    Example:
        >>> describe_blockers([(7, "psql", "ann", "2026-01-31 10:00:00")])
        'process 7 (psql, user ann, since 2026-01-31 10:00:00 UTC)'
    """
    texts = [_describe(*row) for row in rows[:_NAMED]]
    if len(rows) > _NAMED:
        texts.append(f"{len(rows) - _NAMED} more")
    return " and ".join(texts)


def _describe(pid: int, application: str | None, user: str | None, since: str | None) -> str:
    if pid == 0:
        return "a prepared transaction, listed in pg_prepared_xacts"
    facts = [application or "an application without a name"]
    facts += [f"user {user}"] if user else []
    facts += [f"since {since} UTC"] if since else []
    return f"process {pid} ({', '.join(facts)})"
