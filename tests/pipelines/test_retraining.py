"""The retraining decision, made by complete inference runs on KFP's local runner after events in a shop."""

import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from demo.postgres import EmbeddedPostgres
from demo.synthetic import Size, write_synthetic
from pipelines.compilation import compile_pipelines
from pipelines.local import run_locally
from pipelines.target import Target
from steam_recsys.storage.model_store import champion
from tests.databases import copy_database

SIZE = Size(reviews=6_000, users=2_500, games=60)
LENIENT = {
    "accuracy_margin": 1e9, "champion_gain": -1e9, "personal_margin": 1.0, "coverage_floor": 0.0, "slice_margin": 1e9,
}  # fmt: skip
"""Gate thresholds that let any model pass."""
TRAINING_MINUTES = 1e-3
"""Time for one fit only: these tests are about the decision to train."""

pytestmark = pytest.mark.slow


@dataclass
class Loop:
    """A shop with its database, its store, and the pipelines that run on both."""

    root: Path
    store: Path
    pipelines: Path
    database: str
    connection: Connection

    def run(self, pipeline: str, **parameters: object) -> None:
        """Run a pipeline."""
        run_locally(self.pipelines / f"{pipeline}.yaml", {"store": str(self.store), **parameters}, self.root)

    def one(self, query: str, *values: object) -> object:
        """Return the only value of a query."""
        with self.connection.cursor() as cursor:
            cursor.execute(query, values)
            ((value,),) = cursor.fetchall()
            return value

    def do(self, statement: str, *values: object) -> None:
        """Run a statement on the shop's database."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)


@pytest.fixture(scope="module")
def trained(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loop]:
    """A shop after one training and one publication."""
    root = tmp_path_factory.mktemp("trained")
    name = f"trained_{secrets.token_hex(6)}"
    before = os.environ.get("DATABASE_URL")
    os.environ["DATABASE_URL"] = postgres.ensure_database(name)
    compile_pipelines(Target.load("local"), root / "pipelines")
    connection = psycopg2.connect(os.environ["DATABASE_URL"])
    connection.autocommit = True
    loop = Loop(root, root / "store", root / "pipelines", name, connection)
    write_synthetic(root / "raw", SIZE)
    loop.run("ingestion", raw=str(root / "raw"))
    loop.run("training", training_minutes=TRAINING_MINUTES)
    loop.run("inference")
    connection.close()
    yield loop
    os.environ.pop("DATABASE_URL")
    if before is not None:
        os.environ["DATABASE_URL"] = before


@pytest.fixture
def loop(trained: Loop, postgres: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loop]:
    """A copy of that shop."""
    name = f"loop_{secrets.token_hex(6)}"
    url = copy_database(postgres, trained.database, name)
    monkeypatch.setenv("DATABASE_URL", url)
    shutil.copytree(trained.store, tmp_path / "store")
    connection = psycopg2.connect(url)
    connection.autocommit = True
    yield Loop(tmp_path, tmp_path / "store", trained.pipelines, name, connection)
    connection.close()


def nothing(loop: Loop) -> None:
    """A day without a review."""


def newest(loop: Loop) -> date:
    day = loop.one("SELECT max(reviewed_on) FROM steam.reviews")
    assert isinstance(day, date)
    return day


_REVIEWS = """
INSERT INTO steam.reviews (user_id, game_id, recommended, reviewed_on)
SELECT user_id, {game}, true, %s FROM steam.users ORDER BY user_id LIMIT %s
"""


def a_late_review(loop: Loop) -> None:
    """Add a review eight days newer than the model's training data."""
    loop.do(_REVIEWS.format(game=1), newest(loop) + timedelta(days=8), 1)


