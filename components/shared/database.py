"""Connections to PostgreSQL, from a reference to a secret; and the versions of the schemas that the stages share."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from components.shared.errors import UserError
from components.shared.secret_manager import read_secret

SECRET_MANAGER = "sm://"
COPY_BUFFER = 1 << 20
"""Bytes that COPY moves at a time: psycopg2's default of 8 KB is several times slower."""

SCHEMA_VERSIONS = {"steam": 2, "recsys": 3}
"""The version of each schema that this code reads and writes."""

__all__ = ["COPY_BUFFER", "Connection", "Cursor", "connect", "create_schema", "require_schema", "resolve_secret"]


def resolve_secret(reference: str) -> str:
    """The secret that a reference names: `env:DATABASE_URL`, or `sm://projects/P/secrets/S/versions/V`.

    Secrets are named in parameters, never passed: the value exists only inside the step.

    Raises:
        UserError: the reference has another form, or what it names is not there.
    """
    if reference.startswith(SECRET_MANAGER):
        return read_secret(reference.removeprefix(SECRET_MANAGER))
    kind, _, name = reference.partition(":")
    if kind != "env" or not name:
        raise UserError(
            "A database is named as env:NAME, after the environment variable that holds its URL, or as "
            "sm://projects/P/secrets/S/versions/V, after a secret of Secret Manager."
        )
    value = os.environ.get(name)
    if not value:
        raise UserError(
            f"The environment variable {name} is not set: set it to the database's URL, postgresql://… or mongodb://…."
        )
    return value


@contextmanager
def connect(reference: str, *, application: str = "steam-recsys") -> Iterator[Connection]:
    """Open one transaction on the database that a reference names: committed at the end, rolled back on an error.

    Raises:
        UserError: the database cannot be reached, refuses the password, does not exist, gives up half-way, or does not
            let the role do what the body does.
    """
    url = resolve_secret(reference)
    try:
        connection = psycopg2.connect(url, application_name=application, connect_timeout=10, client_encoding="UTF8")
    except (psycopg2.OperationalError, psycopg2.ProgrammingError) as error:
        raise UserError(_connection_sentence(reference, str(error))) from None
    try:
        yield connection
        connection.commit()
    except psycopg2.errors.InsufficientPrivilege as error:
        message = error.diag.message_primary
        raise UserError(f"The role in {reference.partition(':')[2]} may not do this ({message}): grant it.") from None
    except psycopg2.Error as error:
        # To the driver, a connection that drops in the midst of a COPY is neither, and has no words.
        wordless = "no message from the libpq" in str(error)
        if not isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) and not wordless:
            raise
        reason = "the connection was lost" if wordless else re.sub(r"\s+", " ", str(error)).strip()
        raise UserError(
            f"The database in {reference.partition(':')[2]} gave up ({reason}): see its log, then run again."
        ) from None
    finally:
        connection.close()  # rolls back what was not committed


def _named(reference: str) -> str:
    """What a user calls the place that holds the URL: the variable's name, or the secret's."""
    return reference.removeprefix("env:")


def _connection_sentence(reference: str, error: str) -> str:
    name = _named(reference)
    reason = re.sub(r"\s+", " ", error).strip()
    if "password authentication failed" in reason or "no password supplied" in reason:
        return f"The database in {name} refused the user or the password: correct {name}."
    if re.search(r'database "[^"]*" does not exist', reason):
        return f"The database that {name} names does not exist on its server: create it or correct {name}."
    if "invalid dsn" in reason or "invalid connection option" in reason or "missing" in reason:
        return f"{name} is not a PostgreSQL URL: set it to postgresql://user@host:port/database."
    return f"The database in {name} cannot be reached ({reason}): check that the server is up and {name} is right."


def create_schema(connection: Connection, schema: str) -> None:
    """Create a schema from `components/shared/sql/<schema>.sql` where it does not exist.

    Raises:
        UserError: the schema exists in another version.
    """
    with connection.cursor() as cursor:
        # Two runs that start together must not both create it.
        cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"steam-recsys:{schema}"])
        if _schema_exists(cursor, schema):
            _check_version(cursor, schema)
            return
        cursor.execute((Path(__file__).parent / "sql" / f"{schema}.sql").read_text())
        cursor.execute(
            f"INSERT INTO {schema}.schema_version (version) VALUES (%s)",  # noqa: S608 - a name from SCHEMA_VERSIONS
            [SCHEMA_VERSIONS[schema]],
        )


def require_schema(connection: Connection, schema: str) -> None:
    """Check that a schema is there in the version that this code reads.

    Raises:
        UserError: it is missing, or of another version.
    """
    with connection.cursor() as cursor:
        if not _schema_exists(cursor, schema):
            remedy = {"steam": "run the ingestion pipeline first", "recsys": "run the inference pipeline first"}[schema]
            raise UserError(f"The database has no schema {schema}: {remedy}.")
        _check_version(cursor, schema)


def _schema_exists(cursor: Cursor, schema: str) -> bool:
    cursor.execute("SELECT to_regnamespace(%s) IS NOT NULL", [schema])
    row = cursor.fetchone()
    return bool(row and row[0])


def _check_version(cursor: Cursor, schema: str) -> None:
    wanted, found = SCHEMA_VERSIONS[schema], None
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [f"{schema}.schema_version"])
    if (row := cursor.fetchone()) and row[0]:
        cursor.execute(f"SELECT max(version) FROM {schema}.schema_version")  # noqa: S608 - a name from SCHEMA_VERSIONS
        found = row[0] if (row := cursor.fetchone()) else None
    if found != wanted:
        described = f"is of version {found}" if found is not None else "was not made by this project"
        made_by = {"steam": "ingest again", "recsys": "publish again, until when the shop reads nothing"}[schema]
        raise UserError(
            f"The schema {schema} in the database {described}, this code needs version {wanted}: "
            f"back it up, drop it with DROP SCHEMA {schema} CASCADE, and {made_by}."
        )
