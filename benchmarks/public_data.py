"""The boards that quality is measured on: public data sets, read in place, and a generated one, with their splits."""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.generated import Size, generate_in_order
from components.extract.extraction import write_snapshot
from components.ingest.ingestion import ingest
from demo.postgres import EmbeddedPostgres
from steam_recsys.arrays import Int32Array
from steam_recsys.data.games import GAME_COLUMNS, Games, release_days
from steam_recsys.data.interactions import UNDATED, Interactions, cutoff_day, day_of
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import UserError
from steam_recsys.evaluation.metrics import NDCG, Metric, Recall
from steam_recsys.evaluation.splits import Split, at_random, by_time, last_out, latest_of_each_user

UCSD, STEAM_200K = "steam-ucsd, newest 10 % of reviews", "Steam-200k, random 80/20"
ML_RANDOM, ML_LAST = "ML-100K, random 80/20", "ML-100K, last item out"
BEAUTY, GENERATED = "Amazon Beauty 5-core, last item out", "generated, 41,000 games, newest 10 % of reviews"

DATA_SETS = {
    "ml-100k/u.data": "MovieLens 100K from GroupLens",
    "steam-200k/steam-200k.csv": "tamber/steam-video-games from Kaggle",
    "steam-ucsd/steam_game_reviews.csv": "UCSD's Steam reviews of Australian users, in the raw layout",
    "amazon-beauty/Beauty.txt": "McAuley's Amazon Beauty, 5-core, a user per line with the items in order of time",
}
"""Files that the benchmark reads, and the public data set of each."""

DATABASE = "BENCHMARK_DATABASE_URL"
SPLIT_SEED, VALIDATION_SEED = 42, 7
HELD_OUT_SHARE = 0.2
STEAM_CUTOFF = day_of(date(2015, 10, 4))
VALIDATION_SHARE = 0.1

GENERATED_SIZE = Size(interactions=810_000, users=30_000, games=41_000)


@dataclass(frozen=True)
class Protocol:
    """A data set with its splits.

    Attributes:
        name: Name in the table.
        games: Catalogue, in the order of ids.
        test: Training rows and held-out rows.
        validation: The same, within the test's training rows.
        released: int32 [N], release days since 1970-01-01, `UNDATED` if unknown; None if none is known.
    """

    name: str
    games: Games
    test: Split
    validation: Split
    released: Int32Array | None = None


@dataclass(frozen=True)
class Board:
    """A data set with a split, and what is measured on it.

    Attributes:
        key: Name on the command line.
        name: Name in tables and records.
        file: The file that it reads, one of `DATA_SETS`; empty for generated data.
        load: Prepares its protocol from the folder with the data sets.
        metrics: The accuracy metrics of its table.
        ordered: Whether histories are in the order of time, and what is held out comes after them.
        every_user: Whether users count as zeros whose held-out item no user had before, so that no ranking finds it:
            as in published figures.
    """

    key: str
    name: str
    file: str
    load: Callable[[Path], Protocol]
    metrics: tuple[Metric, ...] = (NDCG(10), Recall(20))
    ordered: bool = False
    every_user: bool = False


def select_boards(data: Path | None, keys: Sequence[str] = ()) -> list[Board]:
    """Return the boards of the given keys, all without keys, in the order of the table.

    Raises:
        UserError: A key is unknown, or the folder or the file of a board is missing.
    """
    if unknown := sorted(set(keys) - {board.key for board in BOARDS}):
        known = ", ".join(board.key for board in BOARDS)
        raise UserError(f"There is no board {unknown[0]}: BOARD must be one of {known}.")
    boards = [board for board in BOARDS if not keys or board.key in keys]
    files = [board.file for board in boards if board.file]
    sources = "; ".join(f"{path} ({source})" for path, source in DATA_SETS.items() if path in files)
    if files and data is None:
        raise UserError(f"This benchmark needs public data: add DATA=folder, a folder with {sources}.")
    if missing := [path for path in files if data and not (data / path).is_file()]:
        raise UserError(f"{data}/{missing[0]} does not exist: DATA must name a folder with {sources}.")
    return boards


def _movies_at_random(data: Path) -> Protocol:
    return _random(ML_RANDOM, *_movielens(data / "ml-100k"))


def _movies_last_out(data: Path) -> Protocol:
    return _last_out(ML_LAST, *_movielens(data / "ml-100k"))


def _steam_by_time(data: Path) -> Protocol:
    reviews, games, released = _reviews(data / "steam-ucsd")
    return _by_time(UCSD, reviews, games, STEAM_CUTOFF, released)


def _purchases_at_random(data: Path) -> Protocol:
    return _random(STEAM_200K, *_purchases(data / "steam-200k" / "steam-200k.csv"))


def _beauty_last_out(data: Path) -> Protocol:
    """Prepare the split of the published figures."""
    return _last_out(BEAUTY, *_beauty(data / "amazon-beauty" / "Beauty.txt"))


def _generated_by_time(data: Path) -> Protocol:
    interactions, games = generate_in_order(GENERATED_SIZE, SPLIT_SEED)
    return _by_time(GENERATED, interactions, games, cutoff_day(interactions, VALIDATION_SHARE))


