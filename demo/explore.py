"""The explorer on a demo's database, by a role that may only read."""

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

READER = Path(__file__).parents[1] / "explorer" / "reader.sql"
ROLE = "steam_recsys_explorer"


def explore(place: Workspace, data: Path | None) -> None:
    """Become the explorer of the last demo, or of that of a folder; its settings in the environment count first.

    Raises:
        UserError: there was no such demo yet, or its database does not let a role be made.
    """
    url = place.known_database_url(data)
    token = _secret(place.root / "operator-token")
    settings = {
        "EXPLORER_STORE": str(place.store(url)),
        "EXPLORER_OPERATOR_DATABASE_URL": url,
        "EXPLORER_OPERATOR_TOKEN": token,
        **os.environ,
    }
    if "EXPLORER_DATABASE_URL" not in os.environ:
        settings["EXPLORER_DATABASE_URL"] = reader_url(url, _secret(place.root / "explorer-password"))
    print(f"demo: the operator's token, for rolling back, is in {place.root / 'operator-token'}", flush=True)
    os.execve(sys.executable, [sys.executable, "-m", "commands", "explore"], settings)


def reader_url(url: str, password: str) -> str:
    """The URL of a database for the role of the explorer, which is made, or gets this password.

    Raises:
        UserError: nothing has been published to the database, or the URL's user may not create roles.
    """
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(READER.read_text())
            cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [ROLE])
            what = (
                "ALTER USER {} PASSWORD {}" if cursor.rowcount else "CREATE USER {} PASSWORD {} IN ROLE recsys_reader"
            )
            cursor.execute(sql.SQL(what).format(sql.Identifier(ROLE), sql.Literal(password)))
    except (psycopg2.errors.InvalidSchemaName, psycopg2.errors.UndefinedTable):
        raise UserError("The demo's last run published nothing: run make demo again.") from None
    except psycopg2.errors.InsufficientPrivilege as error:
        raise UserError(
            f"The explorer's role cannot be made in this database ({error.diag.message_primary}): let its owner run "
            f"{READER.relative_to(READER.parents[1])}, and set EXPLORER_DATABASE_URL."
        ) from None
    finally:
        connection.close()
    parts = {**parse_dsn(url), "user": ROLE, "password": password}
    database = parts.pop("dbname", "")
    return f"postgresql:///{quote(database, safe='')}?{urlencode(parts, quote_via=quote)}"


def _secret(path: Path) -> str:
    """A secret of this demo's own, which is made where it is not there yet."""
    if not path.exists():
        temporary = path.with_name(f".{path.name}")  # a killed process leaves no empty secret behind
        temporary.touch(mode=0o600)
        temporary.write_text(secrets.token_urlsafe(24))
        temporary.replace(path)
    return path.read_text()
