"""`make benchmark-replay`: the monitoring's decision, month by month, on a year of real reviews.

The shop starts with the reviews before the first month. Each run monitors, retrains if needed, predicts and publishes
with the functions of the pipelines' stages. Then the month's reviews arrive, and the next run judges the publication by
them. All users exist from the start, games from their release or their first review. The model may be a quarter old, so
that its age is not the only reason to retrain.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

from benchmarks.record import OUTPUT
from components.evaluate.evaluation import evaluate_model
from components.evaluate.gate import DEFAULT as DEFAULT_GATE
from components.evaluate.gate import Thresholds
from components.evaluate.promotion import promote
from components.extract.extraction import write_snapshot
from components.ingest.ingestion import ingest
from components.monitor.decision import DEFAULT
from components.monitor.monitoring import Monitored, monitor
from components.predict.plan import plan_predictions
from components.predict.prediction import predict_shard
from components.reverse_etl.publication import publish
from components.train.refit import refit_model
from components.train.training import train_model
from demo.postgres import EmbeddedPostgres
from steam_recsys.data.predictions import predictions_uri
from steam_recsys.database.connection import connect
from steam_recsys.errors import UserError
from steam_recsys.publications.destinations import DestinationConfig
from steam_recsys.publications.versions import VersionInfo

MONTHS = 12
THRESHOLDS = replace(DEFAULT, age_ceiling=92)
DATABASE = "env:DATABASE_URL"

_HOLD_BACK = """
UPDATE steam.games SET released_on = first FROM
    (SELECT game_id, min(reviewed_on) AS first FROM steam.reviews GROUP BY game_id) AS reviewed
WHERE reviewed.game_id = games.game_id AND (released_on IS NULL OR released_on > first);
CREATE TABLE held_back AS SELECT * FROM steam.reviews WHERE reviewed_on >= %(start)s;
DELETE FROM steam.reviews WHERE reviewed_on >= %(start)s;
"""
_ARRIVE = """
INSERT INTO steam.reviews OVERRIDING SYSTEM VALUE SELECT * FROM held_back WHERE reviewed_on < %(end)s;
DELETE FROM held_back WHERE reviewed_on < %(end)s;
UPDATE steam.reviews SET updated_at = clock_timestamp() WHERE reviewed_on >= %(start)s
"""


@dataclass(frozen=True)
class Month:
    """The monitoring's figures after a month's reviews, and its decision."""

    month: str
    users: int
    ndcg: tuple[float, float, float] | None
    popular_ndcg: float | None
    psi_games: float
    psi_genres: float
    psi_history_lengths: float
    unknown_games_share: float
    reasons: tuple[str, ...]
    promoted: bool


def replay(data: Path, months: int) -> Iterator[Month]:
    """Replay the last months of a folder's reviews; the first model is trained before the first month."""
    with shop() as scratch:
        yield from _replay(data, months, scratch)


@contextmanager
def shop() -> Iterator[Path]:
    """Start a server whose database `DATABASE` names, and yield a folder; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-replay-") as scratch:
        server = EmbeddedPostgres(Path(scratch) / "postgres", durable=False)
        server.start()
        try:
            os.environ["DATABASE_URL"] = server.ensure_database("shop")
            yield Path(scratch)
        finally:
            server.stop()


def ingest_and_hold_back(data: Path, start: Callable[[date], date]) -> date:
    """Ingest a folder and hold back the reviews from a day on, which depends on the newest one. Returns the day."""
    ingest(str(data), DATABASE)
    with connect(DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT max(reviewed_on) FROM steam.reviews")
        ((newest,),) = cursor.fetchall()
        first = start(newest)
        cursor.execute(_HOLD_BACK, {"start": first})
    return first


def _replay(data: Path, months: int, scratch: Path) -> Iterator[Month]:
    first = ingest_and_hold_back(data, lambda newest: _months_later(newest.replace(day=1), 1 - months))
    _run(scratch, "before")
    for number in range(months):
        start, end = _months_later(first, number), _months_later(first, number + 1)
        with connect(DATABASE) as connection, connection.cursor() as cursor:
            cursor.execute(_ARRIVE, {"start": start, "end": end})
        found, promoted = _run(scratch, f"{start:%Y-%m}")
        figures = {name: value or 0.0 for name, value in found.figures.items()}
        judged = found.figures["ndcg"] is not None
        yield Month(
            f"{start:%Y-%m}",
            int(figures["judged_users"]),
            (figures["ndcg"], figures["ndcg_lower"], figures["ndcg_upper"]) if judged else None,
            found.figures["popular_ndcg"],
            figures["psi_games"],
            figures["psi_genres"],
            figures["psi_history_lengths"],
            figures["unknown_games_share"],
            found.decision.reasons,
            promoted,
        )


def _run(scratch: Path, name: str) -> tuple[Monitored, bool]:
    """Do what an inference run does; return the monitoring's result and whether there is a new champion."""
    folder, store, destination = scratch / name, str(scratch / "store"), DestinationConfig(DATABASE)
    snapshot = folder / "snapshot"
    write_snapshot(DATABASE, snapshot, store)
    found = monitor(snapshot, destination, store, folder / "monitoring.html", name, THRESHOLDS)
    promoted = found.decision.retrain and train_and_promote(snapshot, store, folder)
    predict_and_publish(snapshot, store)
    return found, promoted


