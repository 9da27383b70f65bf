import hashlib
import random
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from google.cloud import storage

from components.predict.plan import plan_predictions
from components.predict.prediction import PredictedShard, predict_shard
from steam_recsys.data.predictions import Plan, ShardManifest, predictions_uri, shard_name
from steam_recsys.data.schemas import RECOMMENDATIONS
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import open_folder
from tests.components.predict.artifacts import promote_model, write_model
from tests.snapshots import write_snapshot_of

EVEN, ODD = [1.0, 0.0], [0.0, 1.0]
REVIEWS = [
    (1, 1, date(2020, 1, 1)),
    (2, 2, date(2020, 1, 2)),
    (2, 4, None),  # undated reviews are part of the history too
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
        predict_shard(store, plan, shard)
    folder = Path(predictions_uri(store, plan.version)) / "recommendations"
    return plan, [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]


def files_of(store):
    """Inode and modification time of each file of a store's predictions, temporary files included."""
    found = {}
    for path in (Path(store) / "predictions").rglob("*"):
        with suppress(FileNotFoundError):  # a temporary file that was renamed meanwhile
            if path.is_file():
                found[path] = path.stat().st_ino, path.stat().st_mtime_ns
    return found


def contents_of(store):
    root = Path(store) / "predictions"
    return {path.relative_to(root): path.read_bytes() for path in files_of(store) if not path.name.startswith(".")}


def test_every_user_gets_the_best_new_games(snapshot, store, champion):
    _, shards = predict_all(snapshot, store)
    assert all(shard.schema.equals(RECOMMENDATIONS) for shard in shards)
    rows = {row["user_id"]: row for shard in shards for row in shard.to_pylist()}
    assert sorted(rows) == [1, 2, 3]
    assert rows[1]["game_ids"][:2] == [3, 5]
    assert set(rows[1]["game_ids"]) == {2, 3, 4, 5, 6}
    assert rows[1]["game_ids"][2] == 2
    assert rows[1]["because"][:3] == [1, 1, None]  # the most popular remaining game has no reason
    assert rows[2]["game_ids"][0] == 6
    assert {2, 4}.isdisjoint(rows[2]["game_ids"])
    assert rows[2]["scores"] == sorted(rows[2]["scores"], reverse=True)


def test_user_without_history_gets_popular_games_without_reasons(snapshot, store, champion):
    _, shards = predict_all(snapshot, store)
    (row,) = [row for shard in shards for row in shard.to_pylist() if row["user_id"] == 3]
    assert row["game_ids"][:2] == [2, 1]
    assert row["because"] == [None] * 6


def test_shards_cover_each_user_once_and_do_not_change_recommendations(snapshot, store, champion):
    _, one = predict_all(snapshot, store, users_per_shard=100)
    plan, many = predict_all(snapshot, store, users_per_shard=1)
    assert plan.shards == [(1, 1), (2, 2), (3, 3)]
    assert [row for shard in many for row in shard.to_pylist()] == one[0].to_pylist()


def test_same_inputs_give_the_same_version_and_files(snapshot, store, champion):
    plan, _ = predict_all(snapshot, store)
    before = contents_of(store)
    shutil.rmtree(predictions_uri(store, plan.version))
    assert predict_all(snapshot, store)[0] == plan
    assert contents_of(store) == before


def test_finished_files_are_not_rewritten(snapshot, any_store, tmp_path):
    promote_model(any_store, write_model(tmp_path / "model", [ODD, EVEN, ODD, EVEN, ODD, EVEN]))
    folder = open_folder(f"{any_store}/predictions")

    def states():
        if any_store.startswith("gs://"):
            bucket, _, path = any_store.removeprefix("gs://").partition("/")
            blobs = storage.Client().list_blobs(bucket, prefix=f"{path}/predictions")
            return {blob.name: blob.generation for blob in blobs}
        return files_of(any_store)

    plan = plan_predictions(snapshot, any_store, 2)
    assert predict_shard(any_store, plan, 1).finished_before is False
    before = states()
    assert plan_predictions(snapshot, any_store, 2) == plan
    assert predict_shard(any_store, plan, 1) == PredictedShard(1, 1, "exact", finished_before=True)
    assert states() == before
    assert predict_shard(any_store, plan, 0).finished_before is False
    assert {name: state for name, state in states().items() if name in before} == before
    assert len(folder.names("")) == len(before) + 2


@pytest.mark.parametrize("gone", [shard_name(0), "manifests/shard-00000.json"])
def test_shard_without_file_or_manifest_is_predicted_again(snapshot, store, champion, gone):
    plan, _ = predict_all(snapshot, store)
    before = contents_of(store)
    (Path(predictions_uri(store, plan.version)) / gone).unlink()
    assert predict_shard(store, plan, 0).finished_before is False
    assert contents_of(store) == before


@pytest.mark.parametrize("damaged", [b"", b"PAR1 of another shard"])
def test_damaged_shard_is_predicted_again(snapshot, store, champion, damaged):
    plan, _ = predict_all(snapshot, store)
    before = contents_of(store)
    (Path(predictions_uri(store, plan.version)) / shard_name(0)).write_bytes(damaged)
    assert predict_shard(store, plan, 0).finished_before is False
    assert contents_of(store) == before


def test_shard_of_another_model_is_predicted_again(snapshot, store, champion):
    plan, _ = predict_all(snapshot, store)
    folder = open_folder(predictions_uri(store, plan.version))
    other = replace(ShardManifest.read(folder, 0), model_version="another")
    other.write(folder)
    assert predict_shard(store, plan, 0).finished_before is False
    assert ShardManifest.read(folder, 0).model_version == plan.model_version


def test_manifest_describes_its_shard(snapshot, store, champion):
    plan, shards = predict_all(snapshot, store)
    folder = open_folder(predictions_uri(store, plan.version))
    for number, shard in enumerate(shards):
        digest = hashlib.sha256(folder.read(shard_name(number))).hexdigest()
        assert ShardManifest.read(folder, number) == ShardManifest(
            plan.version, "model-1", plan.snapshot_id, number, plan.shards[number], len(shard), "exact", digest
        )


RUN = """
import sys
from components.predict.plan import plan_predictions
from components.predict.prediction import predict_shard

plan = plan_predictions(sys.argv[1], sys.argv[2], 3)
for shard in range(len(plan.shards)):
    predict_shard(sys.argv[2], plan, shard)
"""


@pytest.mark.slow
def test_run_killed_repeatedly_gives_the_same_result(tmp_path):
    reviews = [(user, 1 + (user * 7 + n) % 6, date(2020, 1, 1 + n)) for user in range(1, 13) for n in range(3)]
    snapshot = write_snapshot_of(tmp_path / "snapshot", reviews).root
    model = write_model(tmp_path / "model", [ODD, EVEN, ODD, EVEN, ODD, EVEN])
    killed, whole = str(tmp_path / "killed"), str(tmp_path / "whole")
    for each in (killed, whole):
        promote_model(each, model)
    subprocess.run([sys.executable, "-c", RUN, snapshot, whole], check=True)

    finished = {}
    # Killed once there are this many files: during the plan, in a shard, before its manifest.
    for files in sorted(random.Random(0).sample(range(1, len(contents_of(whole))), 6)):
        run = subprocess.Popen([sys.executable, "-c", RUN, snapshot, killed])
        while len(files_of(killed)) < files and run.poll() is None:
            pass
        run.kill()
        assert run.wait() == -signal.SIGKILL
        states = files_of(killed)
        assert {path: states.get(path) for path in finished} == finished
        manifests = [path for path in states if path.parent.name == "manifests" and not path.name.startswith(".")]
        shards = [path.parents[1] / "recommendations" / f"{path.stem}.parquet" for path in manifests]
        finished = {path: states[path] for path in (*manifests, *shards)}
    assert finished
    subprocess.run([sys.executable, "-c", RUN, snapshot, killed], check=True)
    assert {path: files_of(killed)[path] for path in finished} == finished
    assert contents_of(killed) == contents_of(whole)


def test_unavailable_games_are_never_recommended_but_can_be_reasons(tmp_path, store, champion):
    reviews = [*REVIEWS, (4, 1, date(2020, 1, 1)), (3, 5, date(2020, 1, 2)), (5, 3, date(2020, 1, 2))]
    days = {1: {"delisted_on": date(2020, 1, 2)}, 3: {"released_on": date(2020, 1, 4)}, 5: {"delisted_on": None}}
    snapshot = write_snapshot_of(tmp_path / "shop", reviews, n_games=6, users=[1, 2, 3, 4, 5, 6], about=days)
    plan, shards = predict_all(snapshot.root, store)
    rows = {row["user_id"]: row for shard in shards for row in shard.to_pylist()}
    assert plan.as_of == "2020-01-03"
    assert all({1, 3}.isdisjoint(row["game_ids"]) for row in rows.values())
    assert rows[4]["game_ids"][0] == 5
    assert rows[4]["because"][0] == 1
    popular = pq.read_table(Path(predictions_uri(store, plan.version)) / "popular.parquet").to_pylist()
    assert {row["game_id"] for row in popular} == {2, 4, 5, 6}
    assert [row["rank"] for row in popular] == [1, 2, 3, 4]
    assert rows[6]["game_ids"] == [row["game_id"] for row in popular]


def test_plan_counts_popularity_up_to_the_day_after_the_newest_review_by_a_known_user(
    snapshot, store, champion, tmp_path
):
    plan = plan_predictions(snapshot, store, 2)
    assert plan.as_of == "2020-01-03"
    assert plan.version.startswith("20200102-")
    plan.write(tmp_path / "plan")
    assert Plan.read(tmp_path / "plan") == plan


def test_store_without_a_champion_is_refused(snapshot, store):
    with pytest.raises(UserError, match="has no champion: run the training pipeline first"):
        plan_predictions(snapshot, store, 2)


def test_shard_size_below_one_is_refused(snapshot, store, champion):
    with pytest.raises(UserError, match="users_per_shard is 0: give a number from 1"):
        plan_predictions(snapshot, store, 0)


def test_missing_plan_is_reported(tmp_path):
    with pytest.raises(UserError, match="holds no plan"):
        Plan.read(tmp_path / "plan")


def test_user_who_has_reviewed_every_game_is_skipped(tmp_path, store, champion):
    everything = [(1, game, date(2020, 1, game)) for game in range(1, 7)]
    snapshot = write_snapshot_of(tmp_path / "seen-all", [*everything, (2, 1, date(2020, 1, 1))])
    _, shards = predict_all(snapshot.root, store)
    assert [row["user_id"] for shard in shards for row in shard.to_pylist()] == [2]
