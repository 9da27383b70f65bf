"""A synthetic shop of any size: seeded, labelled synthetic, with preferences that a model can learn.

Each user has a favourite genre and a second one. A game is chosen by its popularity, which fades after its release,
times how well its genres suit the user. History lengths and games' shares of the reviews follow real shops: most users
write one or two reviews, and a few games get most of them. `write_synthetic` writes the shop as raw files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from components.ingest.raw_files import GAMES, RANKINGS, REVIEWS, RawFile
from steam_recsys.arrays import BoolArray, Float64Array, Int64Array
from steam_recsys.storage.folder import replace_durably

GENRES = (
    "Action", "Adventure", "Casual", "Horror", "Indie", "Platformer",
    "Puzzle", "RPG", "Racing", "Simulation", "Sports", "Strategy",
)  # fmt: skip
ADJECTIVES = ("Amber", "Broken", "Crimson", "Distant", "Electric", "Frozen", "Golden", "Hollow", "Iron", "Jade")
NOUNS = ("Harbour", "Kingdom", "Labyrinth", "Machine", "Orchard", "Protocol", "Requiem", "Station", "Tide", "Voyage")

FIRST_DAY = date(2020, 1, 1)
DAYS = 5 * 365
PERIOD_DAYS = 73
PERIODS = DAYS // PERIOD_DAYS
FADE_DAYS = 400.0
FAVOURITE_SHARE = 0.75
AFFINITY = 12.0
"""Factor by which a game of the wanted genre is more likely than an equally popular game of another."""

LONGEST, CUT_OFF = 60, 6.0
"""Parameters of the history lengths: a power law with an exponential cut-off, whose exponent follows from the mean."""

SPREADS = {290: 1.6, 3_682: 2.1}
"""Standard deviation of the logarithm of a game's share, by catalogue size, in the Kaggle set and in the UCSD set."""

REPEATED, UNKNOWN_AUTHOR, UNDATED = 0.03, 0.005, 0.05
"""Shares of reviews: of a user's later reviews, those that repeat a game; of all reviews, those without user or day."""

MOST_HOURS = 20_000
USERS_PER_BATCH = 1 << 19
FITTING_ROUNDS, REDRAWS = 30, 4
NONE = -1
"""The number of an unknown user or day."""

RANKED = 40
BLANK, MONTH_FIRST, DAY_FIRST = 0, 1, DAYS + 2
"""Indices into `_dates`: no day, then all days in one format, then all in the other."""


@dataclass(frozen=True)
class Size:
    """Approximate number of reviews, and numbers of users and games."""

    reviews: int
    users: int
    games: int


DEMO = Size(reviews=60_000, users=26_000, games=290)
"""The size of the demo's shop."""


@dataclass(frozen=True)
class Shop:
    """The games of a synthetic shop.

    Attributes:
        names: One per game.
        genres: Genre numbers of each game, the main genre first.
        released: Release days since `FIRST_DAY`, int64 [N].
        shares: Shares of the reviews, float64 [N], summing to one.
    """

    names: list[str]
    genres: list[list[int]]
    released: Int64Array
    shares: Float64Array

    @classmethod
    def generate(cls, size: Size, seed: int) -> Shop:
        """Generate a shop; the same seed gives the same shop."""
        random, games = np.random.default_rng([seed, 0]), size.games
        names = [
            f"Synthetic {ADJECTIVES[n % 10]} {NOUNS[n // 10 % 10]}{f' {n // 100 + 1}' if n >= 100 else ''}"
            for n in range(games)
        ]
        genres = [random.choice(len(GENRES), int(random.integers(1, 4)), replace=False).tolist() for _ in range(games)]
        released = random.integers(-3 * 365, DAYS - 90, games)
        return cls(names, genres, released, random.permutation(popularity(games)))

    @property
    def members(self) -> BoolArray:
        """Membership of games in genres, bool [genres, N]."""
        members = np.zeros((len(GENRES), len(self.names)), dtype=bool)
        for game, genres in enumerate(self.genres):
            members[genres, game] = True
        return members


