"""One contract for every baseline, on synthetic data whose best ranking is known."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import Interactions
from steam_recsys.evaluation.baselines import (
    Baseline,
    _fit_knn,
    sample_users,
    tuned_baselines,
)
from steam_recsys.evaluation.rankers import rank
from steam_recsys.evaluation.splits import Split, by_time
from steam_recsys.model.item_item_fits import EASE_MAX_GAMES

USERS, GAMES = 300, 20
CATALOGUE = np.arange(1, GAMES + 1, dtype=np.int32)
PERSONAL = {"item-kNN", "iALS", "EASE"}


@pytest.fixture(scope="module")
def interactions() -> Interactions:
    """Even users review even games and odd users odd ones, one game per day."""
    random = np.random.default_rng(0)
    rows = [
        (user, game, day)
        for user in range(USERS)
        for day, game in enumerate(random.permutation(CATALOGUE[user % 2 :: 2])[:7], start=100)
    ]
    users, games, days = (np.array(column) for column in zip(*rows, strict=True))
    return Interactions(
        users.astype(np.int64), games.astype(np.int32), days.astype(np.int32),
        np.ones(len(rows), bool), np.zeros(len(rows), np.float32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def baselines(interactions: Interactions) -> dict[str, Baseline]:
    tuned = tuned_baselines(interactions, 107, by_time(interactions, 105), CATALOGUE)
    return {baseline.name: baseline for baseline in tuned}


def test_every_baseline_is_listed_once_with_one_setting(baselines: dict[str, Baseline]) -> None:
    assert set(baselines) == {"popularity", "recent popularity", "tuned recent popularity", *PERSONAL}
    assert all(baseline.settings for name, baseline in baselines.items() if name != "popularity")


@pytest.mark.parametrize("name", sorted(PERSONAL))
def test_a_personal_baseline_finds_the_games_of_a_users_kind(name: str, baselines: dict[str, Baseline]) -> None:
    history = Histories.from_games([0, 2, 4], [1, 3, 5])
    ranked = rank(baselines[name].ranker, history, 7)
    assert set(ranked[0].tolist()) == {6, 8, 10, 12, 14, 16, 18}
    assert set(ranked[1].tolist()) == {7, 9, 11, 13, 15, 17, 19}


@pytest.mark.parametrize("name", ["popularity", "recent popularity", "tuned recent popularity", *sorted(PERSONAL)])
def test_the_history_is_never_ranked_and_ranks_stay_empty(name: str, baselines: dict[str, Baseline]) -> None:
    history = Histories.from_games([game for game in range(GAMES) if game not in (7, 9)], [])
    before = history.games.copy()
    ranked = rank(baselines[name].ranker, history, 3)
    assert sorted(ranked[0].tolist()) == [-1, 7, 9]
    assert (ranked[1] >= 0).all()
    assert np.array_equal(history.games, before)


def test_recent_popularity_is_left_out_if_time_plays_no_part(interactions: Interactions) -> None:
    split = by_time(interactions, 105)
    tuned = tuned_baselines(interactions, None, Split(split.past, split.future, None), CATALOGUE)
    assert {baseline.name for baseline in tuned} == {"popularity", *PERSONAL}


def test_only_ease_is_left_out_if_the_square_of_the_catalogue_does_not_fit_into_memory(
    interactions: Interactions,
) -> None:
    large = np.arange(1, EASE_MAX_GAMES + 2, dtype=np.int32)
    tuned = {
        baseline.name: baseline for baseline in tuned_baselines(interactions, 107, by_time(interactions, 105), large)
    }
    assert set(tuned) == {"popularity", "recent popularity", "tuned recent popularity", *PERSONAL} - {"EASE"}
    ranked = rank(tuned["item-kNN"].ranker, Histories.from_games([0, 2, 4]), 7)
    assert set(ranked[0].tolist()) == {6, 8, 10, 12, 14, 16, 18}


def test_item_knn_sums_the_similarities_to_the_games_among_a_candidates_nearest() -> None:
    """Two users have the first two games, one of them the third as well, and a third user has only that."""
    histories = Histories.from_games([0, 1], [0, 1, 2], [2])
    ranker = _fit_knn(histories, 4, 20)
    assert ranker.weights.toarray() == pytest.approx(
        np.array([[0, 1, 0.5, 0], [1, 0, 0.5, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 0]])
    )
    assert rank(ranker, Histories.from_games([0], [2], []), 3).tolist() == [[1, 2, 3], [0, 1, 3], [0, 1, 2]]


owned_games = st.lists(st.sets(st.integers(0, 8)), max_size=30)


@settings(max_examples=50, deadline=None)
@given(owned=owned_games, k=st.integers(1, 10))
def test_item_knn_keeps_the_k_highest_cosines_of_each_game(owned: list[set[int]], k: int) -> None:
    """By the definition, game by game; which of equally near games are kept is left open."""
    users = [{user for user, games in enumerate(owned) if game in games} for game in range(9)]
    cosines = np.zeros((9, 9))
    for game, other in itertools.permutations(range(9), 2):
        if both := len(users[game] & users[other]):
            cosines[game, other] = both / math.sqrt(len(users[game]) * len(users[other]))
    kept = _fit_knn(Histories.from_games(*map(list, owned)), 9, k).weights.toarray().T
    assert kept.dtype == np.float32
    for game in range(9):
        nearest = np.flatnonzero(kept[game])
        assert kept[game, nearest] == pytest.approx(cosines[game, nearest], rel=1e-6)
        expected = np.sort(cosines[game])[::-1][:k]
        assert np.sort(kept[game])[::-1][:k] == pytest.approx(expected, rel=1e-6)
        assert not kept[game, game]


def test_the_first_settings_are_used_without_validation_rows(interactions: Interactions) -> None:
    nothing = Split(interactions, interactions.take(np.zeros(len(interactions), bool)), 107)
    chosen = {baseline.name: baseline.settings for baseline in tuned_baselines(interactions, 107, nothing, CATALOGUE)}
    assert chosen["EASE"] == "λ = 300"


def test_a_sample_of_users_is_always_the_same(interactions: Interactions) -> None:
    histories = Histories.from_interactions(interactions, CATALOGUE)
    drawn = sample_users(histories, 50)
    assert len(set(drawn.users)) == 50
    assert (np.diff(drawn.users) > 0).all()
    assert drawn.users.max() > 100
    for user, start, stop in zip(drawn.users, drawn.offsets, drawn.offsets[1:], strict=False):
        row = int(np.searchsorted(histories.users, user))
        assert drawn.games[start:stop].tolist() == histories.games[slice(*histories.offsets[row : row + 2])].tolist()
    assert (sample_users(histories, 50).users == drawn.users).all()
    assert sample_users(histories, USERS) is histories