BOARDS = (
    Board("ml-100k-random", ML_RANDOM, "ml-100k/u.data", _movies_at_random),
    Board("ml-100k-last-out", ML_LAST, "ml-100k/u.data", _movies_last_out, ordered=True),
    Board("steam-ucsd", UCSD, "steam-ucsd/steam_game_reviews.csv", _steam_by_time, ordered=True),
    Board("steam-200k", STEAM_200K, "steam-200k/steam-200k.csv", _purchases_at_random),
    Board(
        "amazon-beauty",
        BEAUTY,
        "amazon-beauty/Beauty.txt",
        _beauty_last_out,
        (NDCG(10), Recall(10)),
        ordered=True,
        every_user=True,
    ),
    Board("generated", GENERATED, "", _generated_by_time, ordered=True),
)
"""The boards, in the order of the table."""


def _by_time(
    name: str, interactions: Interactions, games: Games, cutoff: int, released: Int32Array | None = None
) -> Protocol:
    test = by_time(interactions, cutoff)
    validation = by_time(test.past, cutoff_day(test.past, VALIDATION_SHARE))
    return Protocol(name, games, test, validation, released)


def _last_out(name: str, interactions: Interactions, games: Games) -> Protocol:
    """Hold out each user's last interaction, and for validation the one before it."""
    before = interactions.take(~latest_of_each_user(interactions))
    return Protocol(name, games, last_out(interactions), last_out(before))


def _random(name: str, interactions: Interactions, games: Games) -> Protocol:
    test = at_random(interactions, HELD_OUT_SHARE, np.random.RandomState(SPLIT_SEED))
    return Protocol(name, games, test, at_random(test.past, HELD_OUT_SHARE, np.random.RandomState(VALIDATION_SEED)))


def _movielens(folder: Path) -> tuple[Interactions, Games]:
    """Read all ratings, ordered by user and time; seconds take the place of days, because only the order counts."""
    table = np.loadtxt(folder / "u.data", dtype=np.int64)
    users, movies, _, seconds = table[np.lexsort((table[:, 3], table[:, 0]))].T
    return _interactions(users, movies, seconds - seconds.min()), _catalogue(int(movies.max()))


def _purchases(path: Path) -> tuple[Interactions, Games]:
    """Read each user's purchases once, in the file's order."""
    with path.open(encoding="utf-8", newline="") as file:
        pairs = list(dict.fromkeys((row[0], row[1]) for row in csv.reader(file) if row[2] == "purchase"))
    users, games = (
        {name: number for number, name in enumerate(dict.fromkeys(column))} for column in zip(*pairs, strict=True)
    )
    rows = np.array([(users[user], games[game] + 1) for user, game in pairs])
    return _interactions(rows[:, 0], rows[:, 1], np.full(len(rows), UNDATED)), _catalogue(len(games))


def _beauty(path: Path) -> tuple[Interactions, Games]:
    """Read each user's purchases in order; the index in that order replaces the day."""
    users: list[int] = []
    items: list[int] = []
    indices: list[int] = []
    with path.open(encoding="utf-8") as file:
        for line in file:
            user, *bought = map(int, line.split())
            users += [user] * len(bought)
            items += bought
            indices += range(len(bought))
    return _interactions(np.array(users), np.array(items), np.array(indices)), _catalogue(max(items))


def _reviews(folder: Path) -> tuple[Interactions, Games, Int32Array]:
    """Read the first review of each user and game if it has a date, ordered by user and day, the games, and their
    release days.
    """
    with tempfile.TemporaryDirectory(prefix="steam-recsys-benchmark-") as root:
        server = EmbeddedPostgres(Path(root) / "postgres", durable=False)
        server.start()
        try:
            os.environ[DATABASE] = server.ensure_database("benchmark")
            ingest(str(folder), f"env:{DATABASE}")
            snapshot = Path(root) / "snapshot"
            write_snapshot(f"env:{DATABASE}", snapshot, Path(root) / "store")
            opened = Snapshot.open(snapshot)
            games = opened.table("games", GAME_COLUMNS).sort_by("game_id")
            return _first_reviews(opened), Games.from_table(games), release_days(games)
        finally:
            os.environ.pop(DATABASE, None)
            server.stop()


def _first_reviews(snapshot: Snapshot) -> Interactions:
    columns = ["user_id", "game_id", "reviewed_on", "review_id"]
    table = snapshot.dataset("reviews").to_table(columns=columns, filter=pc.field("user_id").is_valid())
    table = table.sort_by("review_id")
    pairs = np.stack([table["user_id"].to_numpy(), table["game_id"].to_numpy()])
    _, first = np.unique(pairs, axis=1, return_index=True)
    days = pc.fill_null(table["reviewed_on"].cast(pa.int32()), UNDATED).to_numpy()
    first = first[days[first] != UNDATED]
    kept = first[np.lexsort((days[first], pairs[0, first]))]
    return _interactions(pairs[0, kept], pairs[1, kept], days[kept])


def _interactions(users: npt.NDArray[Any], games: npt.NDArray[Any], days: npt.NDArray[Any]) -> Interactions:
    """Build interactions in which every rating and review is a positive, as in the table's protocols."""
    verdicts, hours = np.ones(len(users), dtype=bool), np.full(len(users), np.nan, dtype=np.float32)
    return Interactions(users.astype(np.int64), games.astype(np.int32), days.astype(np.int32), verdicts, hours)


def _catalogue(n_games: int) -> Games:
    """Build a catalogue of games numbered from 1, with no attributes."""
    return Games(np.arange(1, n_games + 1, dtype=np.int32), [{}] * n_games)
