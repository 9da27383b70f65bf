"""The frames, over snapshots, evaluations and publications that the stages themselves wrote."""

import json
import os
import random
import re
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from psycopg2.extensions import connection as Connection

from components.evaluate.evaluation import evaluate_model
from components.evaluate.promotion import promote
from components.evaluate.results import Evaluation
from components.extract import parts
from components.extract.extraction import write_snapshot
from steam_recsys import frames
from steam_recsys.data.interactions import UNDATED, date_of, load_interactions
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.database.connection import create_schema
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.model_store import EVALUATION
from tests.components.evaluate.test_evaluation import day, write_model
from tests.components.reverse_etl.predicted import overall, publish_version, write_predictions
from tests.shop import add_game, add_review, add_user
from tests.snapshots import write_snapshot_of


def columns_in_the_docstring(function) -> list[str]:
    """The columns that a function's docstring lists, in order."""
    lines = re.findall(r"^        - (`.*)", function.__doc__, re.MULTILINE)
    return [name for line in lines for name in re.findall(r"`(\w+)`", line.partition(":")[0])]


def assert_documented(frame: pd.DataFrame, function) -> None:
    """Check that a frame has the documented columns, each of the documented type."""
    assert list(frame.columns) == columns_in_the_docstring(function)
    for line in re.findall(r"^        - (`.*)", function.__doc__, re.MULTILINE):
        names, _, about = line.partition(":")
        for name in re.findall(r"`(\w+)`", names):
            assert str(frame[name].dtype) == re.match(r" (\w+(\[.*?\])?)", about)[1], name


