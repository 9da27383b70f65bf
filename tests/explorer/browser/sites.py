"""Running explorers and their databases, one of them the demo on real data."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg2

from demo.workspace import Workspace
from tests.explorer.conftest import wait_until

ROOT = Path(__file__).parents[3]
REAL_DATA = ROOT.parent / "shared" / "data" / "steam-ucsd"


@dataclass(frozen=True)
class Site:
    """A running explorer: its URL, and that of the database that it shows."""

    url: str
    database_url: str

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run a query on the database."""
        connection = psycopg2.connect(self.database_url)
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        connection.close()
        return rows

    def recommended(self, user_id: int | None, **arguments: Any) -> list[tuple[int, str, str]]:
        """Id, name and reason of the games of `recsys.recommended_games`, whose `arguments` have no p_."""
        named = "".join(f", p_{name} => %s" for name in arguments)
        statement = f"SELECT game_id, name, reason FROM recsys.recommended_games(%s{named}) ORDER BY rank"
        return [(row[0], row[1], row[2]) for row in self.rows(statement, user_id, *arguments.values())]


@contextmanager
def demo_site() -> Iterator[Site]:
    """Yield the explorer of a demo, on real data if the machine has them.

    If this checkout's last demo used the same data, its explorer is used. Otherwise a demo runs first, in a temporary
    folder, which takes minutes.
    """
    data = REAL_DATA if REAL_DATA.is_dir() else None
    workspace = Workspace(ROOT / "local")
    if data and workspace.shows(data):
        with _explorer(workspace) as site:
            yield site
        return
    # Not in pytest's own folder: another session may close that to the database's system user.
    with tempfile.TemporaryDirectory(prefix="steam-recsys-demo-") as folder:
        workspace = Workspace(Path(folder))
        try:
            subprocess.run(
                _demo(workspace, "run", *(["--data", str(data)] if data else [])),
                cwd=ROOT,
                env=_environment(),
                check=True,
            )
            with _explorer(workspace) as site:
                yield site
        finally:
            workspace.postgres.stop()


@contextmanager
def _explorer(workspace: Workspace) -> Iterator[Site]:
    """Start the explorer as `make explore` does, on a free port; stop the database again if it was not running."""
    ran = workspace.postgres.running()
    settings = {"EXPLORER_PORT": "0", "EXPLORER_WORKERS": "1", "EXPLORER_REQUESTS_PER_SECOND": "1e6"}
    process = subprocess.Popen(
        _demo(workspace, "explore"), cwd=ROOT, env=_environment() | settings, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        line = next(text for text in process.stdout if text.startswith("explorer: "))
        site = Site(line.removeprefix("explorer: ").strip(), workspace.known_database_url())
        wait_until(lambda: httpx.get(f"{site.url}/readyz", timeout=60, verify=False).is_success)
        yield site
    finally:
        process.terminate()
        process.wait(300)
        if not ran:
            workspace.postgres.stop()


def _demo(workspace: Workspace, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "demo", "--workspace", str(workspace.root), *arguments]


def _environment() -> dict[str, str]:
    """Return the environment without the explorer's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_URL", "EXPLORER_"))}