@dataclass(frozen=True)
class Reviews:
    """Reviews as columns, with users and games numbered from 0.

    `days` count from `FIRST_DAY`, `tenths` are tenths of hours; an unknown user or day is `NONE`.
    """

    users: Int64Array
    games: Int64Array
    days: Int64Array
    recommended: BoolArray
    tenths: Int64Array
    written: BoolArray
    helpful: Int64Array
    funny: Int64Array

    def __len__(self) -> int:
        return len(self.users)


def popularity(games: int) -> Float64Array:
    """Return games' shares of the reviews, ascending: quantiles of a lognormal distribution, float64 [N]."""
    spread = np.interp(np.log(games), np.log(list(SPREADS)), list(SPREADS.values()))
    quantiles = [NormalDist().inv_cdf((rank + 0.5) / games) for rank in range(games)]
    shares = np.exp(spread * np.array(quantiles))
    return np.asarray(shares / shares.sum())


def length_shares(mean: float) -> Float64Array:
    """Return shares of users with 1, 2, … reviews that have this mean, float64 [LONGEST]."""
    lengths = np.arange(1.0, LONGEST + 1)
    low, high = -5.0, 10.0
    for _ in range(60):
        exponent = (low + high) / 2
        shares = lengths**-exponent * np.exp(-lengths / CUT_OFF)
        shares /= shares.sum()
        low, high = (exponent, high) if shares @ lengths > mean else (low, exponent)
    return shares


def batches(shop: Shop, size: Size, seed: int) -> Iterator[Reviews]:
    """Draw all reviews of a shop in batches of users, each batch from its own seed; a user's rows are adjacent."""
    cumulative = _chances(shop)
    lengths = np.cumsum(length_shares(size.reviews / size.users))
    for number, start in enumerate(range(0, size.users, USERS_PER_BATCH)):
        random = np.random.default_rng([seed, 1, number])
        n_users = min(USERS_PER_BATCH, size.users - start)
        n_reviews = np.minimum(np.searchsorted(lengths, random.random(n_users), side="right") + 1, LONGEST)
        yield _batch(random, shop, cumulative, start + np.repeat(np.arange(n_users), n_reviews))


