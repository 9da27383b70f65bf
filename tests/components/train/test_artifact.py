import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.train.artifact import write_model
from components.train.learning import Learned, fit_all
from components.train.model import Config
from components.train.serving import ServingModel
from components.train.trainer import Trainer
from components.train.workers import Workers
from steam_recsys.errors import UserError
from steam_recsys.model.online import OnlineRecommender
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.model_store import EVALUATED, model_version
from tests.components.train.checkerboard import GAMES, catalogue, checkerboard, interactions

CONFIG = Config(dimensions=8, scale=4.0, link_weight=1.0)
PAST = interactions(checkerboard())
AS_OF = int(PAST.days.max()) + 1
DESCRIBED = {"version": "v", "config": asdict(CONFIG)}


class Died(Exception):
    """The machine went away."""


@pytest.fixture(scope="module")
def learned() -> Learned:
    trainer = Trainer(0, Workers(tf.distribute.get_strategy(), 0, 1))
    return fit_all(PAST, catalogue(), CONFIG, trainer, "final", "v", steps=2)


@pytest.fixture(scope="module")
def written(learned: Learned, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written") / "model"
    write_model(folder, learned, PAST, AS_OF, DESCRIBED)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy, which a test may change."""
    return shutil.copytree(written, tmp_path / "model")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_holds_the_model_as_plain_arrays_and_as_a_saved_model(folder: Path, learned: Learned) -> None:
    assert names(folder) == ["arrays.npz", "items.npz", "model.json", "saved_model", "vocabulary.json"]
    assert json.loads((folder / "model.json").read_text()) == json.loads(json.dumps(DESCRIBED))
    loaded = TwoTowerArrays.load(folder)
    assert len(loaded.links.games)
    for name, array in learned.recommender.arrays().items():
        assert np.array_equal(loaded.arrays()[name], array), name
    assert np.array_equal(loaded.game_ids, np.arange(1, GAMES + 1))
    assert loaded.attribute_names == ("genre Even", "genre Indie", "genre Odd")
    assert set(tf.saved_model.load(str(folder / "saved_model")).signatures) == {"serving_default", "with_popularity"}


def test_a_folder_alone_answers_online_as_its_saved_model_does(folder: Path) -> None:
    served = tf.saved_model.load(str(folder / "saved_model")).signatures["serving_default"](
        history=tf.constant([[2, 4]]), recommended=tf.constant([[True, False]]), hours=tf.constant([[3.0, np.nan]])
    )
    answer = OnlineRecommender.load(folder).recommend([2, 4], GAMES, recommended=[True, False], hours=[3.0, None])
    found = served["game_ids"].numpy()[0][: len(answer)].tolist()
    assert [game.game_id for game in answer] == found
    assert [game.score for game in answer] == pytest.approx(served["scores"].numpy()[0][: len(answer)], abs=1e-5)


def test_a_folder_without_the_items_is_refused_in_a_sentence(folder: Path) -> None:
    (folder / "items.npz").unlink()
    with pytest.raises(UserError, match=r"holds no complete model \(items.npz is missing\): train it again"):
        OnlineRecommender.load(folder)


def test_what_was_in_the_folder_is_replaced(folder: Path, learned: Learned) -> None:
    (folder / "leftover").write_text("of an earlier model")
    write_model(folder, learned, PAST, AS_OF, {**DESCRIBED, "version": "w"})
    assert names(folder) == ["arrays.npz", "items.npz", "model.json", "saved_model", "vocabulary.json"]
    assert model_version(folder) == "w"


def dies(*_: object, **__: object) -> None:
    raise Died


@pytest.mark.parametrize(
    ("where", "what"),
    [(np, "savez"), (ServingModel, "save"), (shutil, "copytree"), (Path, "replace"), (shutil, "rmtree")],
    ids=["at the arrays", "at the SavedModel", "at the evaluated model", "at the description", "at the clearing"],
)
def test_wherever_the_writing_ends_a_folder_half_written_is_not_a_model(
    where: object, what: str, folder: Path, learned: Learned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a model that is there, and with one that was evaluated."""
    shutil.copytree(folder, tmp_path / "evaluated")
    monkeypatch.setattr(where, what, dies)
    with pytest.raises(Died):
        write_model(folder, learned, PAST, AS_OF, DESCRIBED, tmp_path / "evaluated")
    monkeypatch.undo()
    for read in (TwoTowerArrays.load, model_version):
        assert_no_model(read, folder)
    write_model(folder, learned, PAST, AS_OF, DESCRIBED, tmp_path / "evaluated")
    assert TwoTowerArrays.load(folder).version == "v"


def assert_no_model(read: Callable[[Path], object], folder: Path) -> None:
    with pytest.raises(UserError, match=r"holds no complete model \(model.json is missing\): train it again"):
        read(folder)


def test_a_model_that_was_evaluated_goes_along_without_its_saved_model(
    folder: Path, learned: Learned, tmp_path: Path
) -> None:
    write_model(tmp_path / "refitted", learned, PAST, AS_OF, DESCRIBED, folder)
    assert names(tmp_path / "refitted" / EVALUATED) == ["arrays.npz", "model.json", "vocabulary.json"]
    assert TwoTowerArrays.load(tmp_path / "refitted" / EVALUATED).version == "v"
    assert (folder / "saved_model").is_dir()