def train_and_promote(snapshot: Path, store: str, folder: Path, thresholds: Thresholds = DEFAULT_GATE) -> bool:
    """Train a model and return whether it is the new champion."""
    train_model(snapshot, folder / "model", store)
    evaluated = evaluate_model(snapshot, folder / "model", store, folder / "evaluation", thresholds=thresholds)
    if evaluated.verdict.passed:
        refit_model(snapshot, folder / "model", folder / "refitted", store)
        promote(store, folder / "refitted", folder / "evaluation")
    return evaluated.verdict.passed


def predict_and_publish(snapshot: Path, store: str) -> None:
    """Publish the champion's recommendations for all users of a snapshot."""
    plan = plan_predictions(snapshot, store, users_per_shard=100_000)
    for shard in range(len(plan.shards)):
        predict_shard(store, plan, shard)
    version = VersionInfo(
        plan.version, plan.model_version, plan.snapshot_id, date.fromisoformat(plan.as_of), plan.control_share
    )
    publish(DestinationConfig(DATABASE), predictions_uri(store, plan.version), version, plan.shards)


def _months_later(first: date, months: int) -> date:
    return date(first.year + (first.month - 1 + months) // 12, (first.month - 1 + months) % 12 + 1, 1)


def row(month: Month) -> str:
    """Return one line of the Markdown table."""
    ndcg = "–" if month.ndcg is None else "{:.4f} ({:.4f} to {:.4f})".format(*month.ndcg)
    popular = "–" if month.popular_ndcg is None else f"{month.popular_ndcg:.4f}"
    drift = f"{month.psi_games:.2f} / {month.psi_genres:.2f} / {month.psi_history_lengths:.2f}"
    ending = "trained, promoted" if month.promoted else "trained, the champion stays"
    decision = f"{ending}: {' '.join(month.reasons)}" if month.reasons else "stays"
    cells = (month.month, month.users, ndcg, popular, drift, f"{month.unknown_games_share:.3f}", decision)
    return f"| {' | '.join(map(str, cells))} |"


HEADER = """
| month | users | NDCG@10, realised | recent popularity's | PSI of games / genres / lengths | unknown games | decision |
|---|---|---|---|---|---|---|"""


def parse_options(name: str, description: str | None, unit: str, default: int) -> argparse.Namespace:
    """Parse the command line of a benchmark that replays the last days or months of real reviews, or exit.

    Args:
        name: Name of the benchmark's module.
        description: Its docstring.
        unit: What the replay advances by, `days` or `months`.
        default: How many of them are replayed by default.

    Returns:
        Options `data`, `output` and `length`, a positive number of units.
    """
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--data", type=Path, help="folder in the raw layout")
    parser.add_argument(f"--{unit}", dest="length", type=int, default=default, help=f"{unit} to replay (%(default)s)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder for the results (%(default)s)")
    options = parser.parse_args()
    if options.data is None:
        sys.exit(
            f"benchmarks.{name}: This benchmark needs reviews with dates: add DATA=folder, a folder in the raw layout, "
            "such as steam-ucsd (UCSD's Steam reviews of Australian users)."
        )
    if options.length < 1:
        parser.error(f"--{unit} must be at least 1.")
    options.output.mkdir(parents=True, exist_ok=True)
    return options


def main() -> None:
    """Run the command line: replay, print the table and write its rows."""
    options = parse_options("replay", __doc__, "months", MONTHS)
    found = []
    try:
        for month in replay(options.data, options.length):
            found.append(month)
            print(f"[benchmark] {row(month)}", flush=True)
            (options.output / "replay.json").write_text(json.dumps([asdict(each) for each in found], indent=2) + "\n")
    except UserError as error:
        sys.exit(f"benchmarks.replay: {error}")
    print("\n".join([HEADER, *map(row, found)]))


if __name__ == "__main__":
    main()
