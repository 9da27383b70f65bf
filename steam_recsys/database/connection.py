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

from steam_recsys.database.url import connection_parameters
from steam_recsys.errors import UserError
from steam_recsys.secret_manager import read_secret

SECRET_MANAGER = "sm://"
COPY_BUFFER = 1 << 20
"""Bytes that COPY moves at a time: psycopg2's default of 8 KB is several times slower."""

SCHEMA_VERSIONS = {"steam": 2, "recsys": 3}
"""The version of each schema that this code reads and writes."""

__all__ = [
    "COPY_BUFFER",
    "Connection",
    "Cursor",
    "connect",
    "create_schema",
    "replace_functions",
    "require_schema",
    "resolve_secret",
]

_FUNCTIONS = "CREATE OR REPLACE FUNCTION"
"""What the functions begin with, which are the end of a schema's text."""

_FUNCTIONS_OF = """
SELECT proname, oid::regprocedure::text, xmin::text FROM pg_proc WHERE pronamespace = %s::regnamespace
"""


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
            "A database or a webhook is named as env:NAME, after the environment variable that holds its URL, or as "
            "sm://projects/P/secrets/S/versions/V, after a secret of Secret Manager."
        )
    value = os.environ.get(name)
    if not value:
        raise UserError(
            f"The environment variable {name} is not set: set it to the URL, postgresql://… or mongodb://… of a "
            f"database, https://… of a webhook."
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
        connection_parameters(url)
        connection = psycopg2.connect(url, application_name=application, connect_timeout=10, client_encoding="UTF8")
    except ValueError as error:
        raise UserError(f"{_named(reference)} is {error}.") from None
    except psycopg2.OperationalError as error:
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
    return f"The database in {name} cannot be reached ({reason}): check that the server is up and {name} is right."


def create_schema(connection: Connection, schema: str) -> None:
    """Create a schema from `steam_recsys/database/sql/<schema>.sql` where it does not exist.

    Raises:
        UserError: the schema exists in another version.
    """
    with connection.cursor() as cursor:
        _lock(cursor, schema)
        if _schema_exists(cursor, schema):
            _check_version(cursor, schema)
            return
        cursor.execute(_text(schema))
        cursor.execute(
            f"INSERT INTO {schema}.schema_version (version) VALUES (%s)",  # noqa: S608 - a name from SCHEMA_VERSIONS
            [SCHEMA_VERSIONS[schema]],
        )


def replace_functions(connection: Connection, schema: str) -> None:
    """Bring the functions of a schema that is there to the text of this code; its tables and views stay.

    Calls go on meanwhile, as the old functions answer until the commit. Rights on a function, and what depends on it,
    stay where its arguments and its result do; else it is dropped, so that a call still means one function.

    Raises:
        UserError: something of the user's own depends on a function that must be dropped.
    """
    text = _text(schema)
    functions = text[text.index(_FUNCTIONS) :]
    with connection.cursor() as cursor:
        _lock(cursor, schema)
        before = _functions(cursor, schema)
        cursor.execute("SAVEPOINT functions")
        try:
            cursor.execute(functions)
        except psycopg2.errors.InvalidFunctionDefinition:  # a result that is another now
            cursor.execute("ROLLBACK TO functions")
            _drop(cursor, before)
            cursor.execute(functions)
        after = _functions(cursor, schema)
        names = {name for name, _, _ in after - before}
        _drop(cursor, {each for each in before & after if each[0] in names})


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


def _text(schema: str) -> str:
    return (Path(__file__).parent / "sql" / f"{schema}.sql").read_text()


def _lock(cursor: Cursor, schema: str) -> None:
    """Two runs that start together must not both change a schema."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"steam-recsys:{schema}"])


def _functions(cursor: Cursor, schema: str) -> set[tuple[str, str, str]]:
    """A schema's functions: name, signature, and what is another once it has been replaced."""
    cursor.execute(_FUNCTIONS_OF, [schema])
    return set(cursor.fetchall())


def _drop(cursor: Cursor, functions: set[tuple[str, str, str]]) -> None:
    for _, signature, _ in functions:
        try:
            cursor.execute(f"DROP FUNCTION {signature}")  # as the server itself wrote and quoted it
        except psycopg2.errors.DependentObjectsStillExist as error:
            what = (error.diag.message_detail or "").partition("\n")[0].rstrip(".")
            raise UserError(f"{signature} takes or returns something else now ({what}): drop that first.") from None


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
        remedy = {
            "steam": "and ingest again, which gives users and games new ids, so publish again too",
            "recsys": "and run inference again; the kept versions, the records of runs and the rights are lost, and "
            "the shop reads nothing until the run ends",
        }[schema]
        raise UserError(
            f"The schema {schema} in the database {described}, this code needs version {wanted}: "
            f"back it up, drop it with DROP SCHEMA {schema} CASCADE, {remedy}."
        )
