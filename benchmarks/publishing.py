"""Publishing beside a raw COPY and beside upserts, the readers' wait during a switch, and the shop's SQL call.

Needs ten gigabytes of disk while it runs, for two million users of fifty games. The server is durable, like a shop's.
Every figure and its peer come from the same run. Two publications and two raw COPYs take turns, and the faster counts.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2.extras import execute_values

from benchmarks.record import Row, below, run_benchmark, times_as_many, times_as_much
from components.predict.plan import LENGTH
from components.reverse_etl.acceptance import Thresholds
from components.reverse_etl.publication import publish
from demo.postgres import EmbeddedPostgres, programs
from steam_recsys.data.predictions import POPULAR_FILE, Shard, ShardManifest, read_shard, sha256_of, shard_name
from steam_recsys.data.schemas import POPULAR, RECOMMENDATIONS
from steam_recsys.database.connection import COPY_BUFFER, connect, create_schema
from steam_recsys.publications.destinations import DestinationConfig, rollback
from steam_recsys.publications.postgres_tables import binary_copy
from steam_recsys.publications.versions import VersionInfo
from steam_recsys.storage.folder import open_folder

USERS, GAMES_PER_USER = 2_000_000, 50
GAMES, GENRES = 50_000, 20
SHARD_USERS = 100_000
UPSERTED_USERS = 20_000
SWITCHES, READERS, SECONDS = 20, 8, 10
DATABASE = "env:DATABASE_URL"
MUST_RATIO, MUST_FASTER, MUST_WAIT_MS, MUST_ANSWER_MS = 1.3, 10.0, 100.0, 5.0

_SHOP = """
INSERT INTO steam.users (username) SELECT 'user ' || n FROM generate_series(1, {users}) AS n;
INSERT INTO steam.games (name, released_on) SELECT 'game ' || n, date '2000-01-01' + n % 9000
FROM generate_series(1, {games}) AS n;
INSERT INTO steam.genres (name) SELECT 'genre ' || n FROM generate_series(1, {genres}) AS n;
INSERT INTO steam.game_genres SELECT n, 1 + (n + k) % {genres}
FROM generate_series(1, {games}) AS n, unnest('{{0,7}}'::int[]) AS k;
INSERT INTO steam.game_requirements (game_id, level, ram_gb, requirements)
SELECT n, 'minimum', 1 << n % 6, '' FROM generate_series(1, {games}) AS n;
INSERT INTO steam.rankings SELECT n, 'genre ' || 1 + n % {genres}, kind, n FROM generate_series(1, {games}) AS n,
    unnest('{{Sales,Revenue,Review}}'::text[]) AS kind;
