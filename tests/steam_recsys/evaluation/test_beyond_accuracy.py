import doctest
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.evaluation import beyond_accuracy
from steam_recsys.evaluation.beyond_accuracy import Coverage, Gini, Novelty

GAMES = 12

lists = st.lists(
    st.lists(st.integers(0, GAMES - 1), unique=True, max_size=6).map(lambda games: games + [-1] * (6 - len(games))),
    min_size=1,
    max_size=8,
)
places = st.integers(1, 8)


@given(lists, places)
def test_coverage_is_the_share_of_games_in_anybodys_list(ranked: list[list[int]], k: int) -> None:
    shown = {game for row in ranked for game in row[:k]} - {-1}
    assert Coverage(k).of(np.array(ranked, np.int32), GAMES) == pytest.approx(len(shown) / GAMES)


@given(lists, places)
def test_gini_is_half_the_mean_difference_between_two_games_over_their_mean(ranked: list[list[int]], k: int) -> None:
    """The definition: over all pairs of different games."""
    shown = Counter(game for row in ranked for game in row[:k] if game >= 0)
    times = [shown[game] for game in range(GAMES)]
    pairs = sum(abs(one - other) for one in times for other in times) / (GAMES * (GAMES - 1))
    expected = pairs / (2 * sum(times) / GAMES) if sum(times) else 0
    assert Gini(k).of(np.array(ranked, np.int32), GAMES) == pytest.approx(expected)


@given(lists, places, st.lists(st.integers(0, 9), min_size=GAMES, max_size=GAMES))
def test_novelty_is_the_mean_information_of_the_games_shown(
    ranked: list[list[int]], k: int, popularity: list[int]
) -> None:
    total = max(1, sum(popularity))
    expected = []
    for row in ranked:
        bits = [-math.log2(max(1, popularity[game]) / total) for game in row[:k] if game >= 0]
        expected.append(sum(bits) / len(bits) if bits else 0)
    found = Novelty(k).per_user(np.array(ranked, np.int32), np.array(popularity, np.float64))
    assert found == pytest.approx(expected)


def test_a_catalogue_of_one_game_or_none_and_lists_of_nothing_have_figures() -> None:
    one, nothing = np.zeros((3, 2), np.int32), np.full((3, 2), -1, np.int32)
    assert (Coverage(2).of(one, 1), Gini(2).of(one, 1)) == (1, 0)
    assert (Coverage(2).of(nothing, 5), Gini(2).of(nothing, 5)) == (0, 0)
    assert (Coverage(2).of(nothing, 0), Gini(2).of(nothing, 0)) == (0, 0)
    assert Novelty(2).per_user(nothing, np.ones(5)).tolist() == [0, 0, 0]
    assert Novelty(2).per_user(nothing, np.zeros(0)).tolist() == [0, 0, 0]


def test_the_rarer_a_game_the_newer_it_is() -> None:
    popular, rare = Novelty(1).per_user(np.array([[0], [1]], np.int32), np.array([63.0, 1.0]))
    assert (popular, rare) == (pytest.approx(0.0227, abs=1e-4), 6)


def test_the_inputs_are_not_changed() -> None:
    ranked, popularity = np.array([[2, 0, -1]], np.int32), np.array([0.0, 3.0, 1.0])
    for metric in (Coverage(3), Gini(3)):
        metric.of(ranked, 3)
    Novelty(3).per_user(ranked, popularity)
    assert ranked.tolist() == [[2, 0, -1]]
    assert popularity.tolist() == [0, 3, 1]


def test_they_are_named_after_their_places() -> None:
    assert [metric.name for metric in (Coverage(20), Gini(20), Novelty(20))] == [
        "coverage_at_20", "gini_at_20", "novelty_at_20",
    ]  # fmt: skip


def test_the_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(beyond_accuracy).failed == 0
