import json
import signal
from pathlib import Path

import numpy as np
import pytest

from components.train import training
from components.train.tensorflow_runtime import Workers, get_workers, tf, worker_rank
from components.train.trainer import Checkpoints, Trainer
from components.train.training import train_model
from steam_recsys.errors import UserError
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.stage import read_journal
from steam_recsys.storage.folder import open_folder
from tests.components.train.checkerboard import GAMES, GENRES, checkerboard, quick_config
from tests.components.train.process import cluster_of_two, start_training
from tests.components.train.worker import fits, start_workers
from tests.snapshots import write_snapshot_of

TWO_WORKERS = {"worker": ["a:1", "b:1"]}
CHIEF_AND_TWO = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}


def configuration(cluster: dict, role: str, index: int | str) -> str:
    return json.dumps({"cluster": cluster, "task": {"type": role, "index": index}})


@pytest.mark.parametrize(
    ("cluster", "role", "index", "expected"),
    [
        (TWO_WORKERS, "worker", 0, (0, 2)),
        (TWO_WORKERS, "worker", 1, (1, 2)),
        (TWO_WORKERS, "worker", "1", (1, 2)),
        (CHIEF_AND_TWO, "chief", 0, (0, 3)),
        (CHIEF_AND_TWO, "worker", 0, (1, 3)),
        (CHIEF_AND_TWO, "worker", 1, (2, 3)),
        ({"chief": ["a:1"]}, "chief", 0, (0, 1)),  # a single machine, as Vertex AI describes it
        ({"worker": ["a:1"]}, "worker", 0, (0, 1)),
    ],
)
def test_chief_is_ranked_before_the_workers(
    cluster: dict, role: str, index: int | str, expected: tuple[int, int]
) -> None:
    assert worker_rank(configuration(cluster, role, index)) == expected


def test_one_worker_without_a_cluster() -> None:
    assert worker_rank("{}") == (0, 1)
    assert get_workers.__wrapped__() == Workers(tf.distribute.get_strategy(), 0, 1)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        configuration(TWO_WORKERS, "evaluator", 0),
        configuration(TWO_WORKERS, "worker", 2),
        configuration(TWO_WORKERS, "worker", "first"),
        json.dumps({"cluster": TWO_WORKERS}),
        json.dumps({"cluster": {"worker": 2}}),
    ],
)
def test_incomplete_tf_config_is_refused(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CONFIG", content)
    with pytest.raises(UserError, match=r"TF_CONFIG .* does not say which chief or worker .* set cluster"):
        get_workers.__wrapped__()


def test_only_the_first_worker_is_the_chief() -> None:
    strategy = tf.distribute.get_strategy()
    assert [Workers(strategy, index, 3).is_chief for index in range(3)] == [True, False, False]


@pytest.mark.slow
def test_two_workers_train_the_same_model_as_one_and_the_chief_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = write_snapshot_of(tmp_path / "snapshot", checkerboard(), n_games=GAMES, genres=GENRES).root
    store = str(tmp_path / "store")
    started = [
        start_training(snapshot, tmp_path / role, store, min_steps=24, variables=variables)
        for role, variables in cluster_of_two().items()
    ]
    outputs = [process.communicate(timeout=1800)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], outputs
    assert not (tmp_path / "worker").exists()
    assert open_folder(store).names("") == []

    monkeypatch.setattr(training, "ModelConfig", lambda: quick_config(24))
    alone = train_model(snapshot, tmp_path / "alone", str(tmp_path / "store of one"))
    together, one = (TwoTowerArrays.load(tmp_path / name) for name in ("chief", "alone"))
    assert together.version == alone.version
    for name, array in one.arrays().items():
        assert together.arrays()[name] == pytest.approx(array, abs=1e-4), name
    descriptions = [json.loads((tmp_path / name / "model.json").read_text()) for name in ("chief", "alone")]
    assert np.array(descriptions[0]["losses"]) == pytest.approx(np.array(descriptions[1]["losses"]), rel=1e-5)


@pytest.mark.slow
def test_a_worker_follows_every_fit_of_the_chief(tmp_path: Path) -> None:
    started = start_workers(tmp_path)
    outputs = {role: process.communicate(timeout=600)[0] for role, process in started.items()}
    assert {role: process.returncode for role, process in started.items()} == {"chief": 0, "worker": 0}, outputs
    alone = fits(Trainer(0, Workers(tf.distribute.get_strategy(), 0, 1), Checkpoints.for_version(str(tmp_path), "v")))
    for name, towers in alone.items():
        with np.load(tmp_path / f"{name}.npz") as found:
            for table, array in vars(towers).items():
                assert found[table] == pytest.approx(array, abs=1e-4), (name, table)


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "other"), [("worker", "chief"), ("chief", "worker")])
def test_a_worker_ends_if_another_is_killed(killed: str, other: str, tmp_path: Path) -> None:
    started = start_workers(tmp_path, killed=killed)
    outputs = {role: process.communicate(timeout=600)[0] for role, process in started.items()}
    assert started[killed].returncode == -signal.SIGKILL, outputs
    assert started[other].returncode != 0, outputs
    (record,) = read_journal(str(tmp_path / "store"), "run")
    assert (record.stage, record.error) == (
        other, "Another of the 2 workers ended before the training did: read its log, and run again."
    ), outputs  # fmt: skip
