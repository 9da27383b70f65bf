"""Connections to PostgreSQL, the two schemas that the stages share, and the statements of SQL files.

Every command takes the same URLs: `postgres://` and `postgresql://`, with several hosts or a host after the `?`, and
libpq's `key=value` strings (https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING). psycopg2
reads them as libpq does; asyncpg does not, so `asyncpg_arguments` converts them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psycopg2
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor
from psycopg2.extensions import parse_dsn

from steam_recsys.errors import UserError
from steam_recsys.secrets import resolve_secret

__all__ = [
    "COPY_BUFFER",
    "SCHEMA_VERSIONS",
    "Connection",
    "Cursor",
    "asyncpg_arguments",
    "connect",
    "connection_parameters",
    "create_schema",
    "read_queries",
    "replace_functions",
    "require_schema",
    "snapshot_queries",
]

SQL_FOLDER = Path(__file__).parent / "sql"
QUERY_MARKER = "-- name: "
"""Prefix of the line above each statement in a SQL file."""

COPY_BUFFER = 1 << 20
"""Buffer size of COPY in bytes: psycopg2's default of 8 KB is several times slower."""

SCHEMA_VERSIONS = {"steam": 2, "recsys": 4}
"""The version of each schema that this code reads and writes."""

_FUNCTIONS_START = "CREATE OR REPLACE FUNCTION"
"""The functions are the end of a schema's text: everything from this statement on."""

_FUNCTIONS_IN_SCHEMA = """
SELECT proname, oid::regprocedure::text, xmin::text FROM pg_proc WHERE pronamespace = %s::regnamespace
"""

_URL_PARAMETERS = (
    *("passfile", "service", "options", "target_session_attrs", "krbsrvname", "gsslib", "sslmode", "sslnegotiation"),
    *("sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
)
"""Parameters that asyncpg knows by libpq's names, in a URL only."""

_TUNING_PARAMETERS = (
    *("application_name", "fallback_application_name", "client_encoding", "connect_timeout", "load_balance_hosts"),
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
    *("sslcompression", "sslsni"),
)
"""Parameters that asyncpg does not have and that a connection is as good without; the caller sets the first ones."""

_OPTIONAL_PARAMETERS = ("channel_binding", "gssencmode", "sslcertmode")
"""Parameters that asyncpg does not have: it can do without unless they are `require`."""


@contextmanager
def connect(reference: str, *, application: str = "steam-recsys") -> Iterator[Connection]:
    """Open one transaction: committed at the end, rolled back on an error.

    Args:
        reference: Reference to the database's URL, such as `env:DATABASE_URL`.
        application: Name of the client in `pg_stat_activity`.

    Raises:
        UserError: The database cannot be reached, refuses the password, does not exist or fails part-way, or the role
            lacks a privilege.

    Example:
        >>> with connect("env:DATABASE_URL") as connection, connection.cursor() as cursor:
        ...     cursor.execute("SELECT count(*) FROM steam.games")
    """
    url = resolve_secret(reference)
    name = reference.removeprefix("env:")
    try:
        connection_parameters(url)
        connection = psycopg2.connect(url, application_name=application, connect_timeout=10, client_encoding="UTF8")
    except ValueError as error:
        raise UserError(f"{name} is {error}.") from None
    except psycopg2.OperationalError as error:
        raise UserError(_connection_message(name, str(error))) from None
    try:
        yield connection
        connection.commit()
    except psycopg2.errors.InsufficientPrivilege as error:
        message = error.diag.message_primary
        raise UserError(f"The role in {name} may not do this ({message}): grant it.") from None
    except psycopg2.Error as error:
        # If a connection drops during COPY, psycopg2 raises a plain DatabaseError without a message.
        lost = "no message from the libpq" in str(error)
        if not isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) and not lost:
            raise
        reason = "the connection was lost" if lost else _one_line(str(error))
        raise UserError(f"The database in {name} failed ({reason}): see its log, then run again.") from None
    finally:
        connection.close()  # rolls back what was not committed


