import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories
from steam_recsys.errors import UserError
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.scorer import PAGE_GAMES
from steam_recsys.model.two_tower import TwoTowerArrays, with_top_weight
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


def test_model_is_saved_and_loaded_with_all_weights_of_popularity(model: TwoTowerArrays, tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", **model.arrays())
    (tmp_path / "vocabulary.json").write_text(
        json.dumps({"games": model.game_ids.tolist(), "attributes": model.attribute_names})
    )
    config = {
        "popularity_weight": 0.75, "interests_weight": 0.125, "scale": model.scale, "popularity_smoothing": 1.0,
        "top_weight": 1.5, "history_weights": {"disliked": -1.0, "recency": 0.5},
        "next_weight": 0.5, "next_recency": 0.25, "sequence": {"weight": 0.0, "scale": 1.0},
    }  # fmt: skip
    (tmp_path / "model.json").write_text(json.dumps({"version": "v", "config": config}))
    complete_artifact(tmp_path)
    loaded = TwoTowerArrays.load(tmp_path)
    assert (loaded.popularity_weight, loaded.interests_weight, loaded.top_weight) == (0.75, 0.125, 1.5)
    assert loaded.history_weights == HistoryWeights(disliked=-1.0, recency=0.5)
    assert loaded.next_games is not None
    assert loaded.next_games.recency == 0.25
    assert all(np.array_equal(array, loaded.arrays()[name]) for name, array in model.arrays().items())
    scorer = loaded.for_catalogue(Games(model.game_ids, [{}] * len(model.game_ids)), np.ones((1, len(model.game_ids))))
    assert scorer.popularity_weight == 0.75


def test_a_top_weight_counts_popularity_above_that_of_the_tenth_most_popular_game_more() -> None:
    prior = np.random.default_rng(0).permutation(np.arange(-40, 0, dtype=np.float32))
    raised = with_top_weight(prior, 1.5)
    assert np.array_equal(raised[prior <= -PAGE_GAMES], prior[prior <= -PAGE_GAMES])
    for position in np.flatnonzero(prior > -PAGE_GAMES):
        assert raised[position] == prior[position] + 1.5 * (prior[position] + PAGE_GAMES)
    assert np.array_equal(np.argsort(raised), np.argsort(prior))


def test_without_a_top_weight_or_games_the_popularity_prior_stays() -> None:
    prior = np.array([-1.0, -3.0, -2.0], dtype=np.float32)
    assert np.array_equal(with_top_weight(prior, 0.0), prior)
    assert len(with_top_weight(prior[:0], 2.0)) == 0


def test_scores_of_a_model_have_its_top_weight(model: TwoTowerArrays) -> None:
    games = Games(model.game_ids, [{}] * len(model.game_ids))
    popularity = np.arange(len(games), dtype=np.float64)[None]
    plain, raised = (replace(model, top_weight=weight).for_catalogue(games, popularity) for weight in (0.0, 2.0))
    assert np.array_equal(raised.popularity_prior, with_top_weight(plain.popularity_prior, 2.0))


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
