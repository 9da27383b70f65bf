from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.data.histories import Histories
from steam_recsys.model.history_weights import DEFAULT_HISTORY_WEIGHTS, HistoryWeights

REVIEW = st.tuples(st.booleans(), st.one_of(st.just(float("nan")), st.floats(0, 5_000, width=32)))
USERS = st.lists(st.lists(REVIEW, max_size=6), max_size=5)
WEIGHTS = st.builds(
    HistoryWeights,
    disliked=st.sampled_from([-0.25, -0.5, -1.0]),
    hours=st.sampled_from([0.0, 0.1, 0.4]),
    recency=st.sampled_from([0.0, 0.25, 2.0]),
)


def histories(users: list[list[tuple[bool, float]]]) -> Histories:
    """Histories with the given verdicts and hours; the games are irrelevant."""
    reviews = [review for user in users for review in user]
    offsets = np.cumsum([0, *(len(user) for user in users)]).astype(np.int64)
    return Histories(
        np.arange(len(users)), offsets, np.zeros(len(reviews), np.int32),
        np.array([recommended for recommended, _ in reviews], bool),
        np.array([hours for _, hours in reviews], np.float32),
    )  # fmt: skip


def naive(user: list[tuple[bool, float]], weights: HistoryWeights) -> list[float]:
    found = []
    for index, (recommended, hours) in enumerate(user):
        later = len(user) - 1 - index
        weight = 1.0 if recommended else weights.disliked
        if not np.isnan(hours):
            weight *= ((1 + hours) / 21) ** weights.hours
        found.append(weight / (1 + later) ** weights.recency)
    mean = sum(abs(weight) for weight in found) / len(found)
    return [weight / mean if mean else 0.0 for weight in found]


@given(USERS, WEIGHTS)
def test_weights_follow_the_formula(users: list[list[tuple[bool, float]]], weights: HistoryWeights) -> None:
    history = histories(users)
    arrays = [getattr(history, field.name) for field in fields(history)]
    before = [array.copy() for array in arrays]
    found = weights.weigh(history)
    assert found.dtype == np.float32
    expected = [weight for user in users if user for weight in naive(user, weights)]
    assert found == pytest.approx(np.array(expected, np.float32), rel=1e-4, abs=1e-6)
    for was, now in zip(before, arrays, strict=True):
        assert np.array_equal(was, now, equal_nan=was.dtype == np.float32)


@given(USERS)
def test_by_default_all_liked_games_count_the_same_and_disliked_ones_half_as_much_against(
    users: list[list[tuple[bool, float]]],
) -> None:
    history = histories(users)
    found = DEFAULT_HISTORY_WEIGHTS.weigh(history)
    for owner in range(len(users)):
        own = found[history.owners == owner]
        liked = history.recommended[history.owners == owner]
        assert np.unique(np.where(liked, own, -2 * own).round(5)).size <= 1


@given(USERS, WEIGHTS)
def test_disliked_game_never_counts_for_games_like_it(
    users: list[list[tuple[bool, float]]], weights: HistoryWeights
) -> None:
    history = histories(users)
    assert (weights.weigh(history)[~history.recommended] < 0).all()


def test_latest_review_and_most_played_game_weigh_most() -> None:
    weights = HistoryWeights(recency=1.0).weigh(histories([[(True, 1.0)] * 3, [(True, 1.0)]]))
    assert weights[3] == 1
    assert weights[:3] == pytest.approx(np.array([1 / 3, 1 / 2, 1]) * 18 / 11)
    assert (
        np.diff(HistoryWeights(hours=0.2).weigh(histories([[(True, 0.0), (True, float("nan")), (True, 90.0)]]))) > 0
    ).all()


@pytest.mark.parametrize(("disliked", "expected"), [(-1.0, [1, -1]), (-0.5, [4 / 3, -2 / 3])])
def test_disliked_game_has_the_configured_weight(disliked: float, expected: list[float]) -> None:
    found = HistoryWeights(disliked=disliked).weigh(histories([[(True, 1.0), (False, 1.0)]]))
    assert found == pytest.approx(np.array(expected))


@pytest.mark.parametrize("disliked", [-0.25, -0.5, -2.0])
def test_history_of_one_disliked_game_has_the_weight_minus_one(disliked: float) -> None:
    found = HistoryWeights(disliked=disliked, hours=0.2, recency=1.0).weigh(histories([[(False, 20.0)]]))
    assert found.tolist() == [-1]


@pytest.mark.parametrize("hours", [-1.0, -50.0, 1e9, float("inf"), float("-inf")])
def test_impossible_hours_count_as_unknown(hours: float) -> None:
    weights = HistoryWeights(hours=0.4)
    impossible, unknown = (weights.weigh(histories([[(True, 5.0), (True, value)]])) for value in (hours, float("nan")))
    assert np.array_equal(impossible, unknown)
