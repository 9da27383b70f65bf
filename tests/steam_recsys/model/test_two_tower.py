import json
from pathlib import Path

import numpy as np
import pytest

from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories
from steam_recsys.errors import UserError
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.manifest import complete_artifact
from tests.steam_recsys.model.models import random_model


@pytest.fixture
def model() -> TwoTowerArrays:
    return random_model()


def test_unseen_game_gets_the_vector_of_its_genres(model: TwoTowerArrays) -> None:
    game_ids = np.array([10, 999, 20], dtype=np.int32)
    attributes = [{"Action": 1.0}, {"Puzzle": 1.0, "Unheard of": 1.0}, {}]
    scorer = model.for_catalogue(Games(game_ids, attributes), np.zeros((1, 3)))
    puzzle = model.towers.candidate_attributes[1]
    assert scorer.candidates[1] == pytest.approx(puzzle / np.linalg.norm(puzzle))
    assert scorer.history[1] == pytest.approx(model.towers.history_attributes[1])


def test_game_without_known_attributes_is_ranked_by_popularity(model: TwoTowerArrays) -> None:
    scorer = model.for_catalogue(Games(np.array([998, 999], dtype=np.int32), [{}, {}]), np.array([[1.0, 5.0]]))
    found = scorer.recommend(Histories.from_games([]), k=2)
    assert found.positions.tolist() == [[1, 0]]
    assert not scorer.candidates.any()


def test_model_is_saved_and_loaded_with_both_popularity_weights(model: TwoTowerArrays, tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", **model.arrays())
    (tmp_path / "vocabulary.json").write_text(
        json.dumps({"games": model.game_ids.tolist(), "attributes": model.attribute_names})
    )
    config = {
        "popularity_weight": 0.75, "interests_weight": 0.125, "scale": model.scale, "popularity_smoothing": 1.0,
        "history_weights": {"disliked": -1.0, "recency": 0.5}, "next_weight": 0.5, "next_recency": 0.25,
        "sequence": {"weight": 0.0, "scale": 1.0},
    }  # fmt: skip
    (tmp_path / "model.json").write_text(json.dumps({"version": "v", "config": config}))
    complete_artifact(tmp_path)
    loaded = TwoTowerArrays.load(tmp_path)
    assert (loaded.popularity_weight, loaded.interests_weight) == (0.75, 0.125)
    assert loaded.history_weights == HistoryWeights(disliked=-1.0, recency=0.5)
    assert loaded.next_games is not None
    assert loaded.next_games.recency == 0.25
    assert all(np.array_equal(array, loaded.arrays()[name]) for name, array in model.arrays().items())
    scorer = loaded.for_catalogue(Games(model.game_ids, [{}] * len(model.game_ids)), np.ones((1, len(model.game_ids))))
    assert scorer.popularity_weight == 0.75


def test_missing_model_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no complete model \(manifest.json is missing\): train it again"):
        TwoTowerArrays.load(tmp_path)


def test_model_of_another_version_is_reported(model: TwoTowerArrays, tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", **vars(model.towers))
    for name in ("model.json", "vocabulary.json"):
        (tmp_path / name).write_text("{}")
    complete_artifact(tmp_path)
    with pytest.raises(
        UserError, match=r"a model of another version of this project \(item_item_offsets .*\): train again"
    ):
        TwoTowerArrays.load(tmp_path)
