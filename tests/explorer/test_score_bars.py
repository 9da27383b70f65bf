"""Lengths of score bars."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.pages import SHORTEST, model_score_bars, published_score_bars
from explorer.schemas import RecommendedGame


def games(*scored: tuple[float, str]) -> list[RecommendedGame]:
    return [RecommendedGame(rank, rank, f"Game {rank}", *each) for rank, each in enumerate(scored, start=1)]


def test_model_scores_compare_as_odds_and_popularity_by_quotient() -> None:
    own = games((-3.0, "because you played X"), (-3.0 + math.log(0.25), "because you played Y"))
    assert published_score_bars(own, {1, 2}) == model_score_bars(own) == {1: pytest.approx(100), 2: pytest.approx(25)}
    assert published_score_bars(games((480.0, "popular now"), (120.0, "popular now")), set()) == {
        1: 100,
        2: pytest.approx(25),
    }
    assert published_score_bars(games((-3.0, "because you played X"), (480.0, "popular now")), {1}) == {1: 100, 2: 100}


def test_popular_games_that_the_model_recommends_have_model_scores() -> None:
    own = games((3.0, "popular now"), (3.0 + math.log(0.5), "because you played X"), (480.0, "popular now"))
    assert published_score_bars(own, {1, 2}) == {1: 100, 2: pytest.approx(50), 3: 100}


@given(st.lists(st.tuples(st.floats(-1e4, 1e4), st.sampled_from(["because you played X", "popular now"]))))
def test_every_bar_is_visible_and_fits(scored: list[tuple[float, str]]) -> None:
    for lengths in (published_score_bars(games(*scored), {1, 2, 5}), model_score_bars(games(*scored))):
        assert lengths.keys() == {game.game_id for game in games(*scored)}
        assert all(SHORTEST <= length <= 100 for length in lengths.values())
