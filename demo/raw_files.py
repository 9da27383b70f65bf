"""A synthetic shop as the raw files that a real one has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from components.ingest.raw_files import GAMES, RANKINGS, REVIEWS, RawFile
from demo.synthetic import DAYS, DEMO, FIRST_DAY, GENRES, MOST_HOURS, NONE, Int32Array, Reviews, Shop, Size, batches

RANKED = 40
BLANK, MONTH_FIRST, DAY_FIRST = 0, 1, DAYS + 2
"""Where a day's text stands in `_dates`: no day, then each in one form, then each in the other."""


def write_synthetic(folder: Path, size: Size = DEMO, seed: int = 0) -> int:
    """Write the three raw files of a synthetic shop, in memory that does not grow with it; the number of reviews.

    Args:
        folder: where to; made where it is missing.
        size: how much of it.
        seed: equal seeds write equal bytes.
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


def user_names(users: Int32Array) -> pa.Array:
    """Names of users by their numbers; none of the one that is not known."""
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
    """Days as the real files write them: blank, month first, day first."""
    calendar = [FIRST_DAY + timedelta(days=day) for day in range(DAYS + 1)]
    month_first = [f"{day:%B} {day.day}, {day.year}" for day in calendar]
    return ["", *month_first, *(f"{day.day} {day:%B}, {day.year}" for day in calendar)]


def _game_columns(random: np.random.Generator, shop: Shop, counts: Int32Array) -> list[pa.Array]:
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


def _ranking_columns(random: np.random.Generator, shop: Shop, counts: Int32Array) -> list[pa.Array]:
    price = random.integers(5, 60, len(shop.names))
    sales = counts * 30 + random.integers(0, 99, len(counts))
    figures: dict[str, Int32Array] = {"Sales": sales, "Revenue": sales * price, "Review": counts}
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
    temporary.replace(folder / raw.name)
