import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.evaluate.evaluation import evaluate_model
from components.train import training
from components.train.refit import refit_model
from components.train.trainer import Checkpoints, Trainer
from components.train.training import train_model
from steam_recsys.errors import UserError
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import complete_artifact
from steam_recsys.storage.model_store import (
    DESCRIPTION,
    EVALUATED,
    add_model,
    evaluated_part,
    move_champion,
    stored_model,
)
from tests.components.train.checkerboard import GAMES, GENRES, checkerboard, day, quick_config
from tests.snapshots import write_snapshot_of

STEPS = 16
HELD_OUT_GAME = GAMES + 1
REVIEWS = [
    *checkerboard(),
    *((user, HELD_OUT_GAME, day(99)) for user in range(2, 10, 2)),  # only reviewed in the held-out period
    (500, 3, None),  # never used: it has no date
]


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_snapshot_of(tmp_path_factory.mktemp("snapshot"), REVIEWS, n_games=HELD_OUT_GAME, genres=GENRES).root


@pytest.fixture(scope="module")
def evaluated(snapshot: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "ModelConfig", lambda: quick_config(STEPS))
        train_model(snapshot, folder / "model", str(folder / "store"))
    return folder / "model"


@pytest.fixture(scope="module")
def refitted(snapshot: Path, evaluated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("refitted")
    refit_model(snapshot, evaluated, folder / "model", str(folder / "store"))
    return folder / "model"


def description(model: Path) -> dict[str, Any]:
    return json.loads((model / "model.json").read_text())


def assert_same_arrays(one: Path, other: Path) -> None:
    """Bit for bit."""
    for name, array in TwoTowerArrays.load(one).arrays().items():
        assert np.array_equal(TwoTowerArrays.load(other).arrays()[name], array), name


def test_refit_learns_from_all_dated_reviews(refitted: Path, evaluated: Path) -> None:
    assert HELD_OUT_GAME not in TwoTowerArrays.load(evaluated).game_ids
    assert HELD_OUT_GAME in TwoTowerArrays.load(refitted).game_ids
    before, after = description(evaluated), description(refitted)
    assert (before["games"], after["games"], after["users"]) == (GAMES, GAMES + 1, 120)
    assert after["trained_until"] == "2020-04-09"
    arrays = TwoTowerArrays.load(refitted).arrays()
    assert (
        after["parameters"]
        == sum(array.size for array in arrays.values() if array.dtype.kind == "f")
        > before["parameters"]
    )


def test_refit_keeps_hyperparameters_and_metrics(refitted: Path, evaluated: Path) -> None:
    changed = {"trained_until", "games", "users", "parameters"}
    before, after = description(evaluated), description(refitted)
    assert {name: value for name, value in after.items() if name not in changed} == {
        name: value for name, value in before.items() if name not in changed
    }
    assert before["steps"] == STEPS


def test_refit_takes_as_many_steps_from_the_evaluated_weights(
    snapshot: Path, evaluated: Path, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits: list[tuple[str, int]] = []
    fit = Trainer.fit

    def noted(self, name, data, config, steps, start=None):
        fits.append((name, steps))
        assert np.array_equal(start.history_games[:GAMES], TwoTowerArrays.load(evaluated).towers.history_games)
        return fit(self, name, data, config, steps, start)

    monkeypatch.setattr(Trainer, "fit", noted)
    assert refit_model(snapshot, evaluated, tmp_path / "model", store) == description(evaluated)["version"]
    assert fits == [("refit", STEPS)]


def test_refit_keeps_the_evaluated_model_without_its_serving_files(refitted: Path, evaluated: Path) -> None:
    assert evaluated_part(refitted) == refitted / EVALUATED
    assert_same_arrays(refitted / EVALUATED, evaluated)
    files = {str(path.relative_to(refitted)) for path in refitted.rglob("*") if path.is_file()}
    assert {name for name in files if not name.startswith("saved_model/")} == {
        "arrays.npz", "items.npz", "manifest.json", "model.json", "vocabulary.json",
        "evaluated/arrays.npz", "evaluated/manifest.json", "evaluated/model.json", "evaluated/vocabulary.json",
    }  # fmt: skip
    assert "saved_model/saved_model.pb" in files


def test_interrupted_refit_resumes_to_the_same_model(
    snapshot: Path, evaluated: Path, refitted: Path, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, steps = Checkpoints.write, []

    def dies(self, name, arrays):
        write(self, name, arrays)
        steps.append(len(arrays["losses"]))
        if len(steps) == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoints, "due", lambda self: True)
    monkeypatch.setattr(Checkpoints, "write", dies)
    with pytest.raises(KeyboardInterrupt):
        refit_model(snapshot, evaluated, tmp_path / "model", store)
    assert not (tmp_path / "model").exists()
    refit_model(snapshot, evaluated, tmp_path / "model", store)
    assert steps == list(range(1, STEPS + 1))
    assert_same_arrays(tmp_path / "model", refitted)
    assert_same_arrays(tmp_path / "model" / EVALUATED, refitted / EVALUATED)
    assert open_folder(store).names("") == []


def test_next_evaluation_uses_the_evaluated_model_of_the_champion(
    snapshot: Path, evaluated: Path, refitted: Path, any_store: str, tmp_path: Path
) -> None:
    """Not the refit, which has seen the held-out reviews. The challenger is a copy of the evaluated model."""
    version = description(refitted)["version"]
    add_model(any_store, refitted)
    move_champion(any_store, version, expected=None)
    with stored_model(any_store, version) as folder:
        assert_same_arrays(folder, refitted)
        assert_same_arrays(evaluated_part(folder), evaluated)
    challenger = shutil.copytree(evaluated, tmp_path / "challenger")
    (challenger / DESCRIPTION).write_text(json.dumps({**description(evaluated), "version": "challenger"}))
    complete_artifact(challenger)
    figures = evaluate_model(snapshot, challenger, any_store).figures
    assert figures["champion"] == figures["challenger"]


def test_refit_of_a_folder_without_a_model_is_refused(snapshot: Path, tmp_path: Path, store: str) -> None:
    with pytest.raises(UserError, match="holds no complete model"):
        refit_model(snapshot, tmp_path / "nothing", tmp_path / "model", store)
    assert not (tmp_path / "model").exists()
