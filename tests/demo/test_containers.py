import pytest

from demo.containers import Comparison, compare

ONE = {1: ([7, 8], [0.5, 0.25]), 2: ([9], [1.0])}


def test_equal_recommendations_are_the_same():
    assert compare(ONE, ONE) == Comparison(users=2, differing=0, largest_difference=0.0)
    assert compare(ONE, ONE).same


@pytest.mark.parametrize(
    "other",
    [
        {1: ([8, 7], [0.5, 0.25]), 2: ([9], [1.0])},
        {1: ([7], [0.5]), 2: ([9], [1.0])},
        {1: ([7, 8], [0.5, 0.25])},
        {**ONE, 3: ([7], [0.5])},
        {1: ([7, 8], [0.5, 0.2498]), 2: ([9], [1.0])},
    ],
)
def test_another_order_game_user_or_score_is_not_the_same(other):
    assert not compare(ONE, other).same
    assert not compare(other, ONE).same


def test_nothing_is_not_the_same_as_nothing():
    assert not compare({}, {}).same


def test_a_score_may_differ_by_a_rounding():
    assert compare(ONE, {1: ([7, 8], [0.50001, 0.25]), 2: ([9], [1.0])}).same
