"""The tables of a snapshot in DuckDB: queries of any number of rows in limited memory, which spill to the disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from steam_recsys.data.schemas import TABLES
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import UserError

MEMORY_MB = 512
"""Memory of the queries' joins and groups in MB; what needs more is written to temporary files."""

MAX_THREADS = 4
"""Each thread needs some of the memory."""


class SnapshotTables:
    """The tables of a snapshot, by name, for queries in DuckDB's SQL."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, snapshot: Snapshot) -> None:
        self._connection = connection
        self._snapshot = snapshot

    @classmethod
    @contextmanager
    def open(cls, snapshot: Snapshot) -> Iterator[SnapshotTables]:
        """Open the tables of a snapshot whose files have the declared columns.

        Temporary files are in the process's temporary folder, and are removed at the end.
        """
        with tempfile.TemporaryDirectory(prefix="steam-recsys-validate-") as folder, ExitStack() as stack:
            settings: dict[str, str | bool | int | float | list[str]] = {
                "memory_limit": f"{MEMORY_MB}MB",
                "temp_directory": folder,
                "threads": min(MAX_THREADS, os.cpu_count() or 1),
            }
            connection = stack.enter_context(duckdb.connect(config=settings))
            connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
            for table in TABLES:
                connection.register(table, snapshot.dataset(table))
            yield cls(connection, snapshot)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a query and return its rows.

        Raises:
            UserError: A file of the snapshot is damaged, or memory or disk are not enough.
        """
        with self._reading():
            return self._connection.sql(statement).fetchall()

    def query_arrow(self, statement: str) -> pa.Table:
        """Run a query as `query` does, and return an Arrow table: its dates and times may exceed Python's."""
        with self._reading():
            return self._connection.sql(statement).to_arrow_table()

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise UserError(
                f"The checks need more memory or disk than there is ({reason}): give the task validate more disk in "
                f"{tempfile.gettempdir()}."
            ) from None
        except duckdb.InvalidInputException as error:  # how it reports an error of Arrow
            reason = str(error).partition("\n")[0].rstrip(".")
            raise UserError(
                f"A file of the snapshot in {self._snapshot.folder.uri} is damaged ({reason}): delete the snapshot and "
                f"extract it again."
            ) from None
