"""Generated reviews of any size, seeded: what training is measured on where public data sets are too small.

Each user has a favourite taste and a second one; a game suits one or two of the tastes and is chosen by its popularity
times how well it suits. Histories are as skewed as real ones, popularity falls with the rank of a game as in Zipf's law
and stays what it is over time: there is nothing to be learnt but from who has which games.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from steam_recsys.arrays import BoolArray, Int32Array
from steam_recsys.data.interactions import Interactions, day_of
from steam_recsys.data.schemas import TABLES
from steam_recsys.data.snapshot import DataFile, Manifest, Snapshot

TASTES = 64
FAVOURITE_SHARE = 0.75
AFFINITY = 100.0
"""How many times likelier a game that suits is chosen than another one as popular."""

ZIPF = 0.8
LONGEST = 400
SPREAD = 1.0
"""Standard deviation of the logarithm of the histories' lengths."""

REPEATS = 1.3
"""Games drawn for each that is kept at the end: a user has each game once."""

FIRST_DAY = day_of(date(2020, 1, 1))
DAYS = 5 * 365
LIKED = 0.9
GAMES_A_STUDIO = 20
ROWS_A_FILE = 1_000_000


@dataclass(frozen=True)
class Size:
    """How many interactions, users and games."""

    interactions: int
    users: int
    games: int


def tastes_of(size: Size, seed: int) -> Int32Array:
    """The two tastes, which may be one, that each game suits: int32 [games, 2]."""
    return np.random.default_rng([seed, 0]).integers(0, TASTES, (size.games, 2), dtype=np.int32)


def generate(size: Size, seed: int) -> Interactions:
    """Interactions by users and with games that are numbered from 1; ordered by user, then day; all recommended.

    They are as many as asked for where the catalogue is large; in a small one, where users draw the same games again,
    they are fewer. A few users or games may have none where they are many for so few interactions.
    """
    random = np.random.default_rng([seed, 1])
    lengths = np.exp(random.normal(0.0, SPREAD, size.users))
    lengths = np.minimum(2 + lengths * (size.interactions / size.users - 2) / lengths.mean(), LONGEST) * REPEATS
    users = np.repeat(np.arange(size.users, dtype=np.int32), (lengths + random.random(size.users)).astype(np.int64))
    games = _chosen(random, size, users, tastes_of(size, seed))
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
    """A game for each of the users, int32."""
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


def write_generated(root: Path, size: Size, seed: int) -> Snapshot:
    """The same as a snapshot, in the order of days, with one review of ten that does not recommend its game."""
    interactions = generate(size, seed)
    random = np.random.default_rng([seed, 2])
    by_day = interactions.take(np.argsort(interactions.days, kind="stable"))
    files = {
        "reviews": _write(root, "reviews", _reviews(by_day, random.random(len(by_day)) < LIKED)),
        "users": _write(root, "users", pa.table({"user_id": np.unique(interactions.users)}, TABLES["users"])),
        "games": _write(root, "games", _games(size, tastes_of(size, seed))),
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


def _games(size: Size, tastes: Int32Array) -> pa.Table:
    ids = np.arange(1, size.games + 1)
    studios = [[f"Studio {game // GAMES_A_STUDIO}"] for game in range(size.games)]
    nothing = [None] * size.games
    columns = [
        ids, [f"Game {game}" for game in ids], nothing, nothing,
        [[f"Taste {taste}" for taste in pair] for pair in tastes],
        studios, studios, nothing, nothing, nothing, nothing,
    ]  # fmt: skip
    fields = TABLES["games"]
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, fields, strict=True)], fields)


def _write(root: Path, table: str, rows: pa.Table) -> list[DataFile]:
    folder = root / table
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number, start in enumerate(range(0, max(1, len(rows)), ROWS_A_FILE)):
        path = folder / f"part-{number:05}.parquet"
        part = rows.slice(start, ROWS_A_FILE)
        pq.write_table(part, path, compression="zstd")
        files.append(DataFile.from_path(root, path, len(part)))
    return files
