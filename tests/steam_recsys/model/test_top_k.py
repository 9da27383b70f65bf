import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from steam_recsys.model.top_k import BLOCK, top_k

# Few different values, so that ties are everywhere; several blocks of columns.
tied_scores = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 10 * BLOCK)),
    elements=st.sampled_from([-np.inf, -2.5, -1.0, -0.0, 0.0, 1e-6, 3.0]).map(np.float32),
)


@settings(max_examples=40, deadline=None)
@given(tied_scores, st.integers(1, 7))
def test_the_best_come_first_and_ties_in_the_order_of_the_columns(scores: np.ndarray, k: int) -> None:
    before = scores.copy()
    columns, values = top_k(scores, k)
    for row, found, found_values in zip(scores, columns, values, strict=True):
        finite = [column for column in np.argsort(-row, kind="stable") if np.isfinite(row[column])][:k]
        assert found.tolist() == [*finite, *[-1] * (k - len(finite))]
        assert found_values.tolist() == [*row[finite], *[-np.inf] * (k - len(finite))]
    assert np.array_equal(scores, before)


def test_more_places_than_columns_stay_empty() -> None:
    columns, values = top_k(np.array([[1, 2]], dtype=np.float32), 4)
    assert columns.tolist() == [[1, 0, -1, -1]]
    assert values.tolist() == [[2, 1, -np.inf, -np.inf]]


def test_nothing_to_rank_gives_empty_places() -> None:
    assert top_k(np.zeros((2, 0), dtype=np.float32), 3)[0].tolist() == [[-1] * 3] * 2
    assert top_k(np.zeros((0, 5), dtype=np.float32), 3)[0].shape == (0, 3)


def test_the_best_of_many_different_scores_are_found() -> None:
    scores = np.random.default_rng(0).permutation(np.arange(100 * BLOCK + 7, dtype=np.float32)).reshape(1, -1)
    for k in (1, 50, 99, 100, 101, scores.size):
        assert top_k(scores, k)[0].tolist() == np.argsort(-scores)[:, :k].tolist()
