"""How long bars are."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.strengths import LEAST, odds, strengths
from explorer.views import Recommended


def games(*scored: tuple[float, str]) -> list[Recommended]:
    return [Recommended(rank, rank, f"Game {rank}", *each) for rank, each in enumerate(scored, start=1)]


def test_a_models_scores_compare_as_odds_and_popularity_as_it_is() -> None:
    own = games((-3.0, "because you played X"), (-3.0 + math.log(0.25), "because you played Y"))
    assert strengths(own, {1, 2}) == odds(own) == {1: pytest.approx(100), 2: pytest.approx(25)}
    assert strengths(games((480.0, "popular now"), (120.0, "popular now")), set()) == {1: 100, 2: pytest.approx(25)}
    assert strengths(games((-3.0, "because you played X"), (480.0, "popular now")), {1}) == {1: 100, 2: 100}


def test_games_of_a_users_own_that_are_popular_have_a_models_scores_too() -> None:
    own = games((3.0, "popular now"), (3.0 + math.log(0.5), "because you played X"), (480.0, "popular now"))
    assert strengths(own, {1, 2}) == {1: 100, 2: pytest.approx(50), 3: 100}


@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.sampled_from(["because you played X", "popular now"]))))
def test_any_scores_have_a_bar_that_can_be_seen_and_fits(scored: list[tuple[float, str]]) -> None:
    for lengths in (strengths(games(*scored), {1, 2, 5}), odds(games(*scored))):
        assert lengths.keys() == {game.game_id for game in games(*scored)}
        assert all(LEAST <= length <= 100 for length in lengths.values())
