"""A refresh of a large shop's publication, step by step: new reviews by known users and by new ones.

The model's weights are random: the cost of a refresh depends on their number, not on what was learnt. The server is
durable, like a shop's. Needs 12 gigabytes of disk while it runs, for a million users.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np

from benchmarks.answers import Condition, written_model
from benchmarks.generated import load_shop
from benchmarks.record import Row, at_most, run_benchmark
from components.extract.extraction import write_snapshot
from components.predict.plan import plan_predictions
from components.predict.prediction import predict_shard
from components.refresh.refresh import Refreshed, refresh_publication
from components.reverse_etl.acceptance import Thresholds
from components.reverse_etl.publication import publish
from demo.postgres import EmbeddedPostgres
from demo.synthetic import Size
from steam_recsys.data.predictions import predictions_uri
from steam_recsys.database.connection import connect
from steam_recsys.publications.destinations import DestinationConfig
from steam_recsys.publications.versions import VersionInfo
from steam_recsys.storage.model_store import add_model, move_champion

SIZE = Size(reviews=1_500_000, users=1_000_000, games=3_682)
NEW_REVIEWS, REVIEWERS, NEW_USERS = 10_000, 8_000, 1_000
"""New reviews, and the users who write them, of whom some are new."""

USERS_PER_SHARD = 100_000
NEIGHBOURS = 100
MUST_SECONDS = 60.0
DATABASE = "env:DATABASE_URL"

_NEW_USERS = (
    "INSERT INTO steam.users (user_id, username) SELECT %s + n, 'new user ' || n FROM generate_series(1, %s) AS n"
)
_NEW_REVIEWS = """
INSERT INTO steam.reviews (user_id, game_id, recommended, reviewed_on)
SELECT CASE WHEN n %% %(reviewers)s < %(known)s THEN 1 + n %% %(reviewers)s * (%(users)s / %(known)s)
            ELSE %(users)s + 1 + n %% %(reviewers)s - %(known)s END,
       1 + n * 31 %% %(games)s, true, (SELECT max(reviewed_on) + 1 FROM steam.reviews)
FROM generate_series(1, %(reviews)s) AS n
"""


def rows(
    size: Size = SIZE, new_reviews: int = NEW_REVIEWS, reviewers: int = REVIEWERS, new_users: int = NEW_USERS
) -> Iterator[Row]:
    """Publish for all users on a temporary server, then refresh after new reviews, and again without any."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-refresh-") as scratch:
        folder = Path(scratch)
        server = EmbeddedPostgres(folder / "postgres")
        server.start()
        try:
            os.environ["DATABASE_URL"] = server.ensure_database("shop")
            load_shop(DATABASE, size)
            _publish(folder, size.games)
            _review(size, new_reviews, reviewers, new_users)
            seconds, done = _refresh(folder, "1")
            again, nothing = _refresh(folder, "2")
        finally:
            server.stop()
    assert (done.added, done.users, nothing.users) == (new_reviews, reviewers, 0)
    what = f"refresh {size.users:,} users after {new_reviews:,} reviews by {reviewers:,} users"
    yield at_most(f"{what}, seconds", sum(seconds.values()), MUST_SECONDS)
    for step, each in seconds.items():
        yield at_most(f"{what}, {step}, seconds", each)
    yield at_most(f"refresh {size.users:,} users without new reviews, seconds", sum(again.values()))


def _publish(folder: Path, games: int) -> None:
    """Promote a model, and publish its recommendations for all users."""
    store, model = str(folder / "store"), folder / "model"
    model.mkdir()
    condition = Condition(scale=8, skewed=False, neighbours=NEIGHBOURS)
    game_ids = np.arange(1, games + 1, dtype=np.int32)
    version = written_model(model, game_ids, condition, np.random.default_rng(0)).version
    add_model(store, model)
    move_champion(store, version, expected=None)
    write_snapshot(DATABASE, folder / "snapshot", store)
    plan = plan_predictions(folder / "snapshot", store, USERS_PER_SHARD)
    for shard in range(len(plan.shards)):
        predict_shard(store, plan, shard)
    made = VersionInfo(plan.version, plan.model_version, plan.snapshot_id, date.fromisoformat(plan.as_of), 0.0)
    uri = predictions_uri(store, plan.version)
    publish(DestinationConfig(DATABASE), uri, made, plan.shards, Thresholds(overlap_ceiling=1.0))


def _review(size: Size, reviews: int, reviewers: int, new_users: int) -> None:
    """Add new users and new reviews."""
    numbers = {
        "users": size.users, "games": size.games, "reviews": reviews, "reviewers": reviewers,
        "known": reviewers - new_users,
    }  # fmt: skip
    with connect(DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute(_NEW_USERS, [size.users, new_users])
        cursor.execute(_NEW_REVIEWS, numbers)


def _refresh(folder: Path, name: str) -> tuple[dict[str, float], Refreshed]:
    """Do what a run of the pipeline does; return the seconds of each step."""
    snapshot, store = folder / f"snapshot-{name}", str(folder / "store")
    started = time.perf_counter()
    write_snapshot(DATABASE, snapshot, store)
    extracted = time.perf_counter()
    done = refresh_publication(str(snapshot), DATABASE, store, DestinationConfig(DATABASE))
    ended = time.perf_counter()
    seconds = {"extraction": extracted - started, **done.seconds}
    return seconds | {"the rest": ended - extracted - sum(done.seconds.values())}, done


if __name__ == "__main__":
    run_benchmark("refresh", __doc__, rows)
