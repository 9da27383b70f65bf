"""One moment of a database, read over several connections at once.

The first connection exports its snapshot (`pg_export_snapshot`), the others take it over, so that all of them see the
same rows whatever is written meanwhile. This works on a hot standby as well. A reader takes no lock that a writer of
rows waits for; it gives up on a lock that a change of the schema holds, and on a statement that takes too long.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from steam_recsys.database.connection import Connection, Cursor, connect, require_schema

LOCK_TIMEOUT = "1min"
STATEMENT_TIMEOUT = "10min"
"""What each statement may take; the longest reads one part, or counts what changed since the last extraction."""

_LIMITS = f"""
SET LOCAL lock_timeout = '{LOCK_TIMEOUT}';
SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}';
SET LOCAL idle_in_transaction_session_timeout = 0;
"""

# The timeline changes where a backup is restored or a standby takes over: what was read before may be there no more.
_MOMENT = """
SELECT pg_export_snapshot(), pg_current_snapshot()::text, now(),
    (SELECT format('%s/%s', system_identifier, timeline_id) FROM pg_control_system(), pg_control_checkpoint())
    || (SELECT format('/%s', oid) FROM pg_database WHERE datname = current_database())
"""

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Moment:
    """A moment of a database, which can be read for as long as its context lasts.

    Attributes:
        source: the reference to the database.
        exported: the name of the snapshot that other connections take over.
        database_snapshot: `pg_current_snapshot()`.
        at: the moment by the database's clock.
        database: the identity of the server, of its history and of the database.
        cursor: of the connection that exported the snapshot.
    """

    source: str
    exported: str
    database_snapshot: str
    at: datetime
    database: str
    cursor: Cursor

    def map(self, work: Callable[[Cursor, Task], Result], tasks: Sequence[Task], connections: int) -> list[Result]:
        """Do work for each task on one of several connections that see this moment; the results in the tasks' order.

        After a failure no further task is begun.

        Raises:
            UserError: a connection cannot be opened, or breaks.
        """
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(len(tasks)):
            waiting.put(number)
        results: dict[int, Result] = {}
        stopped = threading.Event()

        def work_off() -> None:
            with self._connected() as cursor:
                while not stopped.is_set():
                    try:
                        number = waiting.get_nowait()
                    except queue.Empty:
                        return
                    results[number] = work(cursor, tasks[number])

        with ThreadPoolExecutor(max(1, connections), thread_name_prefix="extract") as pool:
            workers = [pool.submit(work_off) for _ in range(min(connections, len(tasks)))]
            try:
                for worker in as_completed(workers):
                    worker.result()
            finally:
                stopped.set()
        return [results[number] for number in range(len(tasks))]

    @contextmanager
    def _connected(self) -> Iterator[Cursor]:
        with _transaction(self.source) as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION SNAPSHOT %s", [self.exported])
            yield cursor


@contextmanager
def moment_of(source: str) -> Iterator[Moment]:
    """The present moment of a database, from a reference such as `env:DATABASE_URL`.

    Raises:
        UserError: the database cannot be reached, or has no schema `steam` of this version.
    """
    with _transaction(source) as connection, connection.cursor() as cursor:
        cursor.execute(_MOMENT)
        row = cursor.fetchone()
        assert row is not None
        exported, database_snapshot, at, database = row
        require_schema(connection, "steam")
        yield Moment(source, exported, database_snapshot, at, database, cursor)


@contextmanager
def _transaction(source: str) -> Iterator[Connection]:
    with connect(source, application="steam-recsys extract") as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            cursor.execute(_LIMITS)
        yield connection
