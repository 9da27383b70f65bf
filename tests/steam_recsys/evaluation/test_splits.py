import numpy as np
import pytest

from steam_recsys.data.interactions import UNDATED, Interactions
from steam_recsys.evaluation.splits import at_random, by_time, last_out


@pytest.fixture
def interactions() -> Interactions:
    """Three users; the second has two interactions on one day, the third one without a date."""
    users = np.array([1, 1, 1, 2, 2, 2, 3, 3])
    days = np.array([5, 9, 7, 4, 8, 8, UNDATED, 6], dtype=np.int32)
    games = np.arange(8, dtype=np.int32)
    return Interactions(users, games, days, np.ones(8, bool), np.zeros(8, np.float32))


def test_a_split_by_time_divides_dated_interactions(interactions: Interactions) -> None:
    split = by_time(interactions, 7)
    assert (split.past.games.tolist(), split.future.games.tolist(), split.as_of) == ([0, 3, 7], [1, 2, 4, 5], 7)


def test_last_out_holds_out_the_latest_interaction_and_the_last_row_of_equals(interactions: Interactions) -> None:
    split = last_out(interactions)
    assert split.future.games.tolist() == [1, 5, 7]
    assert split.past.games.tolist() == [0, 2, 3, 4, 6]
    assert split.as_of is None
    assert not split.past.dated.any()


def test_a_random_split_holds_out_the_share_and_depends_on_the_seed(interactions: Interactions) -> None:
    many = interactions.take(np.repeat(np.arange(8), 1000))
    split = at_random(many, 0.2, np.random.RandomState(42))
    assert len(split.future) / len(many) == pytest.approx(0.2, abs=0.02)
    assert len(split.past) + len(split.future) == len(many)
    again = at_random(many, 0.2, np.random.RandomState(42))
    assert np.array_equal(split.future.games, again.future.games)
    assert not split.future.dated.any()