@pytest.fixture
def changing_shop(shop: Connection, database: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The store of a shop that was extracted five times, with reviews added, changed and deleted in between."""
    monkeypatch.setitem(parts.KEY_RANGES, "reviews", parts.KeyRanges("review_id", 3))
    draw = random.Random(0)
    games = [
        add_game(
            shop, f"Game {number}", genres=["Action", "Indie"][: number % 3], ram_gb=4, released_on=date(2019, 1, 1)
        )
        for number in range(6)
    ]
    users = [add_user(shop, f"user {number}") for number in range(9)]
    for _ in range(5):
        for _ in range(30):
            add_review(
                shop,
                draw.choice([*users, None]),
                draw.choice(games[1:]),
                recommended=draw.random() < 0.7,
                reviewed_on=draw.choice([None, date(2020, 1, draw.randint(1, 31))]),
                hours_played=draw.choice([None, 2.5]),
            )
        with shop.cursor() as cursor:
            cursor.execute("UPDATE steam.reviews SET recommended = NOT recommended, updated_at = now() "
                           "WHERE review_id %% 17 = %s", [draw.randint(0, 16)])  # fmt: skip
            cursor.execute("DELETE FROM steam.reviews WHERE review_id %% 19 = %s", [draw.randint(0, 18)])
        extracted = write_snapshot(database, tmp_path / "snapshot", store)
    assert extracted.reused > 1
    return store


def test_the_interactions_of_increments_are_those_that_the_stages_read(changing_shop: str, tmp_path: Path) -> None:
    frame, read = frames.interactions(changing_shop), load_interactions(Snapshot.open(tmp_path / "snapshot"))
    assert_documented(frame, frames.interactions)
    assert frame["user_id"].tolist() == read.users.tolist()
    assert frame["game_id"].tolist() == read.games.tolist()
    assert frame["recommended"].tolist() == read.recommended.tolist()
    np.testing.assert_array_equal(frame["hours_played"], read.hours)
    days = [None if day == UNDATED else date_of(day) for day in read.days.tolist()]
    assert [None if pd.isna(when) else when.date() for when in frame["reviewed_on"]] == days
    assert None in days


def test_the_interactions_are_the_latest_reviews_in_the_database(changing_shop: str, shop: Connection) -> None:
    with shop.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT ON (user_id, game_id) user_id, game_id, recommended FROM steam.reviews "
            "WHERE user_id IS NOT NULL ORDER BY user_id, game_id, reviewed_on DESC NULLS LAST, review_id DESC"
        )
        expected = cursor.fetchall()
    frame = frames.interactions(changing_shop).sort_values(["user_id", "game_id"])
    assert [*frame[["user_id", "game_id", "recommended"]].itertuples(index=False, name=None)] == expected


def test_an_earlier_snapshot_is_opened_by_its_id(changing_shop: str, shop: Connection, tmp_path: Path) -> None:
    before = Snapshot.open(tmp_path / "snapshot")
    with shop.cursor() as cursor:
        cursor.execute("DELETE FROM steam.reviews")
    write_snapshot("env:DATABASE_URL", tmp_path / "empty", changing_shop)
    assert frames.interactions(changing_shop).empty
    opened = Snapshot.from_store(changing_shop, before.manifest.snapshot_id)
    assert opened.table("reviews").equals(before.table("reviews"))
    with pytest.raises(UserError, match="has no snapshot 0123456789ab any more: it was removed, because a store keeps"):
        Snapshot.from_store(changing_shop, "0123456789ab")


def test_a_store_that_was_moved_is_read_where_it_is(changing_shop: str, tmp_path: Path) -> None:
    before = frames.interactions(changing_shop)
    Path(changing_shop).rename(tmp_path / "moved")
    pd.testing.assert_frame_equal(frames.interactions(str(tmp_path / "moved")), before)


def test_a_store_in_a_bucket_has_the_same_interactions(changing_shop: str, bucket_store: str) -> None:
    bucket = open_folder(bucket_store)
    for path in (path for path in Path(changing_shop).rglob("*") if path.is_file()):
        bucket.put(path, str(path.relative_to(changing_shop)))
    pd.testing.assert_frame_equal(frames.interactions(bucket_store), frames.interactions(changing_shop))


def test_games_have_their_facts_and_count_the_interactions(changing_shop: str) -> None:
    frame, reviews = frames.games(changing_shop), frames.interactions(changing_shop)
    assert_documented(frame, frames.games)
    assert frame["genres"].tolist()[:3] == [[], ["Action"], ["Action", "Indie"]]
    assert frame["released_on"].eq(pd.Timestamp(2019, 1, 1)).all()
    assert frame["delisted_on"].isna().all()
    assert frame["reviews"].tolist() == [(reviews["game_id"] == game).sum() for game in frame["game_id"]]
    assert frame["reviews"][0] == 0
    assert pd.isna(frame["positive_share"][0])
    of_one = reviews[reviews["game_id"] == frame["game_id"][1]]
    assert frame["positive_share"][1] == pytest.approx(of_one["recommended"].mean())


def test_a_store_without_a_snapshot_names_the_pipeline_to_run(store: str) -> None:
    with pytest.raises(UserError, match=rf"The store {store} has no snapshot: run the training pipeline first\."):
        frames.interactions(store)
    with pytest.raises(UserError, match=r"has no snapshot: run the training pipeline first\."):
        Snapshot.from_store(store, "0123456789ab")


def test_a_damaged_file_of_the_snapshot_is_reported(changing_shop: str) -> None:
    for path in (Path(changing_shop) / "snapshots" / "parts" / "reviews").iterdir():
        path.write_bytes(path.read_bytes()[:-9] + b"123456789")
    with pytest.raises(UserError, match="is damaged"):
        frames.interactions(changing_shop)


@pytest.fixture
def evaluated(store: str, tmp_path: Path) -> Evaluation:
    """The evaluation of the champion of the store."""
    reviews = [(user, 1 + user % 3, day(user % 9)) for user in range(60)]
    reviews += [(user, 1 + (user + 1) % 3, day(11)) for user in range(40)] + [(99, 2, day(12))]
    genres = {1: ["Action"], 2: ["Action", "Indie"]}
    snapshot = write_snapshot_of(tmp_path / "snapshot", reviews, n_games=6, genres=genres).root
    model = write_model(tmp_path / "model", cutoff=day(10), towards=3)
    result = evaluate_model(snapshot, model, store, tmp_path / "evaluation")
    assert result.verdict.passed
    promote(store, model, tmp_path / "evaluation")
    return result


def test_an_evaluation_has_every_ranking_metric_and_slice(evaluated: Evaluation, store: str) -> None:
    frame = frames.evaluation(store, evaluated.version)
    assert_documented(frame, frames.evaluation)
    pd.testing.assert_frame_equal(frame, frames.evaluation(store))
    headline = frame[frame["slice"] == "all users"].set_index(["ranking", "metric"])
    assert headline["mean"].to_dict() == {
        (ranking, metric): mean for ranking in evaluated.figures for metric, mean in evaluated.means(ranking).items()
    }
    assert headline.loc[("popularity", "ndcg_at_10"), "low"] == evaluated.figures["popularity"]["ndcg_at_10"].low
    difference = evaluated.overall.differences["popularity"]["ndcg_at_10"]
    row = headline.loc[("popularity", "ndcg_at_10")]
    assert tuple(row[["difference", "difference_low", "difference_high"]]) == (
        difference.mean, difference.low, difference.high,
    )  # fmt: skip
    assert headline.loc["challenger", "difference"].isna().all()
    assert headline.loc[(slice(None), "coverage_at_10"), "low"].isna().all()
    assert {"genre: Action", "history: 1 review"} <= set(frame["slice"])


def test_the_metrics_of_the_users_have_the_means_and_intervals_of_the_evaluation(
    evaluated: Evaluation, store: str
) -> None:
    users = frames.user_metrics(store)
    metrics = list(evaluated.figures["challenger"])
    assert list(users.columns) == ["ranking", "user_id", "history", "held_out", *metrics]
    assert [str(kind) for kind in users.dtypes][:5] == ["category", "int64", "int32", "int32", "float32"]
    means = users.groupby("ranking", observed=True)[metrics].mean()
    for ranking, figures in evaluated.figures.items():
        assert means.loc[ranking].tolist() == pytest.approx([figures[metric].mean for metric in metrics])
    assert users["user_id"].nunique() == evaluated.users
    assert users["history"].eq(1).all()


def test_a_model_without_an_evaluation_is_reported(evaluated: Evaluation, store: str) -> None:
    with pytest.raises(UserError, match="has no evaluation of a model other: name a promoted model"):
        frames.evaluation(store, "other")
    with pytest.raises(UserError, match=r"models/other holds no complete model with figures per user .*: train"):
        frames.user_metrics(store, "other")
    path = Path(store) / "models" / evaluated.version / EVALUATION
    path.write_bytes(path.read_bytes().replace(b"0", b"1"))
    with pytest.raises(
        UserError, match=r"evaluation\.json is damaged, its checksum is wrong: train and evaluate again"
    ):
        frames.evaluation(store)


@pytest.fixture
def published(shop: Connection, database: str, tmp_path: Path) -> list[int]:
    """Two users with recommendations; the name of one game is hard to quote."""
    games = [add_game(shop, name) for name in ("Halo", 'A "quoted",\nbroken name', "Cats")]
    users = [add_user(shop, name) for name in ("ann", "bob")]
    rows = [
        (users[0], "relevance", [games[1], games[2]], [0.5, 0.25], [0.25, 0.0], [games[0], None]),
        (users[0], "discovery", [games[2]], [0.25], [0.0], [None]),
        (users[1], "relevance", [games[0]], [1.0], [0.5], [None]),
    ]
    publish_version(database, write_predictions(tmp_path / "predictions", [rows[:2], rows[2:]], overall(games)))
    return users


def test_recommendations_have_one_row_per_user_list_and_game(published: list[int], database: str) -> None:
    frame = frames.recommendations(database)
    assert_documented(frame, frames.recommendations)
    ann, bob = published
    broken = 'A "quoted",\nbroken name'
    rows = frame[["user_id", "list", "rank", "game", "score", "because"]].astype(object)
    assert [tuple(None if pd.isna(each) else each for each in row) for row in rows.itertuples(index=False)] == [
        (ann, "discovery", 1, "Cats", 0.25, None),
        (ann, "relevance", 1, broken, 0.75, "Halo"),
        (ann, "relevance", 2, "Cats", 0.25, None),
        (bob, "relevance", 1, "Halo", 1.5, None),
    ]
    assert set(frame["version"]) == {"v1"}
    url = os.environ["DATABASE_URL"]
    pd.testing.assert_frame_equal(frames.recommendations(url, [bob])[["game"]], pd.DataFrame({"game": ["Halo"]}))
    missing = frames.recommendations(url, [-1])
    assert_documented(missing, frames.recommendations)
    assert missing.empty


def test_runs_have_one_row_per_task_and_failed_runs_without_stages_one_row(
    connection: Connection, database: str
) -> None:
    create_schema(connection, "recsys")
    assert_documented(frames.runs(database), frames.runs)
    stage = {"stage": "predict", "started_at": "2024-01-02T00:01:00+00:00", "seconds": 2.5, "peak_memory_mb": 100.0}
    stages = [{**stage, "part": part, "facts": {"users": 3}, "error": None} for part in ("00000", "00001")]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO recsys.pipeline_runs VALUES "
            "('b', 'inference', 'SUCCEEDED', NULL, '2024-01-02', '2024-01-03', %s), "
            "('a', 'training', 'FAILED', 'no answer', NULL, '2024-01-01', '[]')",
            [json.dumps(stages)],
        )
    frame = frames.runs(database)
    assert_documented(frame, frames.runs)
    assert frame["run_id"].tolist() == ["a", "b", "b"]
    assert frame["error"].tolist()[0] == "no answer"
    assert pd.isna(frame["stage"][0])
    assert pd.isna(frame["started_at"][0])
    assert frame["part"].tolist()[1:] == ["00000", "00001"]
    assert frame["seconds"].sum() == 5
    assert frame["facts"][2] == {"users": 3}
    assert frame["stage_started_at"][1] == pd.Timestamp("2024-01-02T00:01Z")


def test_a_database_that_cannot_be_read_is_reported_without_its_password(database: str) -> None:
    with pytest.raises(UserError) as raised:
        frames.runs("postgresql://ann:hush@127.0.0.1:1/shop")
    assert "the notebook's URL cannot be reached" in str(raised.value)
    assert "hush" not in str(raised.value)
    with pytest.raises(UserError, match="recsys"):
        frames.runs(database)
