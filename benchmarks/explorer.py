"""`make benchmark-explorer`: the explorer under load, on cores that it shares with the database and the load generator.

It measures recommendations of two million users from the published tables, also during a publication and rollbacks, and
answers to posted histories over 100,000 games. wrk sends the requests; each of its connections waits for an answer. If
Chromium is installed, it also measures the pages of a shop with 3,682 games.
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from itertools import count
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np

from benchmarks import publishing
from benchmarks.pages import chromium, page_rows
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

USERS = 2_000_000
LIVE_GAMES, LONGEST_HISTORY = 100_000, 50
PAGE_GAMES, PAGE_GENRES = 3682, 331
"""Size of the catalogue whose pages are measured: that of steam-ucsd."""

READY_SECONDS = 300
READY_ANSWERS = 16
"""How often in a row the explorer must say that it is ready: each connection may reach another worker."""

SECONDS, CONNECTIONS, LIVE_CONNECTIONS = 20, 16, 4
MUST_RATE, MUST_MS, MUST_LIVE_MS = 1000.0, 50.0, 25.0
DATABASE = "env:DATABASE_URL"
PASSWORD = "only for reading"

_SEEDS = count(1)
"""Seeds of the loads, a new one each."""

_REPORT = """
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('\\n{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "failed": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""

_RECOMMENDATIONS = """
request = function()
  return wrk.format("GET", string.format("/api/v1/users/%d/recommendations{query}", math.random(1, {users})))
end
"""

_LIVE = """
wrk.method = "POST"
wrk.headers["content-type"] = "application/json"
request = function()
  local games = {{}}
  for index = 1, math.random(1, {longest}) do games[index] = math.random(1, {games}) end
  return wrk.format(nil, "/api/v1/recommend", nil, '{{"history": [' .. table.concat(games, ",") .. ']{filters}}}')
end
"""


@dataclass(frozen=True)
class Load:
    """wrk's results: requests, failed requests, requests per second, and latencies in milliseconds."""

    requests: int
    failed: int
    rate: float
    p50: float
    p99: float


def load(url: str, folder: Path, script: str, connections: int, seconds: float) -> Load:
    """Send requests for some seconds with a wrk script.

    Raises:
        UserError: wrk is not installed.
    """
    if shutil.which("wrk") is None:
        raise UserError("wrk is not installed: install it with apt-get install wrk.")
    path = folder / "load.lua"
    # Without a seed of its own, each load would ask for the same users in the same order.
    path.write_text(f"math.randomseed({next(_SEEDS)})\n{script}{_REPORT}")
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout=10s", "-s", str(path), url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    result = json.loads(output.strip().splitlines()[-1])
    rate = result["requests"] / result["seconds"]
    return Load(result["requests"], result["failed"], rate, result["p50"], result["p99"])


@contextmanager
def loaded(url: str, folder: Path, script: str) -> Iterator[list[Load]]:
    """Send requests while the context is open; the yielded list then has the results."""
    results: list[Load] = []
    stopped = threading.Event()

    def send() -> None:
        while not stopped.is_set():
            results.append(load(url, folder, script, CONNECTIONS, min(SECONDS, 5)))

    with ThreadPoolExecutor(1) as executor:
        sender = executor.submit(send)
        try:
            yield results
        finally:
            stopped.set()
        sender.result()


@contextmanager
def running_explorer(database: str, store: Path) -> Iterator[str]:
    """Start an explorer as an operator would, only with a higher rate limit, and yield its URL once it is ready."""
    settings = {"EXPLORER_DATABASE_URL": database, "EXPLORER_STORE": str(store), "EXPLORER_PORT": "0",
                "EXPLORER_REQUESTS_PER_SECOND": "1000000"}  # fmt: skip
    command = [sys.executable, "-m", "explorer"]
    with subprocess.Popen(command, env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip().removeprefix("explorer: ")
            deadline = time.monotonic() + READY_SECONDS
            while not all(_ready(url) for _ in range(READY_ANSWERS)):
                if process.poll() is not None:
                    raise RuntimeError(f"The explorer ended with {process.returncode}.")
                if time.monotonic() > deadline:
                    raise RuntimeError(f"The explorer was not ready within {READY_SECONDS} s.")
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()


def published_rows(url: str, folder: Path, users: int) -> Iterator[Row]:
    """Measure recommendations from the published tables, also during a publication and rollbacks."""
    for name, query in (
        ("recommendations", ""),
        ("recommendations by sales, of a genre, for 8 GB", "?rank_by=sales&genre=genre%%207&max_ram_gb=8"),
    ):
        script = _RECOMMENDATIONS.format(query=query, users=users)
        load(url, folder, script, CONNECTIONS, min(3, SECONDS))  # a warm-up, which reads the publication into memory
        measured = load(url, folder, script, CONNECTIONS, SECONDS)
        what = f"{name} of {users:,} users, {CONNECTIONS} connections"
        plain = not query
        yield at_least(f"{what}, requests/s", measured.rate, MUST_RATE if plain else None)
        yield at_most(f"{what}, p50, ms", measured.p50)
        yield at_most(f"{what}, p99, ms", measured.p99, MUST_MS if plain else None)
        yield at_most(f"{what}, failed of {measured.requests:,}", measured.failed, 0)
    predictions = folder / "again"
    ranges = publishing.write_predictions(predictions, users, publishing.GAMES, publishing.GENRES, 2)
    with loaded(url, folder, _RECOMMENDATIONS.format(query="", users=users)) as results:
        publishing.publish_seconds(predictions, "v2", ranges)
        rollback(DestinationConfig(DATABASE))
        rollback(DestinationConfig(DATABASE), "v2")
    requests = sum(each.requests for each in results)
    during = "during a publication and two rollbacks"
    yield at_most(f"failed of {requests:,} recommendations {during}", sum(each.failed for each in results), 0)
    yield at_most(f"recommendations {during}, greatest p99 of some seconds, ms", max(each.p99 for each in results))


def live_rows(url: str, folder: Path, games: int) -> Iterator[Row]:
    """Measure answers to posted histories."""
    for name, filters in (("", ""), (" of a genre, by revenue", ', "genre": "genre 7", "rank_by": "revenue"')):
        script = _LIVE.format(longest=LONGEST_HISTORY, games=games, filters=filters)
        load(url, folder, script, LIVE_CONNECTIONS, min(3, SECONDS))
        measured = load(url, folder, script, LIVE_CONNECTIONS, SECONDS)
        what = f"/api/v1/recommend over {games:,} games{name}, {LIVE_CONNECTIONS} connections"
        yield at_least(f"{what}, requests/s", measured.rate)
        yield at_most(f"{what}, p50, ms", measured.p50)
        yield at_most(f"{what}, p99, ms", measured.p99, MUST_LIVE_MS)
        yield at_most(f"{what}, failed of {measured.requests:,}", measured.failed, 0)


def rows(users: int = USERS, games: int = LIVE_GAMES, page_games: int = PAGE_GAMES) -> Iterator[Row]:
    """Measure everything on a temporary server."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-explorer-") as scratch:
        folder = Path(scratch)
        server = EmbeddedPostgres(folder / "postgres")
        server.start()
        try:
            with running_explorer(*_shop(server, folder / "published", users, publishing.GAMES)) as url:
                yield from published_rows(url, folder, users)
            with running_explorer(*_shop(server, folder / "live", 1000, games)) as url:
                yield from live_rows(url, folder, games)
            if chromium() is None:
                print("[benchmark] pages are not measured: install Debian's chromium-headless-shell", flush=True)
                return
            with running_explorer(*_shop(server, folder / "pages", 1000, page_games, PAGE_GENRES)) as url:
                yield from page_rows(url, page_games)
        finally:
            server.stop()


def _shop(
    server: EmbeddedPostgres, folder: Path, users: int, games: int, genres: int = publishing.GENRES
) -> tuple[str, Path]:
    """Create a shop with a publication and its model; return the URL for the explorer's role, and the store."""
    from benchmarks.answers import Condition, written_model  # imports TensorFlow, which nothing measured here needs

    os.environ["DATABASE_URL"] = url = server.ensure_database(folder.name)
    with connect(DATABASE) as connection, connection.cursor() as cursor:
        create_schema(connection, "steam")
        cursor.execute(publishing._SHOP.format(users=users, games=games, genres=genres))
    model = folder / "model"
    model.mkdir(parents=True)
    game_ids = np.arange(1, games + 1, dtype=np.int32)
    written_model(model, game_ids, Condition(8, False, 100), np.random.default_rng(0))
    add_model(str(folder / "store"), model)
    listed = min(games, publishing.GAMES)
    ranges = publishing.write_predictions(folder / "predictions", users, listed, genres, 1)
    info = VersionInfo("v1", "benchmark", "s", date(2025, 1, 1), 0.0)
    publish(DestinationConfig(DATABASE), str(folder / "predictions"), info, ranges, Thresholds(churn_ceiling=1.0))
    return reader_url(url, PASSWORD), folder / "store"


def _ready(url: str) -> bool:
    try:
        return bool(urlopen(f"{url}/readyz", timeout=5).status == 200)
    except (URLError, OSError):
        return False


if __name__ == "__main__":
    run_benchmark("explorer", __doc__, rows)
