"""A synthetic shop: seeded, labelled synthetic, with preferences that a model can learn, of any size.

Each user has a favourite genre and a second one; a game is chosen by its popularity, which fades after its release,
times how well its genres suit the user. Histories' lengths and games' shares of the reviews are those of real shops:
most users write one or two reviews, a few games get most of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

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
"""How many times likelier a game of a wanted genre is chosen than another game as popular."""

LONGEST, CUT_OFF = 60, 6.0
"""Histories' lengths follow a power law with an exponential cut-off, whose exponent is what gives their mean."""

SPREADS = {290: 1.6, 3_682: 2.1}
"""Standard deviation of the logarithm of a game's share, by the size of the catalogue: in the Kaggle set and in UCSD's.
The larger one has the longer tail."""

REPEATED, UNKNOWN_AUTHOR, UNDATED = 0.03, 0.005, 0.05
"""Shares: of the reviews that are not a user's first, those of the same game again; of all, those without a user or a
day."""

MOST_HOURS = 20_000
USERS_A_BATCH = 1 << 19
FITTING_ROUNDS, REDRAWS = 30, 4
NONE = -1
"""For the author that is not known and the day that is not."""

Float32Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Size:
    """How many reviews, about, by how many users of how many games."""

    reviews: int
    users: int
    games: int


DEMO = Size(reviews=60_000, users=26_000, games=290)
"""What a demo makes."""


@dataclass(frozen=True)
class Shop:
    """The games of a synthetic shop.

    Attributes:
        names: one a game.
        genres: their numbers, the main one first.
        released: days since `FIRST_DAY`, int64 [N].
        shares: of the reviews, float64 [N], summing to one.
    """

    names: list[str]
    genres: list[list[int]]
    released: Int32Array
    shares: Float32Array

    @classmethod
    def generate(cls, size: Size, seed: int) -> Shop:
        """The shop of a seed."""
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
        """Which games belong to which genre, bool [genres, N]."""
        members = np.zeros((len(GENRES), len(self.names)), dtype=bool)
        for game, genres in enumerate(self.genres):
            members[genres, game] = True
        return members


@dataclass(frozen=True)
class Reviews:
    """Reviews, a row each: the numbers of their users and games, from 0, and what they say.

    `days` count from `FIRST_DAY`, `tenths` are tenths of hours; an unknown user or day is `NONE`.
    """

    users: Int32Array
    games: Int32Array
    days: Int32Array
    recommended: BoolArray
    tenths: Int32Array
    written: BoolArray
    helpful: Int32Array
    funny: Int32Array

    def __len__(self) -> int:
        return len(self.users)


def popularity(games: int) -> Float32Array:
    """Shares of the reviews, the least popular game first: the quantiles of a lognormal distribution, float64 [N]."""
    spread = np.interp(np.log(games), np.log(list(SPREADS)), list(SPREADS.values()))
    quantiles = [NormalDist().inv_cdf((rank + 0.5) / games) for rank in range(games)]
    shares = np.exp(spread * np.array(quantiles))
    return np.asarray(shares / shares.sum())


def length_shares(mean: float) -> Float32Array:
    """Shares of the users with 1, 2, … reviews, which have this mean, float64 [LONGEST]."""
    lengths = np.arange(1.0, LONGEST + 1)
    low, high = -5.0, 10.0
    for _ in range(60):
        exponent = (low + high) / 2
        shares = lengths**-exponent * np.exp(-lengths / CUT_OFF)
        shares /= shares.sum()
        low, high = (exponent, high) if shares @ lengths > mean else (low, exponent)
    return shares


def batches(shop: Shop, size: Size, seed: int) -> Iterator[Reviews]:
    """All reviews of a shop, in batches of users, each drawn from a seed of its own; a user's rows are together."""
    cumulative = _chances(shop)
    lengths = np.cumsum(length_shares(size.reviews / size.users))
    for number, start in enumerate(range(0, size.users, USERS_A_BATCH)):
        random = np.random.default_rng([seed, 1, number])
        n_users = min(USERS_A_BATCH, size.users - start)
        n_reviews = np.minimum(np.searchsorted(lengths, random.random(n_users), side="right") + 1, LONGEST)
        yield _batch(random, shop, cumulative, start + np.repeat(np.arange(n_users), n_reviews))


def _batch(random: np.random.Generator, shop: Shop, cumulative: Float32Array, users: Int32Array) -> Reviews:
    first, n_users = users[0], users[-1] - users[0] + 1
    favourites = random.integers(0, len(GENRES), (n_users, 2))
    joined = random.integers(0, DAYS, n_users)[users - first]
    days = joined + (random.random(len(users)) * (DAYS - joined)).astype(np.int64)
    wanted = favourites[users - first, (random.random(len(users)) > FAVOURITE_SHARE).astype(np.int64)]
    games, kept = _unlike(random, cumulative, users, days // PERIOD_DAYS * len(GENRES) + wanted)
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


def _unlike(
    random: np.random.Generator, cumulative: Float32Array, users: Int32Array, groups: Int32Array
) -> tuple[Int32Array, BoolArray]:
    """A game for each row, drawn by its group, and the rows to keep; a user has none twice, but for a few repeats."""
    games, kept = _drawn(random, cumulative, groups), np.ones(len(users), dtype=bool)
    for _ in range(REDRAWS):
        again = _repeats(users, games)
        games[again] = _drawn(random, cumulative, groups[again])
    kept[_repeats(users, games)] = False  # of users who have most of a small catalogue
    forgotten = np.flatnonzero(kept[:-1] & (users[1:] == users[:-1]) & (random.random(len(users) - 1) < REPEATED))
    games[forgotten + 1], kept[forgotten + 1] = games[forgotten], True
    return games, kept


def _repeats(users: Int32Array, games: Int32Array) -> Int32Array:
    """The rows that repeat an earlier one."""
    keys = (users - users[0]) * (games.max() + 1) + games
    order = np.argsort(keys, kind="stable")
    again: Int32Array = order[1:][keys[order[1:]] == keys[order[:-1]]]
    return again


def _drawn(random: np.random.Generator, cumulative: Float32Array, groups: Int32Array) -> Int32Array:
    n_games = cumulative.shape[1]
    places = np.searchsorted(cumulative.ravel(), groups + random.random(len(groups)), side="right")
    games: Int32Array = np.clip(places - groups * n_games, 0, n_games - 1)
    return games


def _chances(shop: Shop) -> Float32Array:
    """The chance of each game in each group, a period and a wanted genre: cumulative, plus the group's number.

    By popularity, age and affinity, and so that over all groups each game has its share: float64 [groups, N].
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


def _period_shares() -> Float32Array:
    """Shares of the reviews that are written in each period, where users join on any day and write on any day after."""
    days = np.cumsum(1.0 / np.arange(DAYS, 0, -1)) / DAYS
    shares = days.reshape(PERIODS, PERIOD_DAYS).sum(axis=1)
    return np.asarray(shares / shares.sum())