def new_games(loop: Loop) -> None:
    """Add new games without reviews, one in eight of all games."""
    loop.do("INSERT INTO steam.games (name) SELECT 'New ' || n FROM generate_series(1, %s) AS n", SIZE.games // 7)


def games_that_the_model_does_not_know(loop: Loop) -> None:
    """Add about a thousand reviews like the last ones, every seventh of which is of one of three new games."""
    loop.do("INSERT INTO steam.games (name) SELECT 'New ' || n FROM generate_series(1, 3) AS n")
    loop.do(
        """
        INSERT INTO steam.reviews (user_id, game_id, recommended, reviewed_on)
        SELECT lead(user_id, 7) OVER (ORDER BY review_id), CASE WHEN review_id %% 7 = 0
            THEN (SELECT max(game_id) FROM steam.games) - review_id / 7 %% 3 ELSE game_id END, true, %s
        FROM steam.reviews WHERE user_id IS NOT NULL ORDER BY review_id DESC OFFSET 7 LIMIT 1200""",
        newest(loop) + timedelta(days=1),
    )


def another_taste(loop: Loop) -> None:
    """Let a thousand users review the least reviewed games."""
    rare = (
        "(SELECT (array_agg(game_id ORDER BY n))[1 + user_id %% 3] FROM "
        "(SELECT game_id, count(*) AS n FROM steam.reviews GROUP BY game_id ORDER BY n LIMIT 3) AS rare)"
    )
    loop.do(_REVIEWS.format(game=rare), newest(loop) + timedelta(days=1), 1_200)


def what_is_popular(users: int) -> str:
    """Some users review the most popular games that they have not, which were not recommended to them."""
    return f"""
    INSERT INTO steam.reviews (user_id, game_id, recommended, reviewed_on)
    SELECT user_id, game_id, true, %s FROM (
        SELECT DISTINCT ON (r.user_id) r.user_id, p.game_id FROM recsys.recommendations AS r
        JOIN recsys.popular_games AS p
            ON p.list = 'popular' AND p.genre = '' AND p.rank <= 10 AND p.game_id <> ALL (r.game_ids[1:10])
        WHERE r.list = 'relevance' AND NOT EXISTS (
            SELECT FROM steam.reviews AS v WHERE (v.user_id, v.game_id) = (r.user_id, p.game_id))
        ORDER BY r.user_id, p.rank
    ) AS found LIMIT {users}"""


def missed(loop: Loop) -> None:
    """Three hundred users review what they were not recommended."""
    loop.do(what_is_popular(300), newest(loop) + timedelta(days=1))


def missed_by_few(loop: Loop) -> None:
    """A hundred do, which is no evidence."""
    loop.do(what_is_popular(100), newest(loop) + timedelta(days=1))


@pytest.mark.parametrize(
    ("happens", "reasons"),
    [
        (nothing, []),
        (missed_by_few, []),
        (a_late_review, ["Days of reviews that the model lacks: 8, "]),
        (new_games, ["Share of the catalogue's games that were added since the training: "]),
        (
            games_that_the_model_does_not_know,
            [
                "Population stability index of the games: ",
                "Population stability index of the history lengths: ",
                "Share of new reviews of games unknown to the model: 0.14",
            ],
        ),
        (
            another_taste,
            [f"Population stability index of the {of}: " for of in ("games", "genres", "history lengths")],
        ),
        (missed, ["NDCG@10 minus 0.9 times that of recent popularity, upper end of the 95 % interval: -"]),
    ],
    ids=lambda case: case.__name__ if callable(case) else "",
)
def test_a_run_trains_again_when_a_limit_is_exceeded_and_only_then(loop: Loop, happens, reasons: list[str]) -> None:
    before = champion(str(loop.store)).version
    happens(loop)
    loop.run("inference", churn_ceiling=1.0, training_minutes=TRAINING_MINUTES)
    found = loop.one("SELECT reasons FROM recsys.monitoring ORDER BY measured_at DESC LIMIT 1")
    assert isinstance(found, list)
    assert [reason.startswith(start) for reason, start in zip(found, reasons, strict=True)] == [True] * len(reasons)
    stages = loop.one("SELECT stages FROM recsys.pipeline_runs ORDER BY finished_at DESC LIMIT 1")
    assert isinstance(stages, list)
    assert ("train" in {stage["stage"] for stage in stages}) == bool(reasons)
    after = champion(str(loop.store)).version
    assert loop.one("SELECT model_version FROM recsys.publications WHERE current") == after
    assert reasons or after == before


def test_a_run_that_trains_a_better_model_predicts_with_it(loop: Loop) -> None:
    before = champion(str(loop.store)).version
    a_late_review(loop)
    loop.run("inference", churn_ceiling=1.0, training_minutes=TRAINING_MINUTES, **LENIENT)
    after = champion(str(loop.store)).version
    assert after != before
    assert loop.one("SELECT model_version FROM recsys.publications WHERE current") == after
