"""Every baseline against one contract, on a checkerboard whose right answer is known."""

import numpy as np
import pytest

from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import Interactions
from steam_recsys.evaluation.baselines import Baseline, tuned_baselines
from steam_recsys.evaluation.ease import MAX_GAMES
from steam_recsys.evaluation.linear_baselines import linear_baselines, sampled
from steam_recsys.evaluation.splits import Split, by_time

USERS, GAMES = 300, 20
CATALOGUE = np.arange(1, GAMES + 1, dtype=np.int32)
PERSONAL = {"item-kNN", "iALS", "EASE"}


@pytest.fixture(scope="module")
def interactions() -> Interactions:
    """Even users take up even games, odd users odd ones, a game a day."""
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
    made = tuned_baselines(interactions, 107, by_time(interactions, 105), CATALOGUE)
    return {baseline.name: baseline for baseline in made}


def test_each_is_there_once_with_one_setting(baselines: dict[str, Baseline]) -> None:
    assert set(baselines) == {"popularity", "recent popularity", "tuned recent popularity", *PERSONAL}
    assert all(baseline.settings for name, baseline in baselines.items() if name != "popularity")


@pytest.mark.parametrize("name", sorted(PERSONAL))
def test_a_personal_one_finds_the_games_of_a_users_colour(name: str, baselines: dict[str, Baseline]) -> None:
    history = Histories.from_games([0, 2, 4], [1, 3, 5])
    ranked = baselines[name].ranker.rank(history, 7)
    assert set(ranked[0].tolist()) == {6, 8, 10, 12, 14, 16, 18}
    assert set(ranked[1].tolist()) == {7, 9, 11, 13, 15, 17, 19}


@pytest.mark.parametrize("name", ["popularity", "recent popularity", "tuned recent popularity", *sorted(PERSONAL)])
def test_the_history_is_never_ranked_and_places_stay_empty(name: str, baselines: dict[str, Baseline]) -> None:
    history = Histories.from_games([game for game in range(GAMES) if game not in (7, 9)], [])
    before = history.games.copy()
    ranked = baselines[name].ranker.rank(history, 3)
    assert sorted(ranked[0].tolist()) == [-1, 7, 9]
    assert (ranked[1] >= 0).all()
    assert np.array_equal(history.games, before)


def test_recent_popularity_has_no_place_where_time_plays_no_part(interactions: Interactions) -> None:
    split = by_time(interactions, 105)
    made = tuned_baselines(interactions, None, Split(split.past, split.future, None), CATALOGUE)
    assert {baseline.name for baseline in made} == {"popularity", *PERSONAL}


def test_only_ease_is_left_out_where_the_catalogues_square_does_not_fit_the_memory(interactions: Interactions) -> None:
    large = np.arange(1, MAX_GAMES + 2, dtype=np.int32)
    made = {
        baseline.name: baseline for baseline in tuned_baselines(interactions, 107, by_time(interactions, 105), large)
    }
    assert set(made) == {"popularity", "recent popularity", "tuned recent popularity", *PERSONAL} - {"EASE"}
    ranked = made["item-kNN"].ranker.rank(Histories.from_games([0, 2, 4]), 7)
    assert set(ranked[0].tolist()) == {6, 8, 10, 12, 14, 16, 18}


def test_item_knn_adds_up_the_similarities_of_the_games_that_are_among_a_candidates_nearest() -> None:
    """Of three games, two users have the first two, one of them the third as well, and a third user that alone."""
    histories = Histories.from_games([0, 1], [0, 1, 2], [2])
    ranker = next(made.fit() for made in linear_baselines(histories, 4) if made.name == "item-kNN")
    assert ranker.weights.toarray() == pytest.approx(
        np.array([[0, 1, 0.5, 0], [1, 0, 0.5, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 0]])
    )
    assert ranker.rank(Histories.from_games([0], [2], []), 3).tolist() == [[1, 2, 3], [0, 1, 3], [0, 1, 2]]


def test_settings_are_the_first_ones_where_nothing_can_be_asked(interactions: Interactions) -> None:
    nothing = Split(interactions, interactions.take(np.zeros(len(interactions), bool)), 107)
    settings = {baseline.name: baseline.settings for baseline in tuned_baselines(interactions, 107, nothing, CATALOGUE)}
    assert settings["EASE"] == "λ = 300"


def test_of_many_users_some_are_drawn_and_always_the_same(interactions: Interactions) -> None:
    histories = Histories.from_interactions(interactions, CATALOGUE)
    drawn = sampled(histories, 50)
    assert len(set(drawn.users)) == 50
    assert (np.diff(drawn.users) > 0).all()
    assert drawn.users.max() > 100
    for user, start, stop in zip(drawn.users, drawn.offsets, drawn.offsets[1:], strict=False):
        row = int(np.searchsorted(histories.users, user))
        assert drawn.games[start:stop].tolist() == histories.games[slice(*histories.offsets[row : row + 2])].tolist()
    assert (sampled(histories, 50).users == drawn.users).all()
    assert sampled(histories, USERS) is histories
