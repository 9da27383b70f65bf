"""Connections to PostgreSQL, the two schemas that the stages share, and the statements of SQL files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import psycopg2.errorcodes
from psycopg2 import sql
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from steam_recsys.database.failures import CONNECTION_LOST, connection_error, database_error
from steam_recsys.database.limits import DEFAULT, LimitedConnection, LimitedCursor, Limits
from steam_recsys.database.lock_watch import LockWatch
from steam_recsys.database.urls import socket_settings
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.secrets import resolve_secret

__all__ = [
    "COPY_BUFFER",
    "SCHEMA_VERSIONS",
    "Connection",
    "Cursor",
    "connect",
    "connect_url",
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

SCHEMA_VERSIONS = {"steam": 3, "recsys": 8}
"""The version of each schema that this code reads and writes."""

_FUNCTIONS_START = "CREATE OR REPLACE FUNCTION"
"""The functions are the end of a schema's text: everything from this statement on."""

_FUNCTIONS_IN_SCHEMA = """
SELECT proname, oid::regprocedure::text, xmin::text FROM pg_proc WHERE pronamespace = %s::regnamespace
"""

_GRANTS = """
SELECT proname, coalesce(quote_ident(rolname), 'PUBLIC'), is_grantable
FROM pg_proc CROSS JOIN aclexplode(proacl) LEFT JOIN pg_roles ON pg_roles.oid = grantee
WHERE pronamespace = %s::regnamespace
"""

SWITCH_PATIENCE = "300s"
"""How long to wait for a switch or a refresh, which may have to rewrite many users in MongoDB, to end."""


@contextmanager
def connect(
    reference: str, *, application: str = "steam-recsys", limits: Limits = DEFAULT
) -> Iterator[LimitedConnection]:
    """Open one transaction: committed at the end, rolled back on an error.

    The body may commit and go on: each transaction begins with the limits. While a statement waits for a lock, the
    sessions that hold it are logged. Every error of the database is translated, so that none shows a part of the URL.

    Args:
        reference: Reference to the database's URL, such as `env:DATABASE_URL`.
        application: Name of the client in `pg_stat_activity`.
        limits: Time limits of its statements.

    Raises:
        UserError: The database cannot be reached, refuses the password, does not exist, has another schema or fails
            part-way, or the role lacks a privilege; `UnavailableError` if that may pass.

    Example:
        >>> with connect("env:DATABASE_URL") as connection, connection.cursor() as cursor:
        ...     cursor.execute("SELECT count(*) FROM steam.games")
    """
    url, name = resolve_secret(reference), reference.removeprefix("env:")
    with connect_url(url, name, application=application, limits=limits) as connection:
        yield connection


@contextmanager
def connect_url(
    url: str, name: str, *, application: str = "steam-recsys", limits: Limits = DEFAULT
) -> Iterator[LimitedConnection]:
    """Open one transaction as `connect` does, by a URL.

    Args:
        url: The database's URL.
        name: What messages call it.
        application: See `connect`.
        limits: See `connect`.

    Raises:
        UserError: See `connect`.
    """
    try:
        connection = psycopg2.connect(
            url,
            **socket_settings(url),
            application_name=application,
            connect_timeout=10,
            client_encoding="UTF8",
            connection_factory=LimitedConnection,
            cursor_factory=LimitedCursor,
        )
    except ValueError as error:
        raise UserError(f"{name} is {error}.") from None
    except psycopg2.OperationalError as error:
        raise connection_error(name, str(error)) from None
    connection.limits = limits
    try:
        with LockWatch(url, connection, application, announce=_log_blockers) as watch:
            try:
                yield connection
                connection.commit()
            except psycopg2.Error as error:
                if (translated := _translated(name, error, connection, watch.blockers)) is None:
                    raise
                raise translated from None
    finally:
        connection.close()  # rolls back what was not committed; no longer watched, as libpq frees it


