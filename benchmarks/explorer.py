"""`make benchmark-explorer`: the explorer under load, on cores that it shares with the database and with the load.

Recommendations of two million users from the published tables, also while a publication is loaded and switched to and
rolled back from; and answers to posted histories over 100,000 games. wrk asks: its connections wait for each answer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np

from benchmarks import publishing
from benchmarks.record import Row, at_least, at_most, run_benchmark
from components.reverse_etl.acceptance import Thresholds
from components.reverse_etl.publication import publish
from demo.explore import reader_url
from demo.postgres import EmbeddedPostgres
from steam_recsys.database.connection import connect, create_schema
from steam_recsys.errors import UserError
from steam_recsys.publications.destinations import DestinationConfig, rollback
from steam_recsys.publications.versions import VersionInfo
from steam_recsys.storage.model_store import add_model

USERS, GAMES_PER_USER = 2_000_000, 50
LIVE_GAMES, LONGEST_HISTORY = 100_000, 50
READY_SECONDS = 60
SECONDS, CONNECTIONS, LIVE_CONNECTIONS = 20, 16, 4
MUST_RATE, MUST_MS, MUST_LIVE_MS = 1000.0, 50.0, 25.0
DATABASE = "env:DATABASE_URL"
PASSWORD = "only for reading"

_SAYS = """
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('\\n{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "failed": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""

_RECOMMENDATIONS = """
request = function()
  return wrk.format("GET", string.format("/api/users/%d/recommendations{query}", math.random(1, {users})))
end
"""

_LIVE = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
request = function()
  local games = {{}}
  for place = 1, math.random(1, {longest}) do games[place] = math.random(1, {games}) end
  return wrk.format(nil, "/api/recommend", nil, '{{"history": [' .. table.concat(games, ",") .. ']{filters}}}')
end
"""


@dataclass(frozen=True)
class Load:
    """What wrk measured: requests, those that failed, requests a second, and milliseconds."""

    requests: int
    failed: int
    rate: float
    p50: float
    p99: float


def load(url: str, folder: Path, script: str, connections: int, seconds: float) -> Load:
    """Ask for some seconds, as a script for wrk says.

    Raises:
        UserError: wrk is not installed.
    """
    if shutil.which("wrk") is None:
        raise UserError("wrk is not installed: install it with apt-get install wrk.")
    path = folder / "load.lua"
    path.write_text(script + _SAYS)
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=10s", "-s", str(path), url]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    said = json.loads(printed.strip().splitlines()[-1])
    return Load(said["requests"], said["failed"], said["requests"] / said["seconds"], said["p50"], said["p99"])


@contextmanager
def loaded(url: str, folder: Path, script: str) -> Iterator[list[Load]]:
    """Ask for as long as the body runs; then what was measured stands in what was passed on."""
    found: list[Load] = []
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            found.append(load(url, folder, script, CONNECTIONS, min(SECONDS, 5)))

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield found
    finally:
        over.set()
        asking.join()


@contextmanager
def exploring(database: str, store: Path) -> Iterator[str]:
    """The URL of an explorer that is ready, as an operator starts it, except for the rate limit."""
    settings = {"EXPLORER_DATABASE_URL": database, "EXPLORER_STORE": str(store), "EXPLORER_PORT": "0",
                "EXPLORER_REQUESTS_PER_SECOND": "1000000"}  # fmt: skip
    command = [sys.executable, "-m", "explorer"]
    with subprocess.Popen(command, env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip().removeprefix("explorer: ")
            deadline = time.monotonic() + READY_SECONDS
            while not _ready(url):
                if process.poll() is not None:
                    raise RuntimeError(f"The explorer ended with {process.returncode}.")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"The explorer was not ready within {READY_SECONDS} s.")
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()


def published_rows(url: str, folder: Path, users: int, per_user: int) -> Iterator[Row]:
    """Recommendations from the published tables, at rest and while versions are published and switched."""
    for name, query in (
        ("recommendations", ""),
        ("recommendations by sales, of a genre, for 8 GB", "?rank_by=sales&genre=genre%%207&max_ram_gb=8"),
    ):
        script = _RECOMMENDATIONS.format(query=query, users=users)
        load(url, folder, script, CONNECTIONS, 3)  # does not count: what was just published is read into memory
        measured = load(url, folder, script, CONNECTIONS, SECONDS)
        what = f"{name} of {users:,} users, {CONNECTIONS} connections"
        plain = not query
        yield at_least(f"{what}, requests/s", measured.rate, MUST_RATE if plain else None)
        yield at_most(f"{what}, p50, ms", measured.p50)
        yield at_most(f"{what}, p99, ms", measured.p99, MUST_MS if plain else None)
        yield at_most(f"{what}, failed of {measured.requests:,}", measured.failed, 0)
    predictions = folder / "again"
    ranges = publishing.write_predictions(predictions, users, per_user, 2)
    with loaded(url, folder, _RECOMMENDATIONS.format(query="", users=users)) as found:
        publishing.publish_seconds(predictions, "v2", ranges)
        rollback(DestinationConfig(DATABASE))
        rollback(DestinationConfig(DATABASE), "v2")
    requests = sum(each.requests for each in found)
    during = "during a publication and two rollbacks"
    yield at_most(f"failed of {requests:,} recommendations {during}", sum(each.failed for each in found), 0)
    yield at_most(f"recommendations {during}, greatest p99 of some seconds, ms", max(each.p99 for each in found))


def live_rows(url: str, folder: Path, games: int) -> Iterator[Row]:
    """Answers to posted histories."""
    for name, filters in (("", ""), (" of a genre, by revenue", ', "genre": "genre 7", "rank_by": "revenue"')):
        script = _LIVE.format(longest=LONGEST_HISTORY, games=games, filters=filters)
        load(url, folder, script, LIVE_CONNECTIONS, 3)
        measured = load(url, folder, script, LIVE_CONNECTIONS, SECONDS)
        what = f"/api/recommend over {games:,} games{name}, {LIVE_CONNECTIONS} connections"
        yield at_least(f"{what}, requests/s", measured.rate)
        yield at_most(f"{what}, p50, ms", measured.p50)
        yield at_most(f"{what}, p99, ms", measured.p99, MUST_LIVE_MS)
        yield at_most(f"{what}, failed of {measured.requests:,}", measured.failed, 0)


def rows(users: int = USERS, per_user: int = GAMES_PER_USER, games: int = LIVE_GAMES) -> Iterator[Row]:
    """Measure everything on a server of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-explorer-") as scratch:
        folder = Path(scratch)
        server = EmbeddedPostgres(folder / "postgres")
        server.start()
        try:
            with exploring(*_shop(server, folder / "published", users, per_user, publishing.GAMES)) as url:
                yield from published_rows(url, folder, users, per_user)
            with exploring(*_shop(server, folder / "live", 1000, per_user, games)) as url:
                yield from live_rows(url, folder, games)
        finally:
            server.stop()


def _shop(server: EmbeddedPostgres, folder: Path, users: int, per_user: int, games: int) -> tuple[str, Path]:
    """A shop with a publication and its model: the URL for the explorer's role, and the store."""
    from benchmarks.answers import Condition, written_model  # TensorFlow, which nothing that is measured needs

    os.environ["DATABASE_URL"] = url = server.ensure_database(folder.name)
    with connect(DATABASE) as connection, connection.cursor() as cursor:
        create_schema(connection, "steam")
        cursor.execute(publishing._SHOP.format(users=users, games=games, genres=publishing.GENRES))
    model = folder / "model"
    model.mkdir(parents=True)
    game_ids = np.arange(1, games + 1, dtype=np.int32)
    written_model(model, game_ids, Condition(8, False, 100), np.random.default_rng(0))
    add_model(str(folder / "store"), model)
    ranges = publishing.write_predictions(folder / "predictions", users, per_user, 1)
    made = VersionInfo("v1", "benchmark", "s", date(2025, 1, 1))
    publish(DestinationConfig(DATABASE), str(folder / "predictions"), made, ranges, Thresholds(churn_ceiling=1.0))
    return reader_url(url, PASSWORD), folder / "store"


def _ready(url: str) -> bool:
    try:
        return bool(urlopen(f"{url}/readyz", timeout=5).status == 200)
    except (URLError, OSError):
        return False


if __name__ == "__main__":
    run_benchmark("explorer", __doc__, rows)
