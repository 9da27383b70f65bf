"""The explorer on a demo's database, with a read-only role."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import parse_dsn

from demo.workspace import Workspace
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import replace_durably

READER = Path(__file__).parents[1] / "explorer" / "reader.sql"
ROLE = "steam_recsys_explorer"


def explore(workspace: Workspace, data: Path | None) -> None:
    """Replace this process with the explorer of the last demo, or of a data folder's demo.

    Environment variables override its settings.

    Raises:
        UserError: No such demo has run yet, or the role cannot be created in its database.
    """
    url = workspace.known_database_url(data)
    token = _secret(workspace.root / "operator-token")
    settings = {
        "EXPLORER_STORE": str(workspace.store(url)),
        "EXPLORER_OPERATOR_DATABASE_URL": url,
        "EXPLORER_OPERATOR_TOKEN": token,
        **os.environ,
    }
    if "EXPLORER_DATABASE_URL" not in os.environ:
        settings["EXPLORER_DATABASE_URL"] = reader_url(url, _secret(workspace.root / "explorer-password"))
    print(f"demo: the operator's token, for rolling back, is in {workspace.root / 'operator-token'}", flush=True)
    os.execve(sys.executable, [sys.executable, "-m", "commands", "explore"], settings)


def reader_url(url: str, password: str) -> str:
    """Create the explorer's role in a database, or set its password, and return the URL for that role.

    Raises:
        UserError: Nothing has been published to the database, or the user in the URL may not create roles.
    """
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(READER.read_text())
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [ROLE])
            statement = (
                "ALTER USER {} PASSWORD {}" if cursor.rowcount else "CREATE USER {} PASSWORD {} IN ROLE recsys_reader"
            )
            cursor.execute(sql.SQL(statement).format(sql.Identifier(ROLE), sql.Literal(password)))
    except (psycopg2.errors.InvalidSchemaName, psycopg2.errors.UndefinedTable):
        raise UserError("The demo's last run published nothing: run make demo again.") from None
    except psycopg2.errors.InsufficientPrivilege as error:
        raise UserError(
            f"The explorer's role cannot be created in this database ({error.diag.message_primary}): let its owner run "
            f"{READER.relative_to(READER.parents[1])}, and set EXPLORER_DATABASE_URL."
        ) from None
    finally:
        connection.close()
    parts = {**parse_dsn(url), "user": ROLE, "password": password}
    database = parts.pop("dbname", "")
    return f"postgresql:///{quote(database, safe='')}?{urlencode(parts, quote_via=quote)}"


def _secret(path: Path) -> str:
    """Return the secret in a file; create the file first if it does not exist."""
    if not path.exists():
        temporary = path.with_name(f".{path.name}")  # a killed process leaves no empty secret behind
        temporary.touch(mode=0o600)
        temporary.write_text(secrets.token_urlsafe(24))
        replace_durably(temporary, path)
    return path.read_text()
