"""`python -m explorer.reader`: create the user with which the explorer reads, once something is published."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import encrypt_password

from steam_recsys.database.connection import connect, connect_url
from steam_recsys.database.failures import UnavailableError
from steam_recsys.database.urls import connection_parameters
from steam_recsys.errors import UserError
from steam_recsys.logging import mask_output
from steam_recsys.secrets import resolve_secret

OWNER = "env:DATABASE_URL"
READER = "env:EXPLORER_DATABASE_URL"
GRANTS = Path(__file__).parent / "reader.sql"
APPLICATION = "steam-recsys explorer-reader"
POLL_SECONDS = 10.0


class NothingPublished(UserError):
    """The database has no schema with recommendations."""


def main() -> None:
    """Wait for the first publication, then create the user that EXPLORER_DATABASE_URL names, with its password.

    DATABASE_URL connects as the owner of the schemas. The caller limits the wait.
    """
    mask_output()
    try:
        user, password = reader_credentials(resolve_secret(READER))
        waiting = ""
        while reason := _unpublished():
            if reason != waiting:
                print(f"explorer: waiting for the first publication: {reason}", flush=True)
            waiting = reason
            time.sleep(POLL_SECONDS)
        create_reader(resolve_secret(OWNER), user, password)
    except UserError as error:
        sys.exit(f"explorer: {error}")
    print(f"explorer: the user {user} may read", flush=True)


def reader_credentials(url: str) -> tuple[str, str]:
    """Return the user and the password in a URL.

    Raises:
        UserError: The URL is invalid or lacks one of them.
    """
    try:
        parameters = connection_parameters(url)
    except ValueError as error:
        raise UserError(f"EXPLORER_DATABASE_URL is {error}.") from None
    user, password = parameters.get("user"), parameters.get("password")
    if not user or not password:
        raise UserError("EXPLORER_DATABASE_URL names no user or no password: write postgresql://USER:PASSWORD@HOST/DB.")
    return str(user), str(password)


def create_reader(url: str, user: str, password: str) -> None:
    """Create a user in the role recsys_reader, or give an existing one that role and password.

    Args:
        url: URL of the shop's database, for the owner of the schemas.
        user: Name of the user.
        password: Its password.

    Raises:
        NothingPublished: The database has no schema with recommendations.
        UserError: The user in the URL may not create roles, or the database cannot be reached or fails.
    """
    name = sql.Identifier(user)
    connected = connect_url(url, "DATABASE_URL", application=APPLICATION)
    with connected as connection, connection.cursor() as cursor:
        try:
            cursor.execute(GRANTS.read_text())
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [user])
            verb = sql.SQL("ALTER" if cursor.rowcount else "CREATE")
            # As the server would store it: a statement with the password itself may land in the server's log.
            encrypted = encrypt_password(password, user, scope=connection)
            cursor.execute(sql.SQL("{} USER {} PASSWORD {}").format(verb, name, sql.Literal(encrypted)))
            cursor.execute(sql.SQL("GRANT recsys_reader TO {}").format(name))
        except (psycopg2.errors.InvalidSchemaName, psycopg2.errors.UndefinedTable):
            raise NothingPublished("The database has no recommendations yet: run the inference pipeline.") from None
        except psycopg2.errors.InsufficientPrivilege as error:
            raise UserError(
                f"The explorer's role cannot be created in this database ({error.diag.message_primary}): let its owner "
                f"run explorer/{GRANTS.name}, and set EXPLORER_DATABASE_URL."
            ) from None


def _unpublished() -> str:
    """Say why there is nothing to read yet; empty if there is a current publication."""
    try:
        with connect(OWNER, application=APPLICATION) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('recsys.publications') IS NOT NULL")
            if cursor.fetchone() == (True,):
                cursor.execute("SELECT FROM recsys.publications WHERE current")
                if cursor.rowcount:
                    return ""
    except UnavailableError as error:
        return str(error)
    return "the inference pipeline has not published anything."


if __name__ == "__main__":
    main()
