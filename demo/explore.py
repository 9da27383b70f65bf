"""The explorer on a demo's database, with a read-only role."""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path
from urllib.parse import quote, urlencode

from psycopg2.extensions import parse_dsn

from demo.workspace import Workspace
from explorer.reader import NothingPublished, create_reader
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import replace_durably

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
    try:
        create_reader(url, ROLE, password)
    except NothingPublished:
        raise UserError("The demo's last run published nothing: run make demo again.") from None
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
