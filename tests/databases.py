"""Copies of databases, which are cheaper than creating their content again."""

import psycopg2
from psycopg2 import sql

from demo.postgres import EmbeddedPostgres


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
