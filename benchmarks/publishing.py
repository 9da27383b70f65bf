"""Publishing beside a raw COPY and beside upserts, the readers' wait during a switch, and the shop's SQL calls.

Each user has four lists, of 50, 200, 30 and 30 games, with reasons for most of them. Needs 35 gigabytes of disk while
it runs, for two million users. The server is durable, like a shop's. Every figure and its peer come from the same run.
Two publications and two raw COPYs take turns, and the faster counts. What has been measured is removed at once.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2.extras import execute_values

from benchmarks.record import Row, below, run_benchmark, times_as_many, times_as_much
from components.reverse_etl.acceptance import Thresholds
from components.reverse_etl.publication import publish
from demo.postgres import EmbeddedPostgres, programs
from steam_recsys.arrays import Int64Array
from steam_recsys.data.predictions import POPULAR_FILE, Shard, ShardManifest, read_shard, shard_name
from steam_recsys.data.schemas import (
    DISCOVERY,
    LISTS,
    NEW_RELEASES,
    POPULAR,
    POPULAR_LIST,
    RECOMMENDATIONS,
    list_array,
)
from steam_recsys.database.connection import COPY_BUFFER, connect, create_schema
from steam_recsys.model.fallback_lists import FALLBACK_GAMES
from steam_recsys.publications.destinations import DestinationConfig, rollback
from steam_recsys.publications.postgres_tables import binary_copy
from steam_recsys.publications.versions import VersionInfo
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import FileDigest, complete_artifact

USERS = 2_000_000
LENGTHS = dict(zip(LISTS, (50, 200, 30, 30), strict=True))
"""Games of each list."""

WITHOUT_REASON = 0.2
"""Share of the games for which no game of the user is the reason."""

FAVOURITES = 15
"""How many games are the reasons of a user's games."""

