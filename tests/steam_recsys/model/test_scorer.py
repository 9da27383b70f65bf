"""Scores and recommendations, and ranks above popularity compared with a naive count."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.data.histories import Histories
from steam_recsys.model import scorer as module
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.scorer import PopularityOrder
from steam_recsys.model.two_tower import TwoTowerArrays
from tests.steam_recsys.model.models import GAMES, random_model, scorer_for

POPULAR = np.array([9, 7, 5, 3, 1], dtype=np.float32)


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


def above_popularity(
    popularity: np.ndarray, games: list[int], excluded: Sequence[int] = (), **masks: np.ndarray
) -> list[bool]:
    order = PopularityOrder.from_popularity(popularity, masks.get("available"))
    positions = np.array([games], dtype=np.int32)
    found = order.above_popularity(positions, Histories.from_games(excluded), masks.get("among"))
    return [bool(flag) for flag in found[0]]


def test_game_is_above_popularity_if_it_overtakes_a_more_popular_one() -> None:
    assert above_popularity(POPULAR, [0, 1, 2]) == [False, False, False]
    assert above_popularity(POPULAR, [2, 0, 1]) == [True, False, False]
    assert above_popularity(POPULAR, [0, 1, 4]) == [False, False, True]


def test_excluded_and_unavailable_games_do_not_count_as_overtaken() -> None:
    assert above_popularity(POPULAR, [2, 3], excluded=[0, 1, 1]) == [False, False]
    assert above_popularity(POPULAR, [2, 3], among=np.array([False, False, True, True, True])) == [False, False]
    assert above_popularity(POPULAR, [2, 3], available=np.array([False, False, True, True, True])) == [False, False]


def test_equally_popular_games_all_have_the_last_rank() -> None:
    assert above_popularity(np.ones(5, dtype=np.float32), [0, 1, 4]) == [True, True, True]
    assert above_popularity(np.ones(3, dtype=np.float32), [0, 1, 2]) == [True, True, False]


def test_catalogue_without_available_games_has_an_empty_order() -> None:
    none = np.zeros(3, dtype=bool)
    assert len(above_popularity(POPULAR[:3], [-1, -1], available=none, among=none)) == 2


@given(st.data())
def test_above_popularity_equals_a_naive_count(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n_games, n_users, k = data.draw(st.integers(1, 400)), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    popularity = random.integers(0, data.draw(st.sampled_from([2, 1000])), n_games).astype(np.float32)
    available, among = (random.random(n_games) < data.draw(st.sampled_from([0.05, 0.9])) for _ in range(2))
    among = among if data.draw(st.booleans()) else np.ones(n_games, dtype=bool)
    excluded = [random.choice(n_games, random.integers(0, min(n_games, 9))).tolist() for _ in range(n_users)]
    lists = np.full((n_users, k), -1, dtype=np.int32)
    for user, own in enumerate(excluded):
        left = np.setdiff1d(np.flatnonzero(available & among), own)
        chosen = random.permutation(left)[:k]
        lists[user, : len(chosen)] = chosen
    found = PopularityOrder.from_popularity(popularity, available).above_popularity(
        lists, Histories.from_games(*excluded), None if among.all() else among
    )
    for user, own in enumerate(excluded):
        left = np.setdiff1d(np.flatnonzero(available & among), own)
        for rank, game in enumerate(lists[user].tolist()):
            if game >= 0:
                assert found[user, rank] == ((popularity[left] >= popularity[game]).sum() > rank + 1)
