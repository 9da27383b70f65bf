"""`make benchmark-quality`: the model beside its baselines on public data, the default configuration in every row.

Nothing is tuned on a test split: what the model and the baselines tune, they tune on a part of the training rows.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
import tempfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.learning_curves import TutorialRanker
from benchmarks.record import OUTPUT, show, write
from benchmarks.record import Row as Record
from components.extract.extraction import write_snapshot
from components.ingest.ingestion import ingest
from components.train.tensorflow_runtime import get_workers
from components.train.trainer import Trainer
from components.train.training import tune_and_fit
from components.train.two_tower_model import ModelConfig
from demo.postgres import EmbeddedPostgres
from steam_recsys.arrays import Float64Array
from steam_recsys.data.games import GAME_COLUMNS, Games
from steam_recsys.data.interactions import UNDATED, Interactions, cutoff_day, day_of
from steam_recsys.data.popularity import popularity_as_of
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import UserError
from steam_recsys.evaluation.baselines import tuned_baselines
from steam_recsys.evaluation.intervals import Interval, intervals
from steam_recsys.evaluation.metrics import NDCG, Recall, measure
from steam_recsys.evaluation.rankers import ModelRanker, Ranker
from steam_recsys.evaluation.splits import Split, at_random, by_time, hold_out, last_out, latest_of_each_user

DATA_SETS = {
    "ml-100k/u.data": "MovieLens 100K from GroupLens",
    "steam-200k/steam-200k.csv": "tamber/steam-video-games from Kaggle",
    "steam-ucsd/steam_game_reviews.csv": "UCSD's Steam reviews of Australian users, in the raw layout",
}
"""Files that the benchmark reads, and the public data set of each."""

DATABASE = "BENCHMARK_DATABASE_URL"
SPLIT_SEED, VALIDATION_SEED = 42, 7
HELD_OUT_SHARE = 0.2
STEAM_CUTOFF = day_of(date(2015, 10, 4))
VALIDATION_SHARE = 0.1

METRICS = (NDCG(10), Recall(20))
OURS = "ours"
SEED = 0
MUST: dict[tuple[str, str], float | None] = {
    ("ML-100K, random 80/20", "ndcg_at_10"): 0.444,
    ("ML-100K, last item out", "ndcg_at_10"): 0.076,
    ("steam-ucsd, last 10 % of time", "ndcg_at_10"): 0.208,
    ("steam-ucsd, last 10 % of time", "recall_at_20"): 0.390,
    ("Steam-200k, random 80/20", "ndcg_at_10"): None,
}
"""Figures to reach: the best baseline's known figure, or, for None, its figure in the same run."""


@dataclass(frozen=True)
class Protocol:
    """A data set with its splits.

    Attributes:
        name: Name in the table.
        games: Catalogue, in the order of ids.
        test: Training rows and held-out rows.
        validation: The same, within the test's training rows.
    """

    name: str
    games: Games
    test: Split
    validation: Split


@dataclass(frozen=True)
class Row:
    """One ranker's results on one protocol: intervals of its metrics, and of the paired differences of ours to it."""

    ranker: str
    settings: str
    figures: dict[str, Interval]
    differences: dict[str, Interval]


def measure_protocol(protocol: Protocol) -> list[Row]:
    """Train, rank and measure everything on one protocol."""
    games = protocol.games
    past, as_of = protocol.test.past, protocol.test.as_of
    held_out = hold_out(past, protocol.test.future, games.ids)
    fitted, _ = tune_and_fit(past, protocol.validation, games, ModelConfig(), Trainer(SEED, get_workers()), "benchmark")
    scorer = fitted.model.for_catalogue(games, popularity_as_of(past, games.ids, as_of))
    rankers: dict[str, tuple[str, Ranker]] = {
        OURS: (_settings(fitted.config), ModelRanker(scorer)),
        "TFRS tutorial": ("", TutorialRanker.fit(past, games.ids, SEED)),
    }
    for baseline in tuned_baselines(past, as_of, protocol.validation, games.ids):
        rankers[baseline.name] = baseline.settings, baseline.ranker
    measured = {name: measure(ranker, held_out, METRICS) for name, (_, ranker) in rankers.items()}
    return [
        Row(name, rankers[name][0], intervals(figures), intervals(_differences(measured[OURS], figures)))
        for name, figures in measured.items()
    ]


