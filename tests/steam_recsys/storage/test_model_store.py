import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from steam_recsys.errors import UserError
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import complete_artifact
from steam_recsys.storage.model_store import add_model, champion, current_champion, move_champion, stored_model


def write_model(folder: Path, version: str) -> Path:
    (folder / "saved_model").mkdir(parents=True)
    (folder / "saved_model" / "weights").write_text(version)
    (folder / "model.json").write_text(json.dumps({"version": version}))
    complete_artifact(folder)
    return folder


@pytest.fixture
def store(any_store: str) -> str:
    """On disk and in a bucket."""
    return any_store


def weights(store: str, version: str) -> str:
    with stored_model(store, version) as folder:
        return (folder / "saved_model" / "weights").read_text()


@pytest.fixture
def two_models(tmp_path: Path, store: str) -> str:
    """A store with the models A and B, and no champion."""
    for version in ("A", "B"):
        add_model(store, write_model(tmp_path / version, version))
    return store


def test_an_empty_store_has_no_champion(store: str) -> None:
    assert current_champion(store) is None
    with pytest.raises(UserError, match=f"The model store {store} has no champion: run the training pipeline first"):
        champion(store)


def test_a_model_is_added_under_its_version(two_models: str) -> None:
    assert weights(two_models, "A") == "A"
    assert current_champion(two_models) is None


def test_adding_a_model_again_changes_nothing(two_models: str, tmp_path: Path) -> None:
    (tmp_path / "A" / "saved_model" / "weights").write_text("changed")
    add_model(two_models, tmp_path / "A")
    assert weights(two_models, "A") == "A"


def test_a_partial_copy_is_not_a_model_and_the_next_copy_succeeds(tmp_path: Path, store: str) -> None:
    source = write_model(tmp_path / "A", "A")
    open_folder(store).write("models/A/saved_model/weights", b"half")
    with pytest.raises(UserError, match="has no model A"), stored_model(store, "A"):
        pass
    add_model(store, source)
    assert weights(store, "A") == "A"


def test_a_folder_without_a_manifest_is_not_added(tmp_path: Path, store: str) -> None:
    write_model(tmp_path / "A", "A")
    (tmp_path / "A" / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"holds no complete model \(manifest.json is missing\): train it again"):
        add_model(store, tmp_path / "A")


def test_the_pointer_moves_and_names_the_previous_champion(two_models: str) -> None:
    move_champion(two_models, "A", expected=None, metrics={"ndcg_at_10": 0.2})
    moved = move_champion(two_models, "B", expected="A")
    assert (moved.version, moved.previous) == ("B", "A")
    assert current_champion(two_models) == moved
    assert champion(two_models) == moved
    assert weights(two_models, "A") == "A"


def test_promoting_the_champion_again_changes_nothing(two_models: str) -> None:
    first = move_champion(two_models, "A", expected=None)
    assert move_champion(two_models, "A", expected=None) == first


def test_a_promotion_compared_with_another_champion_is_rejected(two_models: str) -> None:
    move_champion(two_models, "A", expected=None)
    with pytest.raises(UserError, match="is A, no longer none, since another run promoted at the same time"):
        move_champion(two_models, "B", expected=None)
    assert champion(two_models).version == "A"


def test_one_of_many_concurrent_promotions_wins(tmp_path: Path, store: str) -> None:
    versions = [f"V{number}" for number in range(8)]
    for version in versions:
        add_model(store, write_model(tmp_path / version, version))

    def promoted(version: str) -> bool:
        try:
            move_champion(store, version, expected=None)
        except UserError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(promoted, versions))
    assert won.count(True) == 1
    assert champion(store).version == versions[won.index(True)]


def test_a_model_that_is_not_in_the_store_cannot_become_champion(two_models: str) -> None:
    with pytest.raises(UserError, match="has no model C"):
        move_champion(two_models, "C", expected=None)


def test_an_invalid_pointer_is_reported(two_models: str) -> None:
    open_folder(two_models).write("models/champion.json", b"{")
    with pytest.raises(UserError, match=r"champion\.json is damaged, or of another release: restore it, or delete it"):
        current_champion(two_models)