def create_schema(connection: Connection, schema: str) -> None:
    """Create a schema from `steam_recsys/database/sql/<schema>.sql` unless it exists.

    Raises:
        UserError: The schema exists in another version.
    """
    with connection.cursor() as cursor:
        _lock(cursor, schema)
        if _schema_exists(cursor, schema):
            _check_version(cursor, schema)
            return
        cursor.execute(_schema_sql(schema))
        cursor.execute(
            f"INSERT INTO {schema}.schema_version (version) VALUES (%s)",  # noqa: S608 - a name from SCHEMA_VERSIONS
            [SCHEMA_VERSIONS[schema]],
        )


def require_schema(connection: Connection, schema: str) -> None:
    """Check that a schema exists in the version that this code reads.

    Raises:
        UserError: The schema is missing or has another version.
    """
    with connection.cursor() as cursor:
        if not _schema_exists(cursor, schema):
            remedy = {"steam": "run the ingestion pipeline first", "recsys": "run the inference pipeline first"}[schema]
            raise UserError(f"The database has no schema {schema}: {remedy}.")
        _check_version(cursor, schema)


def replace_functions(connection: Connection, schema: str) -> None:
    """Replace the functions of an existing schema with this code's; its tables and views stay.

    Callers are not interrupted: the old functions answer until the commit. If a function's arguments and result are
    unchanged, its privileges and the objects that depend on it stay. If they changed, the old function is dropped, so
    that a call never matches two functions.

    Raises:
        UserError: One of the user's own objects depends on a function that must be dropped.
    """
    text = _schema_sql(schema)
    functions = text[text.index(_FUNCTIONS_START) :]
    with connection.cursor() as cursor:
        _lock(cursor, schema)
        before = _functions(cursor, schema)
        cursor.execute("SAVEPOINT functions")
        try:
            cursor.execute(functions)
        except psycopg2.errors.InvalidFunctionDefinition:  # the result has changed
            cursor.execute("ROLLBACK TO functions")
            _drop(cursor, before)
            cursor.execute(functions)
        after = _functions(cursor, schema)
        replaced = {name for name, _, _ in after - before}
        _drop(cursor, {function for function in before & after if function[0] in replaced})


def connection_parameters(url: str) -> dict[str, str]:
    """Read a URL, or a `key=value` string, as libpq does; the parameters by libpq's names.

    Raises:
        ValueError: It is not a PostgreSQL URL. The message does not show it, as it may contain a password.
    """
    try:
        parameters = dict(parse_dsn(url))
        ports = [int(port) for port in parameters.get("port", "").split(",") if port]
        if not all(0 < port < 1 << 16 for port in ports):
            raise ValueError
    except (psycopg2.ProgrammingError, ValueError):  # a port that is not a number may be a part of the password
        raise ValueError(
            "not a PostgreSQL URL like postgresql://user:password@host:port/database, or one with an unknown "
            "parameter; in a user name or a password, write %2F for /, %3A for :, %40 for @"
        ) from None
    return parameters


def asyncpg_arguments(url: str) -> dict[str, Any]:
    """The arguments of `asyncpg.connect` for a URL that psycopg2 takes.

    Timeouts, the encoding and the name of the application are left to the caller.

    Example:
        >>> asyncpg_arguments("host=a,b port=5432 dbname=shop user=me")
        {'host': ['a', 'b'], 'port': 5432, 'user': 'me', 'database': 'shop'}

    Raises:
        ValueError: It is not a PostgreSQL URL, or has an option that asyncpg does not support.
    """
    parameters = connection_parameters(url)
    arguments: dict[str, Any] = {}
    host, address = parameters.pop("host", ""), parameters.pop("hostaddr", "")
    if address and host and parameters.get("sslmode") == "verify-full":
        raise ValueError("hostaddr is not supported with sslmode=verify-full: remove it")
    if hosts := address or host:
        arguments["host"] = [each or "localhost" for each in hosts.split(",")]
    if ports := parameters.pop("port", ""):
        numbers = [int(port or 5432) for port in ports.split(",")]
        arguments["port"] = numbers if len(numbers) > 1 else numbers[0]
    for name, argument in (("user", "user"), ("password", "password"), ("dbname", "database")):
        if value := parameters.pop(name, ""):
            arguments[argument] = value
    if parameters.get("sslrootcert") == "system":  # the certificates that the operating system trusts
        arguments["ssl"] = True
        del parameters["sslrootcert"]
        parameters.pop("sslmode", None)
    query = {name: parameters.pop(name) for name in _URL_PARAMETERS if name in parameters}
    for name, value in parameters.items():
        if name not in _TUNING_PARAMETERS and not (name in _OPTIONAL_PARAMETERS and value != "require"):
            raise ValueError(f"{name} is not supported: remove it")
    if query:
        arguments["dsn"] = f"postgresql://?{urlencode(query)}"
    return arguments


