from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from components.predict.plan import Plan, plan_predictions
from components.predict.prediction import predict_shard
from components.shared.errors import UserError
from components.shared.predictions import predictions_uri
from components.shared.schemas import RECOMMENDATIONS
from tests.predict.artifacts import promote_model, write_model
from tests.snapshots import write_snapshot_of

EVEN, ODD = [1.0, 0.0], [0.0, 1.0]
REVIEWS = [
    (1, 1, date(2020, 1, 1)),
    (2, 2, date(2020, 1, 2)),
    (2, 4, None),  # without a date: history all the same
    (None, 6, date(2020, 1, 3)),
]


@pytest.fixture
def snapshot(tmp_path):
    return write_snapshot_of(tmp_path / "snapshot", REVIEWS, n_games=6, users=[1, 2, 3]).root


@pytest.fixture
def champion(tmp_path, store):
    model = write_model(tmp_path / "model", [ODD, EVEN, ODD, EVEN, ODD, EVEN])
    promote_model(store, model)


def predict_all(snapshot, store, users_per_shard=2):
    plan = plan_predictions(snapshot, store, users_per_shard)
    for shard in range(len(plan.shards)):
        predict_shard(snapshot, store, plan, shard)
    folder = Path(predictions_uri(store, plan.version)) / "recommendations"
    return plan, [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]


def test_every_user_gets_the_unseen_games_that_suit_the_history_best(snapshot, store, champion):
    _, shards = predict_all(snapshot, store)
    assert all(shard.schema.equals(RECOMMENDATIONS) for shard in shards)
    rows = {row["user_id"]: row for shard in shards for row in shard.to_pylist()}
    assert sorted(rows) == [1, 2, 3]
    assert rows[1]["game_ids"][:2] == [3, 5]
    assert set(rows[1]["game_ids"]) == {2, 3, 4, 5, 6}
    assert rows[1]["because"] == [1] * 5
    assert rows[2]["game_ids"][0] == 6
    assert {2, 4}.isdisjoint(rows[2]["game_ids"])
    assert rows[2]["scores"] == sorted(rows[2]["scores"], reverse=True)


def test_a_user_without_history_gets_what_is_popular_now_without_a_reason(snapshot, store, champion):
    _, shards = predict_all(snapshot, store)
    (row,) = [row for shard in shards for row in shard.to_pylist() if row["user_id"] == 3]
    assert row["game_ids"][:2] == [2, 1]
    assert row["because"] == [None] * 6


def test_shards_cover_each_user_once_and_change_nothing_in_the_answers(snapshot, store, champion):
    _, one = predict_all(snapshot, store, users_per_shard=100)
    plan, many = predict_all(snapshot, store, users_per_shard=1)
    assert plan.shards == [(1, 1), (2, 2), (3, 3)]
    assert [row for shard in many for row in shard.to_pylist()] == one[0].to_pylist()


def test_the_same_inputs_make_the_same_version_and_the_same_bytes(snapshot, store, champion):
    plan, _ = predict_all(snapshot, store)
    folder = Path(predictions_uri(store, plan.version))
    before = {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert predict_all(snapshot, store)[0] == plan
    assert {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_the_plan_counts_popularity_up_to_the_day_after_the_newest_review_by_a_known_user(
    snapshot, store, champion, tmp_path
):
    plan = plan_predictions(snapshot, store, 2)
    assert plan.as_of == "2020-01-03"
    assert plan.version.startswith("20200102-")
    plan.write(tmp_path / "plan")
    assert Plan.read(tmp_path / "plan") == plan


def test_a_store_without_a_champion_says_to_train_first(snapshot, store):
    with pytest.raises(UserError, match="has no champion: run the training pipeline first"):
        plan_predictions(snapshot, store, 2)


def test_a_shard_size_below_one_is_refused(snapshot, store, champion):
    with pytest.raises(UserError, match="users_per_shard is 0: give a number from 1"):
        plan_predictions(snapshot, store, 0)


def test_a_plan_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="holds no plan"):
        Plan.read(tmp_path / "plan")


def test_a_user_who_has_reviewed_every_game_is_left_out(tmp_path, store, champion):
    everything = [(1, game, date(2020, 1, game)) for game in range(1, 7)]
    snapshot = write_snapshot_of(tmp_path / "seen-all", [*everything, (2, 1, date(2020, 1, 1))])
    _, shards = predict_all(snapshot.root, store)
    assert [row["user_id"] for shard in shards for row in shard.to_pylist()] == [2]
