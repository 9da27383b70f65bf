"""How personal published lists are, for all users of a shop: part of `make benchmark-quality`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg2
from psycopg2.extensions import cursor as Cursor

from benchmarks.record import Row, at_least, at_most
from components.evaluate.results import Evaluation
from demo.workspace import Workspace
from steam_recsys.evaluation.beyond_accuracy import COVERAGE, JACCARD
from steam_recsys.evaluation.intervals import CHALLENGER
from steam_recsys.storage.model_store import EVALUATION, champion, stored_model

ORDERS = ("relevance", "discovery", "new_releases", "sales", "revenue", "reviews", "newest")
ASKED_USERS = 2_000
FIRST_GAMES = 5


def published_reviews(raw: Path) -> Iterator[Row]:
    """Publish recommendations for real reviews and measure them."""
    with _demo(raw) as (connection, _), connection.cursor() as cursor:
        cursor.execute("SELECT users, overlap, popular_ten, coverage FROM recsys.publications WHERE current")
        users, overlap, popular_ten, coverage = cursor.fetchone() or (0, 1.0, 1.0, 0.0)
        what = f"published on {raw.name}, {users:,} users"
        yield at_most(f"{what}, overlap of two users' first ten", overlap, 0.62)
        yield at_most(f"{what}, users with the popular ten", popular_ten, 0.3)
        yield at_least(f"{what}, coverage@10", coverage)
        for order in ORDERS:
            share = commonest_start(cursor, order)
            yield at_most(f"{what}, users with the commonest first {FIRST_GAMES} by {order}", share, 0.3)


def synthetic_shop() -> Iterator[Row]:
    """Measure the demo's synthetic shop on its held-out reviews."""
    with _demo(None) as (_, store), stored_model(store, champion(store).version) as folder:
        evaluation = Evaluation.read(folder / EVALUATION)
        beyond = evaluation.beyond_accuracy[CHALLENGER]
        yield at_least("synthetic shop, ndcg_at_10", evaluation.metrics["ndcg_at_10"], 0.345)
        yield at_most(f"synthetic shop, {JACCARD}", beyond[JACCARD], 0.4)
        yield at_least(f"synthetic shop, {COVERAGE}", beyond[COVERAGE], 0.35)


def commonest_start(cursor: Cursor, order: str) -> float:
    """Return the share of users who are shown the most frequent first games in an order, of a sample of users."""
    cursor.execute("SELECT user_id FROM recsys.recommendations WHERE list = 'relevance' ORDER BY user_id")
    users = [user for (user,) in cursor.fetchall()]
    asked = np.random.default_rng(0).permutation(users)[:ASKED_USERS].tolist()
    cursor.execute(
        "SELECT array_agg(r.game_id ORDER BY r.rank) FROM unnest(%s::bigint[]) AS u (user_id), "
        "recsys.recommended_games(u.user_id, %s, p_limit => %s) AS r GROUP BY u.user_id",
        [asked, order, FIRST_GAMES],
    )
    starts = Counter(tuple(games) for (games,) in cursor.fetchall())
    return max(starts.values()) / len(asked)


@contextmanager
def _demo(raw: Path | None) -> Iterator[tuple[psycopg2.extensions.connection, str]]:
    """Run the demo in a folder of its own; a connection to its database, and its store."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-benchmark-") as root:
        workspace = Workspace(Path(root))
        data = ["--data", str(raw.resolve())] if raw else []
        environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
        command = [sys.executable, "-m", "demo", "--workspace", root]
        try:
            subprocess.run([*command, "run", "--nights", "1", *data], check=True, env=environment)
            url = workspace.known_database_url(raw)
            connection = psycopg2.connect(url)
            try:
                yield connection, str(workspace.store(url))
            finally:
                connection.close()
        finally:
            subprocess.run([*command, "stop"], check=True, env=environment)
