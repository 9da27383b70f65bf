from dataclasses import replace

import numpy as np
import pytest

from steam_recsys.data.histories import Histories
from steam_recsys.model import scorer as module
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.two_tower import TwoTowerArrays
from tests.steam_recsys.model.models import GAMES, random_model, scorer_for


@pytest.fixture
def model() -> TwoTowerArrays:
    return random_model()


def histories(*games: list[int]) -> Histories:
    return Histories.from_games(*games)


def test_score_is_scaled_cosine_plus_item_item_weights_plus_log_popularity_share(
    model: TwoTowerArrays,
) -> None:
    popularity = np.arange(GAMES, dtype=np.float64)
    scores = scorer_for(model, popularity=popularity).scores(histories([3, 5]))
    towers = model.towers
    user = sum(towers.history_games[game] + towers.history_attributes[game % 3] for game in (3, 5))
    for game in range(GAMES):
        candidate = towers.candidate_games[game] + towers.candidate_attributes[game % 3]
        cosine = user @ candidate / np.linalg.norm(user) / np.linalg.norm(candidate)
        share = (popularity[game] + 1) / (popularity + 1).sum()
        added = float(model.item_item.between(np.array([3, 5]), np.array([[game]]), np.zeros(2, int)).sum())
        assert scores[0, game] == pytest.approx(4 * cosine + added + np.log(share), abs=1e-5)


def test_empty_history_is_ranked_by_popularity_with_ties_by_position(model: TwoTowerArrays) -> None:
    popularity = np.array([game % 4 for game in range(GAMES)], dtype=np.float64)
    positions, _, because = scorer_for(model, popularity=popularity).recommend(histories([]), k=GAMES)
    assert positions[0].tolist() == sorted(range(GAMES), key=lambda game: (-popularity[game], game))
    assert (because == -1).all()


def test_history_is_never_recommended_and_missing_games_are_minus_one(model: TwoTowerArrays) -> None:
    everything_but_two = [game for game in range(GAMES) if game not in (7, 9)]
    positions, scores, because = scorer_for(model).recommend(histories(everything_but_two, [7]), k=3)
    assert sorted(positions[0][:2].tolist()) == [7, 9]
    assert (positions[0, 2], scores[0, 2], because[0, 2]) == (-1, -np.inf, -1)
    assert 7 not in positions[1]


def test_games_outside_the_history_can_be_excluded(model: TwoTowerArrays) -> None:
    scorer, history = scorer_for(model), histories([1, 2], [])
    positions, _, _ = scorer.recommend(history, k=GAMES, excluded=histories([], [4]))
    assert sorted(positions[0].tolist()) == list(range(GAMES))
    assert 4 not in positions[1]


def test_reason_is_the_game_with_the_largest_contribution(model: TwoTowerArrays) -> None:
    scorer, history = scorer_for(model), ([3, 8, 21], [], [5], [30, 2])
    positions, _, because = scorer.recommend(histories(*history), k=6)
    for user, games in enumerate(history):
        for column in range(6):
            length = np.linalg.norm(scorer.history[games].sum(axis=0)) if games else 1.0
            game = positions[user, column]
            terms = [
                4 * float(scorer.history[had] @ scorer.candidates[game]) / length
                + float(scorer.item_item.between(np.array([had]), np.array([[game]]), np.zeros(1, int))[0, 0])
                for had in games
            ]
            assert because[user, column] == (games[int(np.argmax(terms))] if games else -1)


def test_reason_is_the_earlier_of_two_equal_contributions(model: TwoTowerArrays) -> None:
    model.towers.history_games[6] = model.towers.history_games[3]  # same genre, so the same vector
    without_links = replace(model, item_item=ItemItemWeights.empty(GAMES))
    _, _, because = scorer_for(without_links).recommend(histories([6, 3]), k=5)
    assert set(because[0].tolist()) == {6}


def test_disliked_game_is_a_reason_only_if_there_is_no_other(
    model: TwoTowerArrays,
) -> None:
    scorer, games = scorer_for(model), [3, 8, 21]
    liked = replace(histories(games), recommended=np.array([False, True, False]))
    assert (scorer.recommend(liked, k=6)[2] == 8).all()
    none_liked = replace(histories(games), recommended=np.zeros(3, dtype=bool))
    all_liked = scorer.recommend(histories(games), k=6)
    assert all(np.array_equal(*pair) for pair in zip(scorer.recommend(none_liked, k=6), all_liked, strict=True))


def test_recommendations_do_not_depend_on_the_block_size(
    model: TwoTowerArrays, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer, history = scorer_for(model), histories([1], [], [2, 3], [39], [5, 6, 7])
    at_once = scorer.recommend(history, k=5)
    monkeypatch.setattr(module, "BLOCK_USERS", 2)
    in_blocks = scorer.recommend(history, k=5)
    assert np.array_equal(at_once[0], in_blocks[0])
    assert np.array_equal(at_once[2], in_blocks[2])


def test_inputs_are_not_modified(model: TwoTowerArrays) -> None:
    popularity = np.ones(GAMES)
    history = histories([1, 2], [3])
    inputs = (popularity, *vars(history).values(), *vars(model.towers).values())
    before = [array.copy() for array in inputs]
    scorer_for(model, popularity=popularity).recommend(history, k=3)
    after = inputs
    assert all(np.array_equal(was, now, equal_nan=True) for was, now in zip(before, after, strict=True))


def test_no_users_give_empty_arrays(model: TwoTowerArrays) -> None:
    positions, scores, because = scorer_for(model).recommend(Histories.from_games(), 5)
    assert positions.shape == scores.shape == because.shape == (0, 5)
