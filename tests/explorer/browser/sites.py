"""What is visited: an explorer, and the database that it shows; of the demo on real data among others."""

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
        """What the database itself says."""
        connection = psycopg2.connect(self.database_url)
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
        connection.close()
        return rows

    def recommended(self, user_id: int | None, **arguments: Any) -> list[tuple[int, str, str]]:
        """Id, name and reason of the games of `recsys.recommended_games`, whose `arguments` have no p_."""
        named = "".join(f", p_{name} => %s" for name in arguments)
        statement = f"SELECT game_id, game, reason FROM recsys.recommended_games(%s{named}) ORDER BY rank"
        return [(row[0], row[1], row[2]) for row in self.rows(statement, user_id, *arguments.values())]


@contextmanager
def demo_site() -> Iterator[Site]:
    """The explorer of a demo, on real data where there are some.

    That of this checkout's last demo where it was on the same data: `.ci/run` runs it before the tests. Otherwise a
    demo is run first, in a folder of its own, which takes minutes.
    """
    data = REAL_DATA if REAL_DATA.is_dir() else None
    place = Workspace(ROOT / "local")
    if data and place.shows(data):
        with _explorer(place) as site:
            yield site
        return
    # Not in pytest's own folder: another session may close that to the database's system user.
    with tempfile.TemporaryDirectory(prefix="steam-recsys-demo-") as folder:
        place = Workspace(Path(folder))
        try:
            subprocess.run(
                _demo(place, "run", *(["--data", str(data)] if data else [])), cwd=ROOT, env=_environment(), check=True
            )
            with _explorer(place) as site:
                yield site
        finally:
            place.postgres.stop()


@contextmanager
def _explorer(place: Workspace) -> Iterator[Site]:
    """As `make explore` starts it, on a free port; the database goes on or rests as it did before."""
    ran = place.postgres.running()
    settings = {"EXPLORER_PORT": "0", "EXPLORER_WORKERS": "1", "EXPLORER_REQUESTS_PER_SECOND": "1e6"}
    process = subprocess.Popen(
        _demo(place, "explore"), cwd=ROOT, env=_environment() | settings, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout
        said = next(line for line in process.stdout if line.startswith("explorer: "))
        site = Site(said.removeprefix("explorer: ").strip(), place.known_database_url())
        wait_until(lambda: httpx.get(f"{site.url}/readyz", timeout=60).is_success)
        yield site
    finally:
        process.terminate()
        process.wait(300)
        if not ran:
            place.postgres.stop()


def _demo(place: Workspace, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "demo", "--workspace", str(place.root), *arguments]


def _environment() -> dict[str, str]:
    """Without the settings of whoever runs the tests, and without those of other tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_URL", "EXPLORER_"))}
