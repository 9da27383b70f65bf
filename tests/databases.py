"""Copies of databases, which are cheaper than creating their content again."""

import shutil
from pathlib import Path

import psycopg2
from psycopg2 import sql

from demo.postgres import EmbeddedPostgres

MEMORY = Path("/dev/shm")
"""A file system in memory, on Linux."""

MEMORY_BYTES = 4 << 30
"""Free space with which the tests' databases may be in memory, many times what they take at once."""


def database_folder() -> Path | None:
    """Return where to put a server's data: in memory if there is enough of it; None for the default folder.

    Each database has 300 files, and ext4 searches for long for inodes that were not freed in the last seconds.
    """
    return MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free >= MEMORY_BYTES else None


def copy_database(postgres: EmbeddedPostgres, template: str, name: str) -> str:
    """Copy a database that has no connections, and return the URL of the copy."""
    # Files are copied as they are: the default would write all of them to the write-ahead log too.
    execute(postgres, "CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY", name, template)
    return postgres.url(name)


def drop_database(postgres: EmbeddedPostgres, name: str) -> None:
    """Drop a database if it still exists, and end its connections."""
    execute(postgres, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def execute(postgres: EmbeddedPostgres, statement: str, *names: str) -> None:
    """Execute a statement outside a transaction, with names in the place of its braces."""
    connection = psycopg2.connect(postgres.url())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
    connection.close()
