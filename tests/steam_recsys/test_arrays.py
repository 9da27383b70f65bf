import doctest

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys import arrays
from steam_recsys.arrays import contains

IDS = st.lists(st.integers(-20, 20), max_size=30)


@given(IDS, IDS)
def test_membership_by_binary_search_is_that_of_numpy(ascending: list[int], values: list[int]) -> None:
    known, wanted = np.array(sorted(ascending), np.int64), np.array(values, np.int64)
    assert np.array_equal(contains(known, wanted), np.isin(wanted, known))


def test_doctests() -> None:
    assert doctest.testmod(arrays).failed == 0
