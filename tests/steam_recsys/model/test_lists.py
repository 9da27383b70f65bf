import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.data.interactions import UNDATED
from steam_recsys.data.schemas import DISCOVERY, INTERESTS, LISTS, NEW_RELEASES, RELEVANCE
from steam_recsys.model.lists import (
    MIN_LIKES,
    ReviewCounts,
    game_lists,
    head,
    liked_share_bound,
    new_releases,
)
from steam_recsys.model.retrieval import GameList

N_GAMES = 1_000


def counts(likes: list[int] | np.ndarray, reviews: list[int] | np.ndarray) -> ReviewCounts:
    return ReviewCounts(np.array(likes, dtype=np.int64), np.array(reviews, dtype=np.int64))


def lists_of(
    *, available: np.ndarray | None = None, reviews: ReviewCounts | None = None, new: np.ndarray | None = None
) -> dict[str, GameList]:
    """The lists of a catalogue whose first games are the most popular ones."""
    everything = np.ones(N_GAMES, dtype=bool)
    lists = game_lists(
        1.0,
        0.25,
        -np.arange(N_GAMES, dtype=np.float32),
        everything if available is None else available,
        counts(np.full(N_GAMES, 5), np.full(N_GAMES, 5)) if reviews is None else reviews,
        everything if new is None else new,
    )
    return {wanted.name: wanted for wanted in lists}


def test_lists_have_their_lengths_and_popularity_weights() -> None:
    lists = lists_of()
    assert tuple(lists) == LISTS
    assert [wanted.length for wanted in lists.values()] == [50, 200, 30, 30]
    assert [wanted.popularity_weight for wanted in lists.values()] == [1.0, 0.25, 0.25, 1.0]


@pytest.mark.parametrize(("n_games", "length"), [(900, 200), (800, 200), (400, 100), (100, 50), (1, 50)])
def test_interests_take_at_most_a_quarter_of_the_supported_games_but_as_many_as_relevance(
    n_games: int, length: int
) -> None:
    lists = lists_of(available=np.arange(N_GAMES) < n_games)
    assert lists[INTERESTS].length == length
    assert lists[RELEVANCE].allowed is None


def test_taste_ranks_only_games_with_enough_positive_reviews() -> None:
    likes, reviews = np.full(N_GAMES, 30), np.full(N_GAMES, 40)
    likes[[100, 101]], reviews[[100, 101]] = MIN_LIKES - 1, MIN_LIKES - 1
    likes[102], reviews[102] = 20, 40  # disliked by half of the players
    lists = lists_of(reviews=counts(likes, reviews))
    assert not lists[INTERESTS].allowed[[100, 101]].any()
    assert lists[INTERESTS].allowed[102]
    assert not lists[DISCOVERY].allowed[[100, 101, 102]].any()
    assert lists[DISCOVERY].allowed[103]


def test_discovery_leaves_out_the_most_popular_games() -> None:
    allowed = lists_of()[DISCOVERY].allowed
    assert not allowed[:50].any()
    assert allowed[50:].all()
    assert lists_of(available=np.arange(N_GAMES) % 2 == 1)[DISCOVERY].allowed.sum() == 450


def test_new_releases_are_only_available_ones() -> None:
    new, available = np.arange(N_GAMES) >= 990, np.arange(N_GAMES) % 2 == 0
    assert np.flatnonzero(lists_of(available=available, new=new)[NEW_RELEASES].allowed).tolist() == [
        *range(990, 1000, 2)
    ]


def test_list_that_no_game_may_be_on_is_left_out() -> None:
    nothing = np.zeros(N_GAMES, dtype=np.int64)
    assert list(lists_of(reviews=counts(nothing, nothing), new=nothing.astype(bool))) == [RELEVANCE]
    assert list(lists_of(available=nothing.astype(bool))) == [RELEVANCE]


def test_head_is_at_most_a_fifth_of_the_available_games() -> None:
    prior = np.arange(100, dtype=np.float32)
    assert np.flatnonzero(head(prior, np.ones(100, bool))).tolist() == list(range(80, 100))
    assert np.flatnonzero(head(prior, prior < 10)).tolist() == [8, 9]
    assert not head(prior[:4], np.ones(4, bool)).any()


def test_head_of_equally_popular_games_is_in_catalogue_order() -> None:
    assert np.flatnonzero(head(np.zeros(10, np.float32), np.ones(10, bool))).tolist() == [0, 1]


def test_new_release_came_out_within_the_days_up_to_the_publication() -> None:
    released = np.array([100, 101, 110, 111, UNDATED], dtype=np.int32)
    assert new_releases(released, 110, 10).tolist() == [False, True, True, False, False]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=20))
def test_liked_share_bound_is_below_the_share_and_grows_with_the_reviews(games: list[tuple[int, int]]) -> None:
    likes = np.array([likes for likes, _ in games], dtype=np.int64)
    reviews = likes + np.array([dislikes for _, dislikes in games], dtype=np.int64)
    bound, more = liked_share_bound(counts(likes, reviews)), liked_share_bound(counts(10 * likes, 10 * reviews))
    assert (bound >= -1e-12).all()
    assert (bound <= likes / np.maximum(reviews, 1) + 1e-12).all()
    assert (more >= bound - 1e-12).all()
    assert not bound[reviews == 0].any()


def test_liked_share_bound_is_the_lower_end_of_wilsons_interval() -> None:
    assert liked_share_bound(counts([0, 8, 80, 800], [0, 10, 100, 1000])) == pytest.approx(
        [0, 0.4902, 0.7112, 0.7741], abs=1e-4
    )
