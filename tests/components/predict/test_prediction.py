import hashlib
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.cloud import storage

from components.predict.plan import plan_predictions
from components.predict.prediction import PredictedShard, predict_shard
from steam_recsys.data.predictions import Plan, Shard, ShardManifest, predictions_uri, read_shard, shard_name
from steam_recsys.data.schemas import (
    DISCOVERY,
    INTERESTS,
    LISTS,
    NEW_RELEASES,
    POPULAR_LIST,
    RECOMMENDATIONS,
    RELEVANCE,
)
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


def by_list(shards, name=RELEVANCE):
    """The rows of a list by user."""
    rows = [row for shard in shards for row in shard.to_pylist() if row["list"] == name]
    assert len({row["user_id"] for row in rows}) == len(rows)
    return {row["user_id"]: row for row in rows}


def test_every_user_gets_the_best_new_games(snapshot, store, champion):
    _, shards = predict_all(snapshot, store)
    assert all(shard.schema.equals(RECOMMENDATIONS) for shard in shards)
    rows = by_list(shards)
    assert sorted(rows) == [1, 2, 3]
    assert rows[1]["game_ids"][:2] == [3, 5]
    assert set(rows[1]["game_ids"]) == {2, 3, 4, 5, 6}
    assert rows[1]["game_ids"][2] == 2
    assert rows[2]["game_ids"][0] == 6
    assert {2, 4}.isdisjoint(rows[2]["game_ids"])


def test_user_without_history_gets_popular_games_without_reasons(snapshot, store, champion):
    _, shards = predict_all(snapshot, store)
    row = by_list(shards)[3]
    assert row["game_ids"][:2] == [2, 1]
    assert row["because"] == [None] * 6
    assert row["taste"] == [0.0] * 6


GAMES = 60
NEW = {1: [21, 41], 0: [22, 42]}
"""New releases by taste: even and odd games have different vectors."""


