"""Shops for the benchmarks: generated interactions as a snapshot, and the synthetic shop in a database.

`generate` makes interactions of any size from a seed, for training where public data sets are too small. Each user has
a favourite taste and a second one. A game suits one or two tastes and is chosen by its popularity times how well it
suits. Histories are as skewed as real ones. Popularity follows Zipf's law and does not change over time, so the only
thing to learn is which users have which games.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from psycopg2 import sql

from components.ingest.ingestion import deferred_constraints
from demo import synthetic
from steam_recsys.arrays import BoolArray, Int32Array
from steam_recsys.data.interactions import Interactions, day_of
from steam_recsys.data.schemas import TABLES
from steam_recsys.data.snapshot import DataFile, Manifest, Snapshot
from steam_recsys.database.connection import Cursor, connect, create_schema
from steam_recsys.database.copy import copy_from_chunks

TASTES = 64
FAVOURITE_SHARE = 0.75
AFFINITY = 100.0
"""Factor by which a game that suits the user is more likely than an equally popular one that does not."""

ZIPF = 0.8
LONGEST = 400
SPREAD = 1.0
"""Standard deviation of the logarithm of the histories' lengths."""

REPEATS = 1.3
"""Games drawn per game kept: duplicates of a user are dropped."""

FIRST_DAY = day_of(date(2020, 1, 1))
DAYS = 5 * 365
LIKED = 0.9
GAMES_PER_STUDIO = 20
ROWS_PER_FILE = 1_000_000

ROWS_PER_CHUNK = 50_000
DAY_SECONDS = 86_400
EPOCH = date(1970, 1, 1)
SHOP_REVIEWS = pa.schema(
    [
        ("user_id", pa.int64()),
        ("game_id", pa.int64()),
        ("recommended", pa.bool_()),
        ("hours_played", pa.float64()),
        ("helpful", pa.int64()),
        ("funny", pa.int64()),
        ("reviewed_on", pa.date32()),
        ("review", pa.string()),
        ("updated_at", pa.timestamp("s", "UTC")),
    ]
)


@dataclass(frozen=True)
class Size:
    """Numbers of interactions, users and games."""

    interactions: int
    users: int
    games: int


def draw_tastes(size: Size, seed: int) -> Int32Array:
    """Draw the two tastes, possibly equal, that each game suits: int32 [games, 2]."""
    return np.random.default_rng([seed, 0]).integers(0, TASTES, (size.games, 2), dtype=np.int32)


def generate(size: Size, seed: int) -> Interactions:
    """Generate interactions, ordered by user and day. Users and games are numbered from 1, all are recommended.

    With a small catalogue there are fewer interactions than requested, because users draw the same games twice. Some
    users or games may have none.
    """
    random = np.random.default_rng([seed, 1])
    lengths = np.exp(random.normal(0.0, SPREAD, size.users))
    lengths = np.minimum(2 + lengths * (size.interactions / size.users - 2) / lengths.mean(), LONGEST) * REPEATS
    users = np.repeat(np.arange(size.users, dtype=np.int32), (lengths + random.random(size.users)).astype(np.int64))
    games = _chosen(random, size, users, draw_tastes(size, seed))
    pairs = np.unique(users.astype(np.int64) * size.games + games)
    pairs = np.sort(random.permutation(pairs)[: size.interactions])
    users, games = np.divmod(pairs, size.games)
    joined = random.integers(0, DAYS, size.users)
    days = joined[users] + (random.random(len(users)) * (DAYS - joined[users])).astype(np.int64)
    order = np.lexsort((games, days, users))
    return Interactions(
        users[order].astype(np.int64) + 1,
        (games[order] + 1).astype(np.int32),
        (days[order] + FIRST_DAY).astype(np.int32),
        np.ones(len(order), dtype=bool),
        np.round(random.lognormal(2.0, 1.5, len(order)), 1).astype(np.float32),
    )


def _chosen(random: np.random.Generator, size: Size, users: Int32Array, tastes: Int32Array) -> Int32Array:
    """Draw a game for each entry of `users`, int32 of the same length."""
    popularity = random.permutation(1.0 / np.arange(1, size.games + 1) ** ZIPF)
    wanted = random.integers(0, TASTES, (size.users, 2))[
        users, (random.random(len(users)) > FAVOURITE_SHARE).astype(np.int64)
    ]
    chosen = np.empty(len(users), dtype=np.int32)
    for taste in range(TASTES):
        rows = np.flatnonzero(wanted == taste)
        cumulative = np.cumsum(popularity * np.where((tastes == taste).any(axis=1), AFFINITY, 1.0))
        chosen[rows] = np.searchsorted(cumulative, random.random(len(rows)) * cumulative[-1], side="right")
    return np.minimum(chosen, size.games - 1)


def write_generated(root: Path, size: Size, seed: int, *, released: bool = False) -> Snapshot:
    """Write generated interactions as a snapshot, ordered by day; one review in ten does not recommend its game.

    Args:
        root: Folder of the snapshot.
        size: Numbers of interactions, users and games.
        seed: Random seed.
        released: Whether games have release dates, spread evenly over the days of the reviews.
    """
    interactions = generate(size, seed)
    random = np.random.default_rng([seed, 2])
    by_day = interactions.take(np.argsort(interactions.days, kind="stable"))
    files = {
        "reviews": _write(root, "reviews", _reviews(by_day, random.random(len(by_day)) < LIKED)),
        "users": _write(root, "users", pa.table({"user_id": np.unique(interactions.users)}, TABLES["users"])),
        "games": _write(root, "games", _games(size, draw_tastes(size, seed), released)),
        "rankings": _write(root, "rankings", TABLES["rankings"].empty_table()),
    }
    Manifest("1:1:", "2025-01-01T00:00:00+00:00", None, files).write(root)
    return Snapshot.open(root)