INSERT INTO steam.reviews (user_id, game_id, recommended)
SELECT user_id, 1 + user_id * 7 % {games}, true FROM steam.users;
ANALYZE
"""

_CALLS = {
    "recommended_games(user)": "SELECT * FROM recsys.recommended_games(:user);",
    "recommended_games(user, 'sales', genre, memory)": (
        "SELECT * FROM recsys.recommended_games(:user, 'sales', 'genre ' || :genre, 8);"
    ),
    "recommended_games(visitor, 'newest', genre)": (
        "SELECT * FROM recsys.recommended_games(NULL, 'newest', 'genre ' || :genre);"
    ),
}


def write_predictions(folder: Path, users: int, per_user: int, seed: int) -> list[tuple[int, int]]:
    """Write random recommendations with descending scores for users 1 to `users`; return the range of each shard."""
    random = np.random.default_rng(seed)
    (folder / "recommendations").mkdir(parents=True)
    ranges = [(first, min(first + SHARD_USERS - 1, users)) for first in range(1, users + 1, SHARD_USERS)]
    step = GAMES // per_user
    for number, (first, last) in enumerate(ranges):
        n = last + 1 - first
        games = random.integers(1, step, (n, per_user)) + random.permutation(per_user) * step
        scores = -np.sort(-random.random((n, per_user)), axis=1)
        lists = (games, scores, random.integers(1, GAMES + 1, (n, per_user)))
        offsets = pa.array(np.arange(n + 1) * per_user, pa.int32())
        columns = [pa.array(np.arange(first, last + 1), pa.int64())]
        for values, field in zip(lists, list(RECOMMENDATIONS)[1:], strict=True):
            columns.append(
                pa.ListArray.from_arrays(offsets, pa.array(values.ravel(), field.type.value_type, safe=False))
            )
        path = folder / shard_name(number)
        pq.write_table(pa.table(columns, schema=RECOMMENDATIONS), path, compression="zstd")
        manifest = ShardManifest("v", "m", "s", number, (first, last), n, "exact", sha256_of(path))
        manifest.write(open_folder(folder))
    genres = ["", *(f"genre {number}" for number in range(1, GENRES + 1))]
    ranks = np.tile(np.arange(1, LENGTH + 1), len(genres))
    popular = [np.repeat(genres, LENGTH), ranks, ranks, 1.0 / ranks]
    table = pa.table([pa.array(column, field.type) for column, field in zip(popular, POPULAR, strict=True)], POPULAR)
    pq.write_table(table, folder / POPULAR_FILE)
    return ranges


def publish_seconds(folder: Path, version: str, ranges: list[tuple[int, int]]) -> float:
    """Measure the stage from files to the switch, with checks, acceptance and the removal of old versions."""
    version_info = VersionInfo(version, "m", "s", date(2025, 1, 1))
    return publish(
        DestinationConfig(DATABASE), str(folder), version_info, ranges, Thresholds(churn_ceiling=1.0)
    ).seconds


def raw_copy_seconds(content: Path) -> float:
    """Measure COPY of an existing file with the same rows into such a table, and its index."""
    with connect(DATABASE) as connection, connection.cursor() as cursor:
        started = time.perf_counter()
        cursor.execute("CREATE TABLE raw (LIKE recsys.recommendations_v1)")
        with content.open("rb") as file:
            cursor.copy_expert("COPY raw FROM STDIN WITH (FREEZE, FORMAT binary)", file, size=COPY_BUFFER)
        cursor.execute("ALTER TABLE raw ADD PRIMARY KEY (user_id)")
        connection.commit()
        seconds = time.perf_counter() - started
        cursor.execute("DROP TABLE raw")
    return seconds


def unchanged_copy_seconds() -> float:
    """Measure copying a version within the database and indexing it.

    Publishing would still cost this if no user's recommendations had changed and finding that out were free.
    """
    with connect(DATABASE) as connection, connection.cursor() as cursor:
        started = time.perf_counter()
        cursor.execute("CREATE TABLE unchanged AS TABLE recsys.recommendations_v1")
        cursor.execute("ALTER TABLE unchanged ADD PRIMARY KEY (user_id)")
        connection.commit()
        seconds = time.perf_counter() - started
        cursor.execute("DROP TABLE unchanged")
    return seconds


def upsert_rate(folder: Path, shard: Shard) -> float:
    """Measure the users per second that upserts write into such an indexed table."""
    batches = read_shard(folder / shard.name, shard)
    rows = [tuple(row.values()) for batch in batches for row in batch.to_pylist()][:UPSERTED_USERS]
    with connect(DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE upserted (LIKE recsys.recommendations_v1, PRIMARY KEY (user_id))")
        started = time.perf_counter()
        execute_values(
            cursor,
            "INSERT INTO upserted VALUES %s ON CONFLICT (user_id) DO UPDATE SET (game_ids, scores, because) = "
            "(excluded.game_ids, excluded.scores, excluded.because)",
            rows,
            page_size=1000,
        )
        connection.commit()
        seconds = time.perf_counter() - started
        cursor.execute("DROP TABLE upserted")
    return len(rows) / seconds


@contextmanager
def calling(folder: Path, call: str, users: int, clients: int) -> Iterator[list[float]]:
    """Call the database for random users with pgbench for some seconds, while the body runs.

    Yields:
        A list that holds each call's milliseconds after the body.
    """
    script = folder / "call.sql"
    script.write_text(f"\\set user random(1, {users})\n\\set genre random(1, {GENRES})\n{call}\n")
    command = [str(programs() / "pgbench"), "-n", "-M", "prepared", "-c", str(clients), "-j", str(min(2, clients))]
    command += ["-T", str(SECONDS), "-l", "--log-prefix", str(folder / "log"), "-f", str(script)]
    milliseconds: list[float] = []
    with subprocess.Popen([*command, os.environ["DATABASE_URL"]], stdout=subprocess.DEVNULL) as bench:
        yield milliseconds
    if bench.returncode:
        raise RuntimeError(f"pgbench failed with exit code {bench.returncode}")
    for log in folder.glob("log.*"):
        milliseconds += [int(line.split()[2]) / 1e3 for line in log.read_text().splitlines()]
        log.unlink()


def loading_rows(folder: Path, users: int, per_user: int) -> list[Row]:
    """Measure publications and their peers."""
    content = folder / "raw.bin"
    ours, peer = [], []
    for number in (1, 2):
        predictions = folder / f"predictions-{number}"
        ranges = write_predictions(predictions, users, per_user, number)
        shards = [Shard(number, first, last) for number, (first, last) in enumerate(ranges)]
        if number == 2:
            rate = upsert_rate(predictions, shards[0])
        with content.open("wb") as file:
            for chunk in binary_copy(b for shard in shards for b in read_shard(predictions / shard.name, shard)):
                file.write(chunk)
        ours.append(publish_seconds(predictions, f"v{number}", ranges))
        peer.append(raw_copy_seconds(content))
        content.unlink()
    what, copied = f"publish {users:,} users × {per_user}", "raw COPY of a file in binary format and its index"
    upserted = f"execute_values upserts of {UPSERTED_USERS:,} users"
    return [
        times_as_much(f"{what}, s", min(ours), min(peer), copied, MUST_RATIO),
        times_as_many(f"{what}, users/s", users / min(ours), rate, upserted, MUST_FASTER),
        times_as_much(f"{what}, s", min(ours), unchanged_copy_seconds(), "copying a version within the database"),
    ]


def reading_rows(folder: Path, users: int) -> list[Row]:
    """Measure the shop's call, and how long readers wait while versions are switched."""
    with connect(DATABASE) as connection, connection.cursor() as cursor:
        for version in ("v1", "v2"):  # into memory, so that the disk is not measured
            cursor.execute(f"SELECT count(game_ids) FROM recsys.recommendations_{version}")  # noqa: S608
    found = []
    with calling(folder, "SELECT 1;", users, clients=1) as baseline:
        pass
    for name, call in _CALLS.items():
        with calling(folder, call, users, clients=1) as milliseconds:
            pass
        for percent, must in ((50, None), (99, MUST_ANSWER_MS)):
            ours, peer = (float(np.percentile(each, percent)) for each in (milliseconds, baseline))
            found.append(below(f"{name} of {users:,} users, p{percent}, ms", ours, peer, "SELECT 1", must))
    call = next(iter(_CALLS.values()))
    with calling(folder, call, users, READERS) as quiet:
        pass
    with calling(folder, call, users, READERS) as switched:
        for number in range(SWITCHES):
            time.sleep(SECONDS / (SWITCHES + 1))
            rollback(DestinationConfig(DATABASE), f"v{1 + number % 2}")
    what = f"longest of {len(switched):,} calls of {READERS} readers over {SWITCHES} switches, ms"
    found.append(below(what, max(switched), max(quiet), f"without switches, {len(quiet):,} calls", MUST_WAIT_MS))
    return found


def rows(users: int = USERS, per_user: int = GAMES_PER_USER) -> Iterator[Row]:
    """Measure everything on a temporary server."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-publishing-") as scratch:
        folder = Path(scratch)
        server = EmbeddedPostgres(folder / "postgres")
        server.start()
        try:
            os.environ["DATABASE_URL"] = server.ensure_database("shop")
            with connect(DATABASE) as connection, connection.cursor() as cursor:
                create_schema(connection, "steam")
                cursor.execute(_SHOP.format(users=users, games=GAMES, genres=GENRES))
            yield from loading_rows(folder, users, per_user)
            yield from reading_rows(folder, users)
        finally:
            server.stop()


if __name__ == "__main__":
    run_benchmark("publishing", __doc__, rows)