def results(protocol: str, rows: list[Row]) -> list[Record]:
    """Compute the protocol's figures for the record: ours beside the best other ranker's."""
    ours = next(row for row in rows if row.ranker == OURS)
    found: list[Record] = []
    for metric in METRICS:
        peer = max((row for row in rows if row.ranker != OURS), key=lambda row: row.figures[metric.name].mean)
        figure, best = ours.figures[metric.name].mean, peer.figures[metric.name].mean
        required = (protocol, metric.name) in MUST
        must = (MUST[protocol, metric.name] or best) if required else None
        found.append(
            {
                "what": f"{protocol}, {metric.name}",
                "ours": round(figure, 4),
                "peer": round(best, 4),
                "peer_name": peer.ranker,
                "ratio": round(figure / best, 4),
                "must": must and round(must, 4),
                "met": must is None or round(figure, 4) >= round(must, 4),
            }
        )
    return found


def markdown(protocol: str, rows: list[Row]) -> str:
    """Return the protocol's results as a Markdown table."""
    lines = [
        f"### {protocol}",
        "",
        "| ranking | settings | NDCG@10 | Recall@20 | ours − it, NDCG@10 | ours − it, Recall@20 |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [str(row.figures[metric.name]) for metric in METRICS]
        cells += ["" if row.ranker == OURS else str(row.differences[metric.name]) for metric in METRICS]
        lines.append(f"| {row.ranker} | {row.settings} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _differences(ours: dict[str, Float64Array], others: dict[str, Float64Array]) -> dict[str, Float64Array]:
    return {name: ours[name] - others[name] for name in ours}


def _settings(config: ModelConfig) -> str:
    weights = config.history_weights
    text = f"scale {config.scale:g}, links times {config.link_weight:g} (λ = {config.link_regularisation:g})"
    return f"{text}, recency {weights.recency:g}"


def protocols(data: Path | None) -> list[Protocol]:
    """Prepare every protocol of the table from the folder with the data sets.

    Raises:
        UserError: The folder or one of its data sets is missing.
    """
    sources = "; ".join(f"{path} ({source})" for path, source in DATA_SETS.items())
    if data is None:
        raise UserError(f"This benchmark needs public data: add DATA=folder, a folder with {sources}.")
    if missing := [path for path in DATA_SETS if not (data / path).is_file()]:
        raise UserError(f"{data / missing[0]} does not exist: DATA must name a folder with {sources}.")
    movies, movie_games = _movielens(data / "ml-100k")
    purchases, purchase_games = _purchases(data / "steam-200k" / "steam-200k.csv")
    reviews, review_games = _reviews(data / "steam-ucsd")
    steam = by_time(reviews, STEAM_CUTOFF)
    return [
        _random("ML-100K, random 80/20", movies, movie_games),
        Protocol(
            "ML-100K, last item out",
            movie_games,
            last_out(movies),
            last_out(movies.take(~latest_of_each_user(movies))),
        ),
        Protocol(
            "steam-ucsd, last 10 % of time",
            review_games,
            steam,
            by_time(steam.past, cutoff_day(steam.past, VALIDATION_SHARE)),
        ),
        _random("Steam-200k, random 80/20", purchases, purchase_games),
    ]


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


def _reviews(folder: Path) -> tuple[Interactions, Games]:
    """Read the first review of each user and game if it has a date, ordered by user and day."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-benchmark-") as root:
        server = EmbeddedPostgres(Path(root) / "postgres", durable=False)
        server.start()
        try:
            os.environ[DATABASE] = server.ensure_database("benchmark")
            ingest(str(folder), f"env:{DATABASE}")
            snapshot = Path(root) / "snapshot"
            write_snapshot(f"env:{DATABASE}", snapshot, Path(root) / "store")
            opened = Snapshot.open(snapshot)
            return _first_reviews(opened), Games.from_table(opened.table("games", GAME_COLUMNS))
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


def main() -> None:
    """Run the command line: print the tables and write them and the record."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with the public data sets")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the results (%(default)s)")
    options = parser.parse_args()
    try:
        found = protocols(options.data)
    except UserError as error:
        sys.exit(f"benchmark: {error}")
    options.output.mkdir(parents=True, exist_ok=True)
    record: list[Record] = []
    tables = []
    for protocol in found:
        print(f"[benchmark] {protocol.name}", flush=True)
        rows = measure_protocol(protocol)
        record += results(protocol.name, rows)
        tables.append(markdown(protocol.name, rows))
        print(tables[-1], flush=True)
        write(options.output / "quality.json", record)
        (options.output / "quality.md").write_text("\n".join(tables))
    for line in record:
        show(line)


if __name__ == "__main__":
    main()