@pytest.fixture
def shop(tmp_path, store):
    """A shop of sixty games of two tastes. Users 1 and 2 like games of one taste each, user 3 dislikes those of 1."""
    day = date(2020, 1, 1)
    owned = {1: [11, 13, 15, 17], 2: [12, 14, 16, 18], 3: [11, 13, 15, 17]}
    reviews = [(user, game, day + timedelta(days=n)) for user, games in owned.items() for n, game in enumerate(games)]
    crowd = range(100, 105)  # who like every game but the last ten
    reviews += [(user, game, day) for user in crowd for game in range(1, GAMES - 9)]
    about = {game: {"released_on": day} for games in NEW.values() for game in games}
    snapshot = write_snapshot_of(
        tmp_path / "shop", reviews, n_games=GAMES, users=[1, 2, 3, 4, *crowd], about=about,
        not_recommended={(3, game) for game in owned[3]} | {(user, 45) for user in crowd},
    )  # fmt: skip
    promote_model(store, write_model(tmp_path / "model", [ODD, EVEN] * (GAMES // 2)))
    return predict_all(snapshot.root, store, users_per_shard=3)


def test_rows_are_sorted_by_user_and_list_and_are_read_as_a_valid_shard(shop, store):
    plan, shards = shop
    keys = [(row["user_id"], LISTS.index(row["list"])) for shard in shards for row in shard.to_pylist()]
    assert keys == sorted(set(keys))
    assert [user for user, name in keys if name == 0] == [1, 2, 3, 4, *range(100, 105)]
    folder = Path(predictions_uri(store, plan.version))
    for number, table in enumerate(shards):
        shard = Shard(number, *plan.shards[number])
        read = list(read_shard(folder / shard_name(number), shard))
        assert pa.Table.from_batches(read).to_pylist() == table.to_pylist()


def test_scores_are_taste_plus_popularity_and_descend(shop):
    _, shards = shop
    for row in (row for shard in shards for row in shard.to_pylist()):
        scores = np.array(row["taste"], np.float32) + np.array(row["popularity"], np.float32)
        assert (np.diff(scores) <= 0).all()
        assert len(row["game_ids"]) == len(set(row["game_ids"])) == len(row["because"])
    popularity = [dict(zip(row["game_ids"], row["popularity"], strict=True)) for row in by_list(shards).values()]
    assert all(games.items() <= (popularity[0] | games).items() for games in popularity)  # the same for all users
    relevance, interests = by_list(shards)[1], by_list(shards, INTERESTS)[1]
    weighted = dict(zip(relevance["game_ids"], relevance["popularity"], strict=True))
    both = [
        (weighted[g], p) for g, p in zip(interests["game_ids"], interests["popularity"], strict=True) if g in weighted
    ]
    assert both
    assert [interest for _, interest in both] == pytest.approx([0.5 * relevant for relevant, _ in both])


def test_lists_are_of_the_users_taste(shop):
    _, shards = shop
    for name in LISTS:
        rows = by_list(shards, name)
        odd_first = rows[1]["game_ids"], rows[2]["game_ids"], rows[3]["game_ids"]
        assert [games[0] % 2 for games in odd_first] == [1, 0, 0], name
        assert rows[1]["game_ids"] != rows[4]["game_ids"]


def test_lists_have_their_games(shop):
    plan, shards = shop
    assert plan.new_release_days == 90
    rows = {name: by_list(shards, name)[1]["game_ids"] for name in LISTS}
    assert rows[NEW_RELEASES] == [21, 41, 22, 42]
    assert len(rows[RELEVANCE]) == 50
    assert max(rows[INTERESTS]) <= 50  # the last ten games have no reviews
    assert len(rows[DISCOVERY]) == 30
    assert all({11, 13, 15, 17}.isdisjoint(games) for games in rows.values())
    assert 45 not in rows[DISCOVERY]  # no user likes it
    catalogue = by_list(shards)[4]
    head = catalogue["game_ids"][:10]  # user 4 has no history, so this list is by popularity
    assert set(head).isdisjoint(rows[DISCOVERY])


def test_reasons_are_liked_games_named_at_most_twice(shop):
    _, shards = shop
    for name in (RELEVANCE, DISCOVERY, NEW_RELEASES):
        because = [game for game in by_list(shards, name)[1]["because"] if game]
        assert set(because) <= {11, 13, 15, 17}
        assert max((because.count(game) for game in because), default=0) <= 2
    assert any(by_list(shards)[1]["because"])
    assert not any(by_list(shards)[3]["because"])  # only disliked games
    assert not any(by_list(shards)[4]["because"])


def test_user_has_no_row_for_a_list_that_would_be_empty(tmp_path, store, champion):
    snapshot = write_snapshot_of(tmp_path / "old", REVIEWS, n_games=6, users=[1, 2, 3])
    _, shards = predict_all(snapshot.root, store)
    assert {row["list"] for shard in shards for row in shard.to_pylist()} == {RELEVANCE}


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
        if any_store.startswith("s3://"):
            return folder.list_files("")
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
            plan.version,
            "model-1",
            plan.snapshot_id,
            number,
            plan.shards[number],
            len(by_list([shard])),
            "exact",
            digest,
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

    finished, endings = {}, []
    # Killed once there are this many complete files: during the plan, in a shard, before its manifest.
    for files in sorted(random.Random(0).sample(range(1, len(contents_of(whole))), 6)):
        run = subprocess.Popen([sys.executable, "-c", RUN, snapshot, killed])
        while len(contents_of(killed)) < files and run.poll() is None:
            time.sleep(0.002)
        run.kill()
        endings.append(run.wait())
        states = files_of(killed)
        assert {path: states.get(path) for path in finished} == finished
        manifests = [path for path in states if path.parent.name == "manifests" and not path.name.startswith(".")]
        shards = [path.parents[1] / "recommendations" / f"{path.stem}.parquet" for path in manifests]
        finished = {path: states[path] for path in (*manifests, *shards)}
    assert finished
    assert -signal.SIGKILL in endings
    assert {*endings} <= {0, -signal.SIGKILL}  # one may end before the signal arrives
    subprocess.run([sys.executable, "-c", RUN, snapshot, killed], check=True)
    assert {path: files_of(killed)[path] for path in finished} == finished
    assert contents_of(killed) == contents_of(whole)


def test_unavailable_games_are_never_recommended(tmp_path, store, champion):
    reviews = [*REVIEWS, (4, 1, date(2020, 1, 1)), (3, 5, date(2020, 1, 2)), (5, 3, date(2020, 1, 2))]
    days = {1: {"delisted_on": date(2020, 1, 2)}, 3: {"released_on": date(2020, 1, 4)}, 5: {"delisted_on": None}}
    snapshot = write_snapshot_of(tmp_path / "shop", reviews, n_games=6, users=[1, 2, 3, 4, 5, 6], about=days)
    plan, shards = predict_all(snapshot.root, store)
    rows = by_list(shards)
    assert plan.as_of == "2020-01-03"
    assert all({1, 3}.isdisjoint(row["game_ids"]) for row in rows.values())
    assert rows[4]["game_ids"][0] == 5
    lists = pq.read_table(Path(predictions_uri(store, plan.version)) / "popular.parquet").to_pylist()
    popular = [row for row in lists if row["list"] == POPULAR_LIST]
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
    assert sorted(by_list(shards)) == [2]
