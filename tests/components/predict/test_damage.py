"""Damage to any stored file that prediction reads is reported, or the file is made again."""

import shutil
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from components.predict.plan import plan_predictions
from components.predict.prediction import predict_shard
from steam_recsys.data.predictions import Plan, Predictions, check_shard, predictions_uri
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import open_folder
from tests.components.predict.artifacts import promote_model, write_model
from tests.damage import damaged_contents, files_below
from tests.snapshots import write_snapshot_of

GAMES = 6
REVIEWS = [(1, 1, date(2020, 1, 1)), (2, 2, date(2020, 1, 2)), (2, 4, None), (None, 6, date(2020, 1, 3))]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a snapshot, a store, and a finished plan and its predictions in it."""
    root = tmp_path_factory.mktemp("whole")
    snapshot = write_snapshot_of(root / "snapshot", REVIEWS, n_games=GAMES, users=[1, 2, 3]).root
    store = str(root / "store")
    promote_model(store, write_model(root / "model", [[1.0, 0.0], [0.0, 1.0]] * (GAMES // 2)))
    plan = plan_predictions(snapshot, store, 2)
    plan.write(root / "plan")
    for shard in range(len(plan.shards)):
        predict_shard(store, plan, shard)
    return root


@pytest.fixture
def copy(root: Path, tmp_path: Path) -> Path:
    return shutil.copytree(root, tmp_path / "copy")


def folder_of(copy: Path) -> Path:
    return Path(predictions_uri(str(copy / "store"), Plan.read(copy / "plan").version))


def predict(copy: Path) -> None:
    """Predict the shards again, from the plan's artifact."""
    plan = Plan.read(copy / "plan")
    shutil.rmtree(folder_of(copy) / "recommendations", ignore_errors=True)
    for shard in range(len(plan.shards)):
        predict_shard(str(copy / "store"), plan, shard)


def publish(copy: Path) -> None:
    """Read everything that a publication reads."""
    folder = open_folder(folder_of(copy))
    predictions = Predictions.open(folder, Plan.read(copy / "plan").shards)
    predictions.popular(pa.array(range(1, GAMES + 1), pa.int32()))
    for shard in predictions.shards:
        with folder.local_path(shard.name) as path:
            check_shard(folder, shard, path)


def recommendations(copy: Path) -> dict[str, bytes]:
    folder = folder_of(copy) / "recommendations"
    return {name: (folder / name).read_bytes() for name in files_below(folder)}


def test_no_damaged_file_changes_what_is_published(root: Path, copy: Path) -> None:
    """Every file of the store except the counts for refreshes, and the plan that the tasks receive, in several ways."""
    expected = recommendations(root)
    version = Plan.read(root / "plan").version
    names = [name for name in files_below(root) if name == "plan" or name.startswith(("store/models", "store/pred"))]
    assert {path.name for path in (root / "store").iterdir()} == {"counts", "models", "predictions"}
    refused: dict[str, set[str]] = {}
    for name in names:
        whole = (root / name).read_bytes()
        for _, content in damaged_contents(whole):
            (copy / name).write_bytes(content)
            for step in (publish, predict):
                try:
                    step(copy)
                except UserError as error:
                    sentence = str(error)
                    assert "\n" not in sentence
                    assert Path(name).name in sentence, (name, sentence)
                    refused.setdefault(name, set()).add(step.__name__)
                else:
                    assert recommendations(copy) == expected, name
            shutil.rmtree(folder_of_version(copy, version))
            shutil.copytree(folder_of_version(root, version), folder_of_version(copy, version))
            (copy / name).write_bytes(whole)
    harmless = set(names) - set(refused)
    # The pointer is read by the plan, the plan's copy in the store by the next plan, and the mark is empty.
    assert {Path(name).name for name in harmless} == {"champion.json", "champion.json.lock", "plan.json", "promoted"}


def folder_of_version(root: Path, version: str) -> Path:
    return Path(predictions_uri(str(root / "store"), version))


@pytest.mark.parametrize("kind", ["plan.json", "catalogue.parquet", "popular.parquet", "histories", "manifest.json"])
def test_a_damaged_plan_is_made_again_by_the_next_run(root: Path, copy: Path, kind: str) -> None:
    whole = {name: (folder_of(root) / name).read_bytes() for name in files_below(folder_of(root))}
    name = next(name for name in whole if name.startswith(kind))
    for _, content in damaged_contents(whole[name]):
        (folder_of(copy) / name).write_bytes(content)
        plan_predictions(copy / "snapshot", str(copy / "store"), 2)
        assert {name: (folder_of(copy) / name).read_bytes() for name in files_below(folder_of(copy))} == whole


def test_a_damaged_shard_or_its_manifest_is_made_again(root: Path, copy: Path) -> None:
    whole = {name: (folder_of(root) / name).read_bytes() for name in files_below(folder_of(root))}
    for name in [name for name in whole if name.startswith(("recommendations/", "manifests/"))]:
        for _, content in damaged_contents(whole[name]):
            (folder_of(copy) / name).write_bytes(content)
            for shard in range(2):
                predict_shard(str(copy / "store"), Plan.read(copy / "plan"), shard)
            assert {name: (folder_of(copy) / name).read_bytes() for name in files_below(folder_of(copy))} == whole


def test_a_damaged_pointer_stops_the_plan(root: Path, copy: Path) -> None:
    pointer = copy / "store" / "models" / "champion.json"
    whole = pointer.read_bytes()
    for _, content in damaged_contents(whole):
        pointer.write_bytes(content)
        with pytest.raises(UserError, match=r"models/champion\.json (is|has) .*: restore it, or delete it"):
            plan_predictions(copy / "snapshot", str(copy / "store"), 2)
