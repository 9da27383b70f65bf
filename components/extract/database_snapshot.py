"""One snapshot of a database, read over several connections at the same time.

The first connection exports its snapshot (`pg_export_snapshot`) and the others import it, so all of them see the same
rows, whatever is written meanwhile. A hot standby works too. Readers never block writers. They give up after a time
limit if a schema change holds a lock, or if a statement takes too long.
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

from components.extract.source import check_source
from steam_recsys.database.connection import Connection, Cursor, connect, require_schema
from steam_recsys.database.limits import Limits

LIMITS = Limits(lock=60, statement=600, idle=0)
"""Time limits. The longest statements read one part, or find what changed since the last extraction. The transaction
that exported the snapshot waits, without a limit, while others read."""

# The timeline changes when a standby is promoted, or a server is recovered to a point in time: rows that were read
# before may be gone. After pg_restore into the same database, or from a copy of the disk, all three are as before.
_EXPORT_SNAPSHOT = """
SELECT pg_export_snapshot(), pg_current_snapshot()::text, now(),
    (SELECT format('%s/%s', system_identifier, timeline_id) FROM pg_control_system(), pg_control_checkpoint())
    || (SELECT format('/%s', oid) FROM pg_database WHERE datname = current_database())
"""

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class DatabaseSnapshot:
    """A snapshot of a database, readable until its context ends.

    Attributes:
        source: Reference to the database's URL.
        exported_name: Name under which other connections import the snapshot.
        current_snapshot: `pg_current_snapshot()`.
        taken_at: Time by the database's clock.
        database: Identity of the server, its timeline and the database.
        cursor: Cursor of the connection that exported the snapshot.
    """

    source: str
    exported_name: str
    current_snapshot: str
    taken_at: datetime
    database: str
    cursor: Cursor

    def map(self, work: Callable[[Cursor, Task], Result], tasks: Sequence[Task], connections: int) -> list[Result]:
        """Run a function for each task on several connections that see this snapshot.

        After a failure, no further task starts.

        Args:
            work: Function of a cursor and a task.
            tasks: The tasks.
            connections: Number of connections.

        Returns:
            The results in the order of the tasks.

        Raises:
            UserError: A connection cannot be opened, or is lost.
        """
        waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number in range(len(tasks)):
            waiting.put(number)
        results: dict[int, Result] = {}
        stopped = threading.Event()

        def run_tasks() -> None:
            with self._connected() as cursor:
                while not stopped.is_set():
                    try:
                        number = waiting.get_nowait()
                    except queue.Empty:
                        return
                    results[number] = work(cursor, tasks[number])

        with ThreadPoolExecutor(max(1, connections), thread_name_prefix="extract") as pool:
            workers = [pool.submit(run_tasks) for _ in range(min(connections, len(tasks)))]
            try:
                for worker in as_completed(workers):
                    worker.result()
            finally:
                stopped.set()
        return [results[number] for number in range(len(tasks))]

    @contextmanager
    def _connected(self) -> Iterator[Cursor]:
        with _transaction(self.source) as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION SNAPSHOT %s", [self.exported_name])
            yield cursor


@contextmanager
def open_database_snapshot(source: str) -> Iterator[DatabaseSnapshot]:
    """Take a snapshot of a database.

    Args:
        source: Reference to the database's URL, such as `env:DATABASE_URL`.

    Raises:
        UserError: The database cannot be reached, has no schema `steam` of this version, or the schema's tables are not
            as the contract says.
    """
    with _transaction(source) as connection, connection.cursor() as cursor:
        cursor.execute(_EXPORT_SNAPSHOT)
        row = cursor.fetchone()
        assert row is not None
        exported_name, current_snapshot, taken_at, database = row
        require_schema(connection, "steam")
        check_source(cursor)
        yield DatabaseSnapshot(source, exported_name, current_snapshot, taken_at, database, cursor)


@contextmanager
def _transaction(source: str) -> Iterator[Connection]:
    with connect(source, application="steam-recsys extract", limits=LIMITS) as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            if connection.get_parameter_status("server_encoding") == "SQL_ASCII":
                # Such a database holds whatever bytes it was sent. Unchecked by the server, a wrong row can be named.
                cursor.execute("SET LOCAL client_encoding = 'SQL_ASCII'")
        yield connection