GAMES, GENRES = 50_000, 20
SHARD_USERS = 100_000
WRITTEN_USERS = 4096
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
SELECT user_id, 1 + user_id * k % {games}, true FROM steam.users, unnest('{{7,11,13}}'::bigint[]) AS k;
ANALYZE
"""

_DISMISSALS = """
INSERT INTO recsys.dismissals (user_id, game_id)
SELECT user_id, 1 + user_id * k % {games} FROM steam.users, unnest('{{17,19,23}}'::bigint[]) AS k ON CONFLICT DO NOTHING
"""

_RAW = """
CREATE TABLE raw (
    user_id bigint NOT NULL, list text COLLATE "C" NOT NULL, game_ids integer[] NOT NULL, taste real[] NOT NULL,
    popularity real[] NOT NULL, because integer[] NOT NULL
) WITH (toast_tuple_target = 8160)
"""

CALLS = {
    "recommended_games(user)": "SELECT * FROM recsys.recommended_games(:user);",
    "shelves(user)": "SELECT * FROM recsys.shelves(:user);",
    "record_event(user, …, 'shown')": "SELECT recsys.record_event(:user, :genre, 'shown', 'v1', 'relevance');",
    "shelves(visitor)": "SELECT * FROM recsys.shelves(NULL);",
    "recommended_games(user, 'sales')": "SELECT * FROM recsys.recommended_games(:user, 'sales');",
    "recommended_games(user, 'sales', genre, memory)": (
        "SELECT * FROM recsys.recommended_games(:user, 'sales', 'genre ' || :genre, 8);"
    ),
    "recommended_games(visitor, 'newest', genre)": (
        "SELECT * FROM recsys.recommended_games(NULL, 'newest', 'genre ' || :genre);"
    ),
}


def write_predictions(folder: Path, users: int, games: int, genres: int, seed: int) -> list[tuple[int, int]]:
    """Write random recommendations with descending scores for users 1 to `users`; return the range of each shard."""
    random = np.random.default_rng(seed)
    (folder / "recommendations").mkdir(parents=True)
    ranges = [(first, min(first + SHARD_USERS - 1, users)) for first in range(1, users + 1, SHARD_USERS)]
    for number, (first, last) in enumerate(ranges):
        path = folder / shard_name(number)
        with pq.ParquetWriter(path, RECOMMENDATIONS, compression="zstd", compression_level=1) as writer:
            for start in range(first, last + 1, WRITTEN_USERS):
                writer.write_batch(_random_lists(np.arange(start, min(start + WRITTEN_USERS, last + 1)), games, random))
        digest = FileDigest.from_path(path).sha256
        manifest = ShardManifest("v", "m", "s", number, (first, last), last + 1 - first, "exact", digest)
        manifest.write(open_folder(folder))
    _write_fallback_lists(folder / POPULAR_FILE, games, genres)
    complete_artifact(folder)
    return ranges


def _random_lists(users: Int64Array, games: int, random: np.random.Generator) -> pa.RecordBatch:
    """Make all lists of some users: one row per user and list. In each the games are distinct."""
    lengths = np.tile(list(LENGTHS.values()), len(users))
    listed, taste, because = [], [], []
    favourites = random.integers(1, games + 1, (len(users), FAVOURITES), dtype=np.int32)
    for length in LENGTHS.values():
        step = games // length
        listed.append(random.integers(1, step, (len(users), length)) + random.permutation(length) * step)
        taste.append(-np.sort(-random.random((len(users), length), dtype=np.float32)))
        because.append(np.take_along_axis(favourites, random.integers(0, FAVOURITES, (len(users), length)), axis=1))
    popularity = np.tile(np.array([0.5, 0.25, 0.125, 0.25], dtype=np.float32), len(users))
    without_reason = random.random(lengths.sum()) < WITHOUT_REASON
    elements = [
        pa.array(np.concatenate(listed, axis=1).ravel(), pa.int32(), safe=False),
        pa.array(np.concatenate(taste, axis=1).ravel()),
        pa.array(np.repeat(popularity, lengths)),
        pa.array(np.concatenate(because, axis=1).ravel(), mask=without_reason),
    ]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    columns = [pa.array(np.repeat(users, len(LISTS))), pa.array(list(LISTS) * len(users))]
    columns += [list_array(offsets, values) for values in elements]
    return pa.RecordBatch.from_arrays(columns, schema=RECOMMENDATIONS)


def _write_fallback_lists(path: Path, games: int, genres: int) -> None:
    """Write lists of popular games, overall and by genre, and the other two."""
    names = ["", *(f"genre {number}" for number in range(1, genres + 1))]
    keys = [*((POPULAR_LIST, genre) for genre in names), (NEW_RELEASES, ""), (DISCOVERY, "")]
    columns: list[list[object]] = [[] for _ in POPULAR]
    for number, (name, genre) in enumerate(keys):
        for rank in range(1, FALLBACK_GAMES + 1):
            game = 1 + (number * FALLBACK_GAMES + rank) % games
            for column, value in zip(columns, (name, genre, rank, game, 1 / rank), strict=True):
                column.append(value)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, POPULAR, strict=True)]
    pq.write_table(pa.table(arrays, schema=POPULAR), path)


def publish_seconds(folder: Path, version: str, ranges: list[tuple[int, int]]) -> float:
    """Measure the stage from files to the switch, with checks, acceptance and the removal of old versions."""
    version_info = VersionInfo(version, "m", "s", date(2025, 1, 1), 0.0)
    return publish(
        DestinationConfig(DATABASE), str(folder), version_info, ranges, Thresholds(churn_ceiling=1.0)
    ).seconds


def raw_copy_seconds(predictions: Path, shards: Sequence[Shard], content: Path) -> float:
    """Measure COPY of existing files with the same rows into such a table, and its index.

    One file per shard, written to `content` before its COPY and removed after it, which is not measured.
    """
    seconds = 0.0
    with connect(DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute(_RAW)
        for shard in shards:
            with content.open("wb") as file:
                file.writelines(binary_copy(read_shard(predictions / shard.name, shard)))
            started = time.perf_counter()
            with content.open("rb") as file:
                cursor.copy_expert("COPY raw FROM STDIN WITH (FREEZE, FORMAT binary)", file, size=COPY_BUFFER)
            seconds += time.perf_counter() - started
            content.unlink()
        started = time.perf_counter()
        cursor.execute("ALTER TABLE raw ADD PRIMARY KEY (user_id, list)")
        connection.commit()
        seconds += time.perf_counter() - started
        cursor.execute("DROP TABLE raw")
    return seconds


def unchanged_copy_seconds() -> float:
    """Measure copying a version within the database and indexing it.

    Publishing would still cost this if no user's recommendations had changed and finding that out were free.
    """
    with connect(DATABASE) as connection, connection.cursor() as cursor:
        started = time.perf_counter()
        cursor.execute("CREATE TABLE unchanged WITH (toast_tuple_target = 8160) AS TABLE recsys.recommendations_v1")
        cursor.execute("ALTER TABLE unchanged ADD PRIMARY KEY (user_id, list)")
        connection.commit()
        seconds = time.perf_counter() - started
        cursor.execute("DROP TABLE unchanged")
    return seconds


def upsert_rate(folder: Path, shard: Shard) -> float:
    """Measure the users per second that upserts write into such an indexed table."""
    rows: list[tuple[object, ...]] = []
    for batch in read_shard(folder / shard.name, shard):
        rows += [tuple(row.values()) for row in batch.to_pylist()]
        if len(rows) >= UPSERTED_USERS * len(LISTS):
            break
    rows = rows[: UPSERTED_USERS * len(LISTS)]
    with connect(DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE upserted (LIKE recsys.recommendations_v1, PRIMARY KEY (user_id, list))")
        started = time.perf_counter()
        execute_values(
            cursor,
            "INSERT INTO upserted VALUES %s ON CONFLICT (user_id, list) DO UPDATE SET "
            "(game_ids, taste, popularity, because) = "
            "(excluded.game_ids, excluded.taste, excluded.popularity, excluded.because)",
            rows,
            page_size=1000,
        )
        connection.commit()
        seconds = time.perf_counter() - started
        cursor.execute("DROP TABLE upserted")
    return len(rows) / len(LISTS) / seconds


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


def loading_rows(folder: Path, users: int) -> list[Row]:
    """Measure publications and their peers."""
    ours, peer = [], []
    for number in (1, 2):
        predictions = folder / f"predictions-{number}"
        ranges = write_predictions(predictions, users, GAMES, GENRES, number)
        shards = [Shard(number, first, last) for number, (first, last) in enumerate(ranges)]
        peer.append(raw_copy_seconds(predictions, shards, folder / "raw.bin"))
        if number == 2:
            rate = upsert_rate(predictions, shards[0])
        ours.append(publish_seconds(predictions, f"v{number}", ranges))
        if number == 1:
            unchanged = unchanged_copy_seconds()
    what = f"publish {users:,} users with lists of {', '.join(map(str, LENGTHS.values()))} games"
    copied = "raw COPY of files in binary format and their index"
    upserted = f"execute_values upserts of {UPSERTED_USERS:,} users"
    return [
        times_as_much(f"{what}, s", min(ours), min(peer), copied, MUST_RATIO),
        times_as_many(f"{what}, users/s", users / min(ours), rate, upserted, MUST_FASTER),
        times_as_much(f"{what}, s", min(ours), unchanged, "copying a version within the database"),
    ]


def reading_rows(folder: Path, users: int) -> list[Row]:
    """Measure the shop's call, and how long readers wait while versions are switched."""
    with connect(DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute(_DISMISSALS.format(games=GAMES))
        for version in ("v1", "v2"):  # into memory, so that the disk is not measured
            cursor.execute(f"SELECT count(game_ids) FROM recsys.recommendations_{version}")  # noqa: S608
    found = []
    with calling(folder, "SELECT 1;", users, clients=1) as baseline:
        pass
    for name, call in CALLS.items():
        with calling(folder, call, users, clients=1) as milliseconds:
            pass
        for percent, must in ((50, None), (99, MUST_ANSWER_MS)):
            ours, peer = (float(np.percentile(each, percent)) for each in (milliseconds, baseline))
            found.append(below(f"{name} of {users:,} users, p{percent}, ms", ours, peer, "SELECT 1", must))
    call = next(iter(CALLS.values()))
    with calling(folder, call, users, READERS) as quiet:
        pass
    with calling(folder, call, users, READERS) as switched:
        for number in range(SWITCHES):
            time.sleep(SECONDS / (SWITCHES + 1))
            rollback(DestinationConfig(DATABASE), f"v{1 + number % 2}")
    what = f"longest of {len(switched):,} calls of {READERS} readers over {SWITCHES} switches, ms"
    found.append(below(what, max(switched), max(quiet), f"without switches, {len(quiet):,} calls", MUST_WAIT_MS))
    return found


def rows(users: int = USERS) -> Iterator[Row]:
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
            yield from loading_rows(folder, users)
            yield from reading_rows(folder, users)
        finally:
            server.stop()


if __name__ == "__main__":
    run_benchmark("publishing", __doc__, rows)