def read_queries(path: Path) -> dict[str, str]:
    """Return the statements of a SQL file by name, in the order of the file."""
    sections = (section.partition("\n") for section in path.read_text(encoding="utf-8").split(QUERY_MARKER)[1:])
    return {name.strip(): statement.strip() for name, _, statement in sections}


def snapshot_queries() -> dict[str, str]:
    """Return the query for each table of a snapshot, with the bounds of a key range as parameters."""
    return read_queries(SQL_FOLDER / "snapshot_queries.sql")


def _connection_message(name: str, error: str) -> str:
    reason = _one_line(error)
    if "password authentication failed" in reason or "no password supplied" in reason:
        return f"The database in {name} refused the user or the password: correct {name}."
    if re.search(r'database "[^"]*" does not exist', reason):
        return f"The database that {name} names does not exist on its server: create it or correct {name}."
    return f"The database in {name} cannot be reached ({reason}): check that the server is up and {name} is right."


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _schema_sql(schema: str) -> str:
    return (SQL_FOLDER / f"{schema}.sql").read_text()


def _lock(cursor: Cursor, schema: str) -> None:
    """Wait for other transactions that change the schema."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"steam-recsys:{schema}"])


def _functions(cursor: Cursor, schema: str) -> set[tuple[str, str, str]]:
    """Return a schema's functions: name, signature, and a value that changes when the function is replaced."""
    cursor.execute(_FUNCTIONS_IN_SCHEMA, [schema])
    return set(cursor.fetchall())


def _drop(cursor: Cursor, functions: set[tuple[str, str, str]]) -> None:
    for _, signature, _ in functions:
        try:
            cursor.execute(f"DROP FUNCTION {signature}")  # quoted by the server itself
        except psycopg2.errors.DependentObjectsStillExist as error:
            dependents = (error.diag.message_detail or "").partition("\n")[0].rstrip(".")
            raise UserError(f"{signature} takes or returns something else now ({dependents}): drop it.") from None


def _schema_exists(cursor: Cursor, schema: str) -> bool:
    cursor.execute("SELECT to_regnamespace(%s) IS NOT NULL", [schema])
    row = cursor.fetchone()
    return bool(row and row[0])


def _check_version(cursor: Cursor, schema: str) -> None:
    expected, found = SCHEMA_VERSIONS[schema], None
    cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [f"{schema}.schema_version"])
    if (row := cursor.fetchone()) and row[0]:
        cursor.execute(f"SELECT max(version) FROM {schema}.schema_version")  # noqa: S608 - a name from SCHEMA_VERSIONS
        found = row[0] if (row := cursor.fetchone()) else None
    if found != expected:
        origin = f"is of version {found}" if found is not None else "was not made by this project"
        remedy = {
            "steam": "and ingest again, which gives users and games new ids, so publish again too",
            "recsys": "and run inference again; the kept versions, the records of runs and the rights are lost, and "
            "the shop reads nothing until the run ends",
        }[schema]
        raise UserError(
            f"The schema {schema} in the database {origin}, this code needs version {expected}: "
            f"back it up, drop it with DROP SCHEMA {schema} CASCADE, {remedy}."
        )