def _reviews(interactions: Interactions, liked: BoolArray) -> pa.Table:
    n = len(interactions)
    columns: dict[str, npt.NDArray[np.generic]] = {
        "review_id": np.arange(1, n + 1),
        "user_id": interactions.users,
        "game_id": interactions.games,
        "recommended": liked,
        "hours_played": interactions.hours,
        "helpful": np.zeros(n, dtype=np.int64),
        "funny": np.zeros(n, dtype=np.int64),
        "reviewed_on": interactions.days.astype("datetime64[D]"),
        "updated_at": interactions.days.astype("datetime64[D]").astype("datetime64[us]"),
    }
    return pa.table({name: pa.array(column) for name, column in columns.items()}).cast(TABLES["reviews"])


def _games(size: Size, tastes: Int32Array, released: bool) -> pa.Table:
    ids = np.arange(1, size.games + 1)
    studios = [[f"Studio {game // GAMES_PER_STUDIO}"] for game in range(size.games)]
    nothing = [None] * size.games
    days = (FIRST_DAY + ids * DAYS // size.games).tolist() if released else nothing
    columns = [
        ids, [f"Game {game}" for game in ids], days, nothing,
        [[f"Taste {taste}" for taste in pair] for pair in tastes],
        studios, studios, nothing, nothing, nothing, nothing,
    ]  # fmt: skip
    fields = TABLES["games"]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)], fields)


def _write(root: Path, table: str, rows: pa.Table) -> list[DataFile]:
    folder = root / table
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, start in enumerate(range(0, max(1, len(rows)), ROWS_PER_FILE)):
        path = folder / f"part-{number:05}.parquet"
        part = rows.slice(start, ROWS_PER_FILE)
        pq.write_table(part, path, compression="zstd")
        files.append(DataFile.from_path(root, path, len(part)))
    return files


def load_shop(database: str, size: synthetic.Size, seed: int = 0) -> int:
    """Create the schema `steam` in an empty database, fill users, games and reviews, return the number of reviews.

    The id of a user or game is its number plus one. A review was last changed at some second of its day. The tables are
    vacuumed, so readers have nothing to tidy up.
    """
    shop = synthetic.Shop.generate(size, seed)
    with connect(database, application="steam-recsys benchmark") as connection:
        create_schema(connection, "steam")
        with connection.cursor() as cursor, deferred_constraints(cursor):
            _copy(cursor, "games", [pa.table({"game_id": np.arange(1, size.games + 1), "name": shop.names})])
            _copy(cursor, "users", _user_tables(size))
            batches = synthetic.batches(shop, size, seed)
            loaded = _copy(cursor, "reviews", (_review_table(batch) for batch in batches))
        connection.commit()
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM (FREEZE, ANALYZE) steam.reviews, steam.users, steam.games")
    return loaded


def _user_tables(size: synthetic.Size) -> Iterator[pa.Table]:
    for start in range(0, size.users, ROWS_PER_CHUNK):
        numbers = np.arange(start, min(start + ROWS_PER_CHUNK, size.users))
        yield pa.table({"user_id": numbers + 1, "username": synthetic.user_names(numbers)})


def _review_table(batch: synthetic.Reviews) -> pa.Table:
    days = batch.days + (synthetic.FIRST_DAY - EPOCH).days
    dated = batch.days != synthetic.NONE
    seconds = np.random.default_rng(len(batch)).integers(0, DAY_SECONDS, len(batch))
    columns = [
        pa.array(batch.users + 1, mask=batch.users == synthetic.NONE),
        batch.games + 1,
        batch.recommended,
        batch.tenths / 10,
        batch.helpful,
        batch.funny,
        pa.array(days.astype(np.int32), pa.date32(), mask=~dated),
        pc.if_else(pa.array(batch.written), "A synthetic review.", pa.scalar(None, pa.string())),
        pa.array(np.where(dated, days, days.max()) * DAY_SECONDS + seconds, pa.timestamp("s", "UTC")),
    ]
    return pa.table(columns, schema=SHOP_REVIEWS)


def _copy(cursor: Cursor, table: str, parts: Iterable[pa.Table]) -> int:
    """COPY rows into a table of `steam` and return how many."""
    loaded = 0
    for part in parts:
        columns = sql.SQL(", ").join(map(sql.Identifier, part.column_names))
        statement = sql.SQL("COPY steam.{} ({}) FROM STDIN (FORMAT csv)").format(sql.Identifier(table), columns)
        loaded += copy_from_chunks(cursor, statement, _csv(part))
    return loaded


def _csv(rows: pa.Table) -> Iterator[bytes]:
    for start in range(0, len(rows), ROWS_PER_CHUNK):
        chunk = io.BytesIO()
        pa_csv.write_csv(rows.slice(start, ROWS_PER_CHUNK), chunk, pa_csv.WriteOptions(include_header=False))
        yield chunk.getvalue()
