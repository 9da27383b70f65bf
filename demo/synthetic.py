"""Synthetic reviews in the raw layout: seeded, labelled synthetic, with preferences that a model can learn.

Each user has a favourite genre and a second one; a game is chosen by its popularity, which fades after its release,
times how well its genres suit the user. History lengths and popularity are as skewed as in real shops: most users
write one or two reviews, a few games get most of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from components.ingest.raw import GAMES, RANKINGS, REVIEWS, RawFile

GENRES = (
    "Action", "Adventure", "Casual", "Horror", "Indie", "Platformer",
    "Puzzle", "RPG", "Racing", "Simulation", "Sports", "Strategy",
)  # fmt: skip
ADJECTIVES = ("Amber", "Broken", "Crimson", "Distant", "Electric", "Frozen", "Golden", "Hollow", "Iron", "Jade")
NOUNS = ("Harbour", "Kingdom", "Labyrinth", "Machine", "Orchard", "Protocol", "Requiem", "Station", "Tide", "Voyage")

FIRST_DAY = date(2020, 1, 1)
DAYS = 5 * 365
PERIOD_DAYS = 73
FADE_DAYS = 400.0
FAVOURITE_SHARE = 0.75
AFFINITY = 12.0
"""How many times likelier a game of a wanted genre is chosen than another game as popular."""

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shop:
    """The games of a synthetic shop: names, genre numbers (the first is the main one), release days, popularity."""

    names: list[str]
    genres: list[list[int]]
    released: Ints
    popularity: Floats


def write_synthetic(folder: Path, *, reviews: int = 60_000, games: int = 290, seed: int = 0) -> None:
    """Write the three raw files of a synthetic shop.

    Args:
        folder: where to; made where it is missing.
        reviews: about how many, after users' accidental repeats are left out.
        games: how many.
        seed: equal seeds write equal bytes.
    """
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    shop = _shop(random, games)
    users, chosen, days, suits = _choices(random, shop, reviews)
    _write(folder, REVIEWS, _review_columns(random, shop, users, chosen, days, suits))
    counts = np.bincount(chosen, minlength=games)
    _write(folder, GAMES, _game_columns(random, shop, counts))
    _write(folder, RANKINGS, _ranking_columns(random, shop, counts))


def _shop(random: np.random.Generator, games: int) -> Shop:
    names = [
        f"Synthetic {ADJECTIVES[n % 10]} {NOUNS[n // 10 % 10]}{f' {n // 100 + 1}' if n >= 100 else ''}"
        for n in range(games)
    ]
    genres = [random.choice(len(GENRES), size=int(random.integers(1, 4)), replace=False).tolist() for _ in range(games)]
    released = random.integers(-3 * 365, DAYS - 90, games)
    popularity = 1.0 / np.arange(1, games + 1) ** 0.8
    return Shop(names, genres, released, random.permutation(popularity))


def _choices(random: np.random.Generator, shop: Shop, reviews: int) -> tuple[Ints, Ints, Ints, npt.NDArray[np.bool_]]:
    """Who reviews what on which day, and whether it suits them; a user reviews a game once, but for a few repeats."""
    lengths = np.minimum(random.zipf(1.9, reviews), 60)
    users = np.repeat(np.arange(len(lengths)), lengths)[: int(reviews * 1.08)]
    n_users = int(users[-1]) + 1
    favourites = random.integers(0, len(GENRES), (n_users, 2))
    joined = random.integers(0, DAYS, n_users)
    days = joined[users] + (random.random(len(users)) * (DAYS - joined[users])).astype(np.int64)
    wanted = favourites[users, (random.random(len(users)) > FAVOURITE_SHARE).astype(np.int64)]
    member = _membership(shop)
    chosen = _draw(random, shop, member, wanted, days // PERIOD_DAYS)
    keys = users * len(shop.names) + chosen
    first = np.zeros(len(keys), dtype=bool)
    first[np.unique(keys, return_index=True)[1]] = True
    kept = np.flatnonzero(first | (random.random(len(keys)) < 0.01))[:reviews]
    return users[kept], chosen[kept], days[kept], member[wanted[kept], chosen[kept]]


def _membership(shop: Shop) -> npt.NDArray[np.bool_]:
    member = np.zeros((len(GENRES), len(shop.names)), dtype=bool)
    for game, genres in enumerate(shop.genres):
        member[genres, game] = True
    return member


def _draw(random: np.random.Generator, shop: Shop, member: npt.NDArray[np.bool_], wanted: Ints, periods: Ints) -> Ints:
    """A game for each (wanted genre, period), drawn by popularity, age and affinity."""
    chosen = np.empty(len(wanted), dtype=np.int64)
    for period in range(DAYS // PERIOD_DAYS + 1):
        age = period * PERIOD_DAYS + PERIOD_DAYS / 2 - shop.released
        weight = shop.popularity * np.where(age > 0, np.exp(-np.maximum(age, 0) / FADE_DAYS) + 0.02, 0.0)
        for genre in range(len(GENRES)):
            rows = np.flatnonzero((periods == period) & (wanted == genre))
            cumulative = np.cumsum(weight * np.where(member[genre], AFFINITY, 1.0))
            chosen[rows] = np.searchsorted(cumulative, random.random(len(rows)) * cumulative[-1], side="right")
    return chosen


def _review_columns(
    random: np.random.Generator, shop: Shop, users: Ints, chosen: Ints, days: Ints, suits: npt.NDArray[np.bool_]
) -> list[pa.Array]:
    n = len(users)
    hours = np.round(random.lognormal(np.where(suits, 2.5, 0.7), 1.5), 1)
    verdicts = np.where(random.random(n) < np.where(suits, 0.93, 0.6), "Recommended", "Not Recommended")
    names = np.array(shop.names, dtype=object)[chosen]
    authors = np.array([f"synthetic_user_{user:07}" for user in range(int(users.max()) + 1)], dtype=object)[users]
    authors[random.random(n) < 0.005] = ""
    text = np.where(random.random(n) < 0.5, "A synthetic review.", "")
    helpful = random.poisson(np.where(random.random(n) < 0.3, 4.0, 0.2), n)
    funny = random.poisson(0.2, n)
    columns = [text, [f"{hour:,}" for hour in hours.tolist()], helpful, funny, verdicts, _dates(random, days), names]
    return [pa.array(column).cast(pa.string()) for column in [*columns, authors]]


def _dates(random: np.random.Generator, days: Ints) -> npt.NDArray[np.object_]:
    """Dates as the real files write them: month first, day first, or blank."""
    calendar = [FIRST_DAY + timedelta(days=day) for day in range(DAYS + 1)]
    month_first = np.array([f"{day:%B} {day.day}, {day.year}" for day in calendar], dtype=object)
    day_first = np.array([f"{day.day} {day:%B}, {day.year}" for day in calendar], dtype=object)
    form = random.random(len(days))
    return np.where(form < 0.5, month_first[days], np.where(form < 0.95, day_first[days], ""))


def _game_columns(random: np.random.Generator, shop: Shop, counts: Ints) -> list[pa.Array]:
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


def _ranking_columns(random: np.random.Generator, shop: Shop, counts: Ints) -> list[pa.Array]:
    price = random.integers(5, 60, len(shop.names))
    sales = counts * 30 + random.integers(0, 99, len(counts))
    figures: dict[str, Ints] = {"Sales": sales, "Revenue": sales * price, "Review": counts}
    rows = []
    for genre_number, genre in enumerate(GENRES):
        members = [game for game, genres in enumerate(shop.genres) if genre_number in genres]
        for rank_type, figure in figures.items():
            best = sorted(members, key=lambda game: (-figure[game], game))[:40]
            rows += [(shop.names[game], genre, rank_type, str(rank)) for rank, game in enumerate(best, start=1)]
    return [pa.array(column) for column in zip(*rows, strict=True)]


def _write(folder: Path, raw: RawFile, columns: Sequence[pa.Array]) -> None:
    temporary = folder / f".{raw.name}"
    pa_csv.write_csv(pa.table(list(columns), names=list(raw.columns)), temporary)
    temporary.replace(folder / raw.name)
