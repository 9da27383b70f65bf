import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from components.predict.links import Links

GAMES = 7
WEIGHTS = arrays(np.float32, (GAMES, GAMES), elements=st.floats(-1, 1, width=16))


def dense(links: Links) -> np.ndarray:
    """The same links as a matrix."""
    n_games = len(links.offsets) - 1
    matrix = np.zeros((n_games, n_games), dtype=np.float32)
    for row in range(n_games):
        for place in range(links.offsets[row], links.offsets[row + 1]):
            matrix[row, links.games[place]] = links.weights[place]
    return matrix


@given(WEIGHTS, st.integers(1, GAMES))
def test_the_strongest_of_each_row_are_kept(weights: np.ndarray, kept: int) -> None:
    found = dense(Links.strongest(weights, kept))
    assert ((found == weights) | (found == 0)).all()
    amounts = -np.sort(-np.abs(weights), axis=1)[:, :kept]
    assert np.array_equal(-np.sort(-np.abs(found), axis=1)[:, :kept], amounts)
    assert ((found != 0).sum(axis=1) <= kept).all()


@given(WEIGHTS, st.permutations(range(-1, GAMES)), st.integers(1, GAMES + 1))
def test_links_between_positions_are_those_between_their_rows(weights: np.ndarray, order: list[int], n: int) -> None:
    rows = np.array(order[:n], dtype=np.int32)
    found = dense(Links.strongest(weights, 3).for_positions(rows, n))
    matrix = dense(Links.strongest(weights, 3))
    for source in range(n):
        for target in range(n):
            known = rows[source] >= 0 and rows[target] >= 0
            assert found[source, target] == (matrix[rows[source], rows[target]] if known else 0)


@given(WEIGHTS, st.lists(st.integers(0, GAMES - 1)), st.lists(st.integers(0, GAMES - 1), unique=True))
def test_the_weight_between_two_games_is_found(weights: np.ndarray, sources: list[int], targets: list[int]) -> None:
    links = Links.strongest(weights, 4)
    found = links.between(np.array(sources, dtype=np.int32), np.array(targets, dtype=np.int32))
    assert np.array_equal(found, dense(links)[sources][:, targets])


def test_links_times_nothing_are_none() -> None:
    links = Links.strongest(np.ones((GAMES, GAMES), dtype=np.float32), 2)
    assert np.array_equal(dense(links.times(0.5)), 0.5 * dense(links))
    assert not len(links.times(0).games)
    assert not dense(Links.none(GAMES)).any()