def create_schema(connection: Connection, schema: str) -> None:
    """Create a schema from `steam_recsys/database/sql/<schema>.sql` unless it exists.

    Raises:
        UserError: The schema exists in another version.
    """
    with connection.cursor() as cursor:
        if not _schema_exists(cursor, schema):
            _lock(cursor, schema)
        if _schema_exists(cursor, schema):  # another transaction may have created it meanwhile
            _check_version(cursor, schema)
            return
        earlier = len(connection.notices)
        cursor.execute(_schema_sql(schema))
        for notice in connection.notices[earlier:]:
            if notice.startswith("WARNING:"):
                log("database", notice.removeprefix("WARNING:").strip())
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

    Callers are not interrupted: the old functions answer until the commit. Privileges stay. If a function's arguments
    and result are unchanged, the objects that depend on it stay too. If they changed, the old function is dropped, so
    that a call never matches two functions. The shop's own functions in the schema stay if they have other names.

    Raises:
        UserError: One of the user's own objects depends on a function that must be dropped.
    """
    text = _schema_sql(schema)
    functions = text[text.index(_FUNCTIONS_START) :]
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [SWITCH_PATIENCE])
        # A row, not the advisory lock of the schema's creation, which any role might take.
        cursor.execute("SELECT FROM recsys.lease WHERE name = 'switch' FOR UPDATE")
        before = _functions(cursor, schema)
        cursor.execute(_GRANTS, [schema])
        grants = cursor.fetchall()
        dropped = _execute_replacing(cursor, functions, before)
        after = _functions(cursor, schema)
        replaced = {name for name, _, _ in after - before}
        outdated = {function for function in before & after if function[0] in replaced}
        _drop(cursor, outdated)
        for name in sorted({name for name, _, _ in dropped | outdated}):
            _grant_again(cursor, schema, name, [grant[1:] for grant in grants if grant[0] == name])


def read_queries(path: Path) -> dict[str, str]:
    """Return the statements of a SQL file by name, in the order of the file."""
    sections = (section.partition("\n") for section in path.read_text(encoding="utf-8").split(QUERY_MARKER)[1:])
    return {name.strip(): statement.strip() for name, _, statement in sections}


def snapshot_queries() -> dict[str, str]:
    """Return the query for each table of a snapshot, with the bounds of a key range as parameters."""
    return read_queries(SQL_FOLDER / "snapshot_queries.sql")


def _translated(name: str, error: psycopg2.Error, connection: Connection, blockers: str) -> UserError | None:
    """Return what to raise instead of the driver's error; None if it is an error of this program."""
    sqlstate = error.pgcode
    if sqlstate is None:
        # If a connection drops during COPY, psycopg2 raises a plain DatabaseError.
        if connection.closed or isinstance(error, psycopg2.OperationalError) or type(error) is psycopg2.DatabaseError:
            return database_error(name, CONNECTION_LOST, detail="the connection was lost")
        return None
    detail = ""
    if sqlstate == psycopg2.errorcodes.LOCK_NOT_AVAILABLE and blockers:
        detail = f"held by {blockers}"
    if sqlstate == psycopg2.errorcodes.QUERY_CANCELED and blockers:
        detail = f"it waited for a lock that is held by {blockers}"
    if sqlstate in (psycopg2.errorcodes.CHARACTER_NOT_IN_REPERTOIRE, psycopg2.errorcodes.UNTRANSLATABLE_CHARACTER):
        detail = f"its encoding is {connection.info.parameter_status('server_encoding')}"
    return database_error(name, sqlstate, error.diag.message_primary or "", detail)


def _log_blockers(blockers: str) -> None:
    log("database", f"waiting for a lock that is held by {blockers}")


def _schema_sql(schema: str) -> str:
    return (SQL_FOLDER / f"{schema}.sql").read_text()


def _lock(cursor: Cursor, schema: str) -> None:
    """Wait for other transactions that change the schema."""
    cursor.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [f"steam-recsys:{schema}"])


def _functions(cursor: Cursor, schema: str) -> set[tuple[str, str, str]]:
    """Return a schema's functions: name, signature, and a value that changes when the function is replaced."""
    cursor.execute(_FUNCTIONS_IN_SCHEMA, [schema])
    return set(cursor.fetchall())


def _execute_replacing(cursor: Cursor, statements: str, before: set[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """Execute statements that replace functions, and return those that had to be dropped, as their results changed."""
    dropped: set[tuple[str, str, str]] = set()
    while True:
        cursor.execute("SAVEPOINT functions")
        try:
            cursor.execute(statements)
        except psycopg2.errors.InvalidFunctionDefinition as error:
            cursor.execute("ROLLBACK TO functions")
            hint = error.diag.message_hint or ""  # names the function, in every language
            conflicting = {each for each in before - dropped if re.search(rf"(?<!\S){re.escape(each[1])}(?!\w)", hint)}
            if not conflicting:
                raise
            _drop(cursor, conflicting)
            dropped |= conflicting
        else:
            return dropped


def _grant_again(cursor: Cursor, schema: str, name: str, grants: Sequence[tuple[str, bool]]) -> None:
    """Give a function that was dropped and created again its privileges, if any were ever set.

    Args:
        cursor: Cursor of the transaction.
        schema: The function's schema.
        name: Its name, which no other function of the schema has.
        grants: Each role that could execute it, the owner too, quoted, or `PUBLIC`; and whether it could grant that to
            others.
    """
    if not grants:
        return
    function = sql.Identifier(schema, name)
    if "PUBLIC" not in {role for role, _ in grants}:
        cursor.execute(sql.SQL("REVOKE ALL ON FUNCTION {} FROM PUBLIC").format(function))
    for role, grantable in grants:
        option = sql.SQL(" WITH GRANT OPTION" if grantable else "")
        cursor.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}{}").format(function, sql.SQL(role), option))


def _drop(cursor: Cursor, functions: set[tuple[str, str, str]]) -> None:
    for _, signature, _ in functions:
        try:
            cursor.execute(f"DROP FUNCTION {signature}")  # quoted by the server itself
        except psycopg2.errors.DependentObjectsStillExist as error:
            dependents = (error.diag.message_detail or "").partition("\n")[0].rstrip(".")
            raise UserError(f"{signature} takes or returns something else now ({dependents}): drop it.") from None


def _schema_exists(cursor: Cursor, schema: str) -> bool:
    # Not by to_regnamespace, which may remember an answer from before the lock.
    cursor.execute("SELECT FROM pg_namespace WHERE nspname = %s", [schema])
    return bool(cursor.rowcount)


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