def _batch(random: np.random.Generator, shop: Shop, cumulative: Float64Array, users: Int64Array) -> Reviews:
    first, n_users = users[0], users[-1] - users[0] + 1
    favourites = random.integers(0, len(GENRES), (n_users, 2))
    joined = random.integers(0, DAYS, n_users)[users - first]
    days = joined + (random.random(len(users)) * (DAYS - joined)).astype(np.int64)
    wanted = favourites[users - first, (random.random(len(users)) > FAVOURITE_SHARE).astype(np.int64)]
    games, kept = _distinct_games(random, cumulative, users, days // PERIOD_DAYS * len(GENRES) + wanted)
    users, games, days, suits = users[kept], games[kept], days[kept], shop.members[wanted, games][kept]
    n = len(users)
    hours = random.lognormal(np.where(suits, 2.5, 0.7), 1.5)
    return Reviews(
        users=np.where(random.random(n) < UNKNOWN_AUTHOR, NONE, users),
        games=games,
        days=np.where(random.random(n) < UNDATED, NONE, days),
        recommended=random.random(n) < np.where(suits, 0.93, 0.6),
        tenths=np.minimum(10 * hours, 10 * MOST_HOURS).astype(np.int64),
        written=random.random(n) < 0.5,
        helpful=random.poisson(np.where(random.random(n) < 0.3, 4.0, 0.2), n),
        funny=random.poisson(0.2, n),
    )


def _distinct_games(
    random: np.random.Generator, cumulative: Float64Array, users: Int64Array, groups: Int64Array
) -> tuple[Int64Array, BoolArray]:
    """Draw one game per row by its group, and choose rows to keep: a user's games are distinct, with a few repeats."""
    games, kept = _drawn(random, cumulative, groups), np.ones(len(users), dtype=bool)
    for _ in range(REDRAWS):
        again = _repeats(users, games)
        games[again] = _drawn(random, cumulative, groups[again])
    kept[_repeats(users, games)] = False  # for users who have most of a small catalogue
    forgotten = np.flatnonzero(kept[:-1] & (users[1:] == users[:-1]) & (random.random(len(users) - 1) < REPEATED))
    games[forgotten + 1], kept[forgotten + 1] = games[forgotten], True
    return games, kept


def _repeats(users: Int64Array, games: Int64Array) -> Int64Array:
    """Return the rows that repeat an earlier one."""
    keys = (users - users[0]) * (games.max() + 1) + games
    order = np.argsort(keys, kind="stable")
    again: Int64Array = order[1:][keys[order[1:]] == keys[order[:-1]]]
    return again


def _drawn(random: np.random.Generator, cumulative: Float64Array, groups: Int64Array) -> Int64Array:
    n_games = cumulative.shape[1]
    indices = np.searchsorted(cumulative.ravel(), groups + random.random(len(groups)), side="right")
    games: Int64Array = np.clip(indices - groups * n_games, 0, n_games - 1)
    return games


def _chances(shop: Shop) -> Float64Array:
    """Return cumulative probabilities of games per group, plus the group's number, float64 [groups, N].

    A group is a period and a wanted genre. Probabilities depend on popularity, age and affinity, and are fitted so that
    each game gets its share over all groups.
    """
    starts = np.arange(PERIODS) * PERIOD_DAYS
    age = starts[:, None] + PERIOD_DAYS / 2 - shop.released
    fading = np.where(age > 0, np.exp(-np.maximum(age, 0) / FADE_DAYS) + 0.02, 0.0)
    chances = (fading[:, None, :] * np.where(shop.members, AFFINITY, 1.0)).reshape(-1, len(shop.names))
    groups = np.repeat(_period_shares(), len(GENRES)) / len(GENRES)
    weights = shop.shares.copy()
    for _ in range(FITTING_ROUNDS):
        drawn = (groups / (chances @ weights)) @ chances * weights
        weights *= shop.shares / drawn
    chances *= weights
    cumulative = np.cumsum(chances, axis=1)
    return np.asarray(cumulative / cumulative[:, -1:] + np.arange(len(cumulative))[:, None])


def _period_shares() -> Float64Array:
    """Return each period's share of the reviews, if users join on any day and write on any later day."""
    days = np.cumsum(1.0 / np.arange(DAYS, 0, -1)) / DAYS
    shares = days.reshape(PERIODS, PERIOD_DAYS).sum(axis=1)
    return np.asarray(shares / shares.sum())


def write_synthetic(folder: Path, size: Size = DEMO, seed: int = 0) -> int:
    """Write the three raw files of a synthetic shop in constant memory, and return the number of reviews.

    Args:
        folder: Target folder; created if missing.
        size: Size of the shop.
        seed: Random seed; the same seed writes the same bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shop, counts = Shop.generate(size, seed), np.zeros(size.games, dtype=np.int64)
    random = np.random.default_rng([seed, 2])

    def counted() -> Iterator[Reviews]:
        for batch in batches(shop, size, seed):
            counts[:] += np.bincount(batch.games, minlength=size.games)
            yield batch

    _write(folder, REVIEWS, _review_columns(random, shop, counted()))
    _write(folder, GAMES, [_game_columns(random, shop, counts)])
    _write(folder, RANKINGS, [_ranking_columns(random, shop, counts)])
    return int(counts.sum())


def user_names(users: Int64Array) -> pa.Array:
    """Return users' names by number, null for an unknown user."""
    numbers = pc.utf8_lpad(pa.array(np.maximum(users, 0)).cast(pa.string()), 8, "0")
    names = pc.binary_join_element_wise("synthetic_user_", numbers, "")
    return pc.if_else(pa.array(users == NONE), pa.scalar(None, pa.string()), names)


def _review_columns(random: np.random.Generator, shop: Shop, reviews: Iterable[Reviews]) -> Iterator[list[pa.Array]]:
    names, dates = pa.array(shop.names), pa.array(_dates())
    hours = pa.array([f"{tenths / 10:,}" for tenths in range(10 * MOST_HOURS + 1)])
    texts, verdicts = pa.array(["", "A synthetic review."]), pa.array(["Not Recommended", "Recommended"])
    for batch in reviews:
        form = np.where(random.random(len(batch)) < 0.5, MONTH_FIRST, DAY_FIRST)
        yield [
            texts.take(pa.array(batch.written.astype(np.int8))),
            hours.take(pa.array(batch.tenths)),
            pa.array(batch.helpful).cast(pa.string()),
            pa.array(batch.funny).cast(pa.string()),
            verdicts.take(pa.array(batch.recommended.astype(np.int8))),
            dates.take(pa.array(np.where(batch.days == NONE, BLANK, batch.days + form))),
            names.take(pa.array(batch.games)),
            pc.fill_null(user_names(batch.users), ""),
        ]


def _dates() -> list[str]:
    """List days as the real files write them: blank, month first, day first."""
    calendar = [FIRST_DAY + timedelta(days=day) for day in range(DAYS + 1)]
    month_first = [f"{day:%B} {day.day}, {day.year}" for day in calendar]
    return ["", *month_first, *(f"{day.day} {day:%B}, {day.year}" for day in calendar)]


def _game_columns(random: np.random.Generator, shop: Shop, counts: Int64Array) -> list[pa.Array]:
    rows = []
    for game, name in enumerate(shop.names):
        released = FIRST_DAY + timedelta(days=int(shop.released[game]))
        genres = [GENRES[genre] for genre in shop.genres[game]]
        studio = f"Synthetic Studio {int(random.integers(40)):02}"
        ram = int(random.choice([2, 4, 8, 16]))
        minimum = ["OS: Windows 10", f"Memory: {ram} GB RAM", f"Storage: {ram * 5} GB available space"]
        recommended = ["OS: Windows 10", f"Memory: {ram * 2} GB RAM", f"Storage: {ram * 5} GB available space"]
        total = f"({int(counts[game]):,})"
        rows.append((
            name, f"A synthetic {genres[0].lower()} game.", f"{name} is synthetic: no such game exists.", str(genres),
            str(minimum), str(recommended), f"{released.day} {released:%b}, {released.year}", str([studio]),
            str([studio]), "Mostly Positive", total, f"{int(counts[game]) // 2:,}", f"synthetic://games/{game}",
        ))  # fmt: skip
    return [pa.array(column) for column in zip(*rows, strict=True)]


def _ranking_columns(random: np.random.Generator, shop: Shop, counts: Int64Array) -> list[pa.Array]:
    price = random.integers(5, 60, len(shop.names))
    sales = counts * 30 + random.integers(0, 99, len(counts))
    figures: dict[str, Int64Array] = {"Sales": sales, "Revenue": sales * price, "Review": counts}
    rows = []
    for genre_number, genre in enumerate(GENRES):
        members = [game for game, genres in enumerate(shop.genres) if genre_number in genres]
        for rank_type, figure in figures.items():
            best = sorted(members, key=lambda game: (-figure[game], game))[:RANKED]
            rows += [(shop.names[game], genre, rank_type, str(rank)) for rank, game in enumerate(best, start=1)]
    return [pa.array(column) for column in zip(*rows, strict=True)]


def _write(folder: Path, raw: RawFile, batches: Iterable[Sequence[pa.Array]]) -> None:
    schema = pa.schema([(column, pa.string()) for column in raw.columns])
    temporary = folder / f".{raw.name}"
    with pa_csv.CSVWriter(temporary, schema) as writer:
        for columns in batches:
            writer.write(pa.table(list(columns), schema))
    replace_durably(temporary, folder / raw.name)
