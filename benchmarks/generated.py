"""Shops for the benchmarks: generated interactions as a snapshot, and the synthetic shop in a database.

`generate` makes interactions of any size from a seed, for training where public data sets are too small. Each user has
a favourite taste and a second one. A game suits one or two tastes and is chosen by its popularity times how well it
suits. Histories are as skewed as real ones. Popularity follows Zipf's law and does not change over time, so the only
thing to learn is which users have which games.

`generate_in_order` makes a shop in which order matters a little too: a user's next game is often of the taste of the
one before it, and sometimes one of the few that its users go on to.
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
from steam_recsys.data.games import Games
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

FINE_TASTES, TASTES_PER_GENRE = 400, 16
SECOND_TASTE_SHARE = 0.3
"""Share of the games that suit a second taste."""

LARGEST_REPERTOIRE = 4
"""Tastes of a user, at most."""

SAME_TASTE_SHARE, ANY_TASTE_SHARE, FOLLOWING_SHARE = 0.4, 0.1, 0.15
"""Shares of a user's games that are of the taste of the game before, of any taste, and among the `FOLLOWERS` of the
game before; the others are of any of the user's tastes."""

FOLLOWERS = 5

ORDERED_ZIPF, ORDERED_REPEATS = 1.0, 1.7

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


def generate_in_order(size: Size, seed: int) -> tuple[Interactions, Games]:
    """Generate interactions whose order matters a little, and the catalogue with genres and studios.

    A game suits one fine taste or two, and its genre is a group of the first one's. Its studio is less informative:
    some studios make games of one taste, others of any. Each user has up to `LARGEST_REPERTOIRE` tastes, and chooses
    among the games of one of them by popularity, which follows Zipf's law.

    Returns:
        Interactions, each user's in order of time, all recommended; and the games, numbered from 1.
    """
    random = np.random.default_rng([seed, 3])
    popularity = random.permutation(1.0 / np.arange(1, size.games + 1) ** ORDERED_ZIPF)
    first = random.integers(0, FINE_TASTES, size.games)
    second = np.flatnonzero(random.random(size.games) < SECOND_TASTE_SHARE)
    suited = _SuitedGames.from_pairs(
        np.append(np.arange(size.games), second),
        np.append(first, random.integers(0, FINE_TASTES, len(second))),
        popularity,
    )
    followers = np.stack([suited.draw(random, first) for _ in range(FOLLOWERS)], axis=1)
    lengths = np.exp(random.normal(0.0, SPREAD, size.users))
    lengths = np.minimum(2 + lengths * (size.interactions / size.users - 2) / lengths.mean(), LONGEST) * ORDERED_REPEATS
    lengths = np.sort((lengths + random.random(size.users)).astype(np.int64))[::-1]
    repertoires = random.integers(0, FINE_TASTES, (size.users, LARGEST_REPERTOIRE))
    n_tastes = random.integers(1, LARGEST_REPERTOIRE + 1, size.users)
    tastes, games = repertoires[:, 0].copy(), np.zeros(size.users, dtype=np.int64)
    chosen = []
    for step in range(int(lengths[0])):
        active = np.arange(np.count_nonzero(lengths > step))
        own = repertoires[active, random.integers(0, n_tastes[active])]
        kind = random.random(len(active))
        stays = kind < SAME_TASTE_SHARE
        tastes[active] = np.where(stays, tastes[active], own)
        anything = (kind >= SAME_TASTE_SHARE) & (kind < SAME_TASTE_SHARE + ANY_TASTE_SHARE)
        drawn = suited.draw(random, np.where(anything, random.integers(0, FINE_TASTES, len(active)), tastes[active]))
        follows = (random.random(len(active)) < FOLLOWING_SHARE) & (step > 0)
        games[active] = np.where(follows, followers[games[active], random.integers(0, FOLLOWERS, len(active))], drawn)
        chosen.append(np.stack([active, games[active]]))
    return _dated(random, size, np.concatenate(chosen, axis=1)), _described(first, np.random.default_rng([seed, 4]))


@dataclass(frozen=True)
class _SuitedGames:
    """The games of each taste, to draw from by popularity.

    Attributes:
        games: int64 [n], the games of the first taste, then those of the next one.
        cumulative: float64 [n], the sum of the popularity of all entries up to each.
        bounds: float64 [FINE_TASTES + 1]; the entries of taste t have sums between bounds t and t + 1.
    """

    games: npt.NDArray[np.int64]
    cumulative: npt.NDArray[np.float64]
    bounds: npt.NDArray[np.float64]

    @classmethod
    def from_pairs(
        cls, games: npt.NDArray[np.int64], tastes: npt.NDArray[np.int64], popularity: npt.NDArray[np.float64]
    ) -> _SuitedGames:
        """Sort pairs of a game and a taste by taste."""
        order = np.argsort(tastes, kind="stable")
        cumulative = np.cumsum(popularity[games[order]])
        ends = np.searchsorted(tastes[order], np.arange(FINE_TASTES), side="right")
        return cls(games[order], cumulative, np.append(0.0, np.append(0.0, cumulative)[ends]))

    def draw(self, random: np.random.Generator, tastes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Draw a game of each given taste, int64; of a taste without games, the nearest game."""
        low, high = self.bounds[tastes], self.bounds[tastes + 1]
        indices = np.searchsorted(self.cumulative, low + random.random(len(tastes)) * (high - low), side="right")
        return self.games[np.minimum(indices, len(self.games) - 1)]


def _dated(random: np.random.Generator, size: Size, rows: npt.NDArray[np.int64]) -> Interactions:
    """Keep the first of each user's repeated games, and date them in order.

    Args:
        random: Random numbers.
        size: Numbers of users, games and interactions to keep at most.
        rows: Users and games, int64 [2, n], each user's in order.
    """
    _, first = np.unique(rows[0] * size.games + rows[1], return_index=True)
    kept = np.sort(random.permutation(first)[: size.interactions])
    users, games = rows[:, kept]
    order = np.argsort(users, kind="stable")
    users, games = users[order], games[order]
    joined = random.integers(0, DAYS, size.users)
    days = joined[users] + (random.random(len(users)) * (DAYS - joined[users])).astype(np.int64)
    return Interactions(
        users + 1,
        (games + 1).astype(np.int32),
        (days[np.lexsort((days, users))] + FIRST_DAY).astype(np.int32),
        np.ones(len(users), dtype=bool),
        np.full(len(users), np.nan, dtype=np.float32),
    )


def _described(tastes: npt.NDArray[np.int64], random: np.random.Generator) -> Games:
    """Describe games by a genre, a group of tastes, and by a studio of `GAMES_PER_STUDIO` games.

    Each studio has games of one taste, and swaps a random share of them, from none to all, for games that other studios
    give away. Otherwise the studio would give away the fine taste of a game that no user has had.

    Args:
        tastes: The first taste of each game, int64 [games].
        random: Random numbers.
    """
    studios = np.empty(len(tastes), dtype=np.int64)
    studios[np.argsort(tastes, kind="stable")] = np.arange(len(tastes)) // GAMES_PER_STUDIO
    shares = random.random(int(studios.max(initial=0)) + 1)
    swapped = np.flatnonzero(random.random(len(tastes)) < shares[studios])
    studios[swapped] = random.permutation(studios[swapped])
    described = [
        {f"genre Genre {taste // TASTES_PER_GENRE}": 1.0, f"developer Studio {studio}": 1.0}
        for taste, studio in zip(tastes.tolist(), studios.tolist(), strict=True)
    ]
    return Games(np.arange(1, len(tastes) + 1, dtype=np.int32), described)


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
