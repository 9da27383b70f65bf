import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from steam_recsys.model import item_item as module
from steam_recsys.model.item_item import ItemItemWeights

GAMES = 7
WEIGHTS = arrays(np.float32, (GAMES, GAMES), elements=st.floats(-1, 1, width=16))


def dense(links: ItemItemWeights) -> np.ndarray:
    """The same links as a matrix."""
    n_games = len(links.offsets) - 1
    matrix = np.zeros((n_games, n_games), dtype=np.float32)
    for row in range(n_games):
        for place in range(links.offsets[row], links.offsets[row + 1]):
            matrix[row, links.games[place]] = links.weights[place]
    return matrix


@given(WEIGHTS, st.integers(1, GAMES))
def test_the_strongest_of_each_row_are_kept(weights: np.ndarray, kept: int) -> None:
    found = dense(ItemItemWeights.strongest(weights, kept))
    assert ((found == weights) | (found == 0)).all()
    amounts = -np.sort(-np.abs(weights), axis=1)[:, :kept]
    assert np.array_equal(-np.sort(-np.abs(found), axis=1)[:, :kept], amounts)
    assert ((found != 0).sum(axis=1) <= kept).all()


@given(WEIGHTS, st.permutations(range(-1, GAMES)), st.integers(1, GAMES + 1))
def test_links_between_positions_are_those_between_their_rows(weights: np.ndarray, order: list[int], n: int) -> None:
    rows = np.array(order[:n], dtype=np.int32)
    found = dense(ItemItemWeights.strongest(weights, 3).for_positions(rows, n))
    matrix = dense(ItemItemWeights.strongest(weights, 3))
    for source in range(n):
        for target in range(n):
            known = rows[source] >= 0 and rows[target] >= 0
            assert found[source, target] == (matrix[rows[source], rows[target]] if known else 0)


@given(
    WEIGHTS,
    st.lists(st.lists(st.integers(-1, GAMES - 1), unique=True, min_size=3, max_size=3), min_size=1),
    st.lists(st.tuples(st.integers(0, GAMES - 1), st.integers(0))),
    st.sampled_from([2, 4096]),
)
def test_the_weights_from_games_to_the_targets_of_their_rows_are_found(
    weights: np.ndarray, targets: list[list[int]], sources: list[tuple[int, int]], sieve: int
) -> None:
    links = ItemItemWeights.strongest(weights, 4)
    rows = [row % len(targets) for _, row in sources]
    games = np.array([game for game, _ in sources], dtype=np.int32)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "SIEVE", sieve)
        found = links.between(games, np.array(targets, dtype=np.int32), np.array(rows, dtype=np.int64))
    matrix = dense(links)
    for place, (game, row) in enumerate(zip(games, rows, strict=True)):
        assert found[place].tolist() == [0 if to < 0 else matrix[game, to] for to in targets[row]]


def test_links_times_nothing_are_none() -> None:
    links = ItemItemWeights.strongest(np.ones((GAMES, GAMES), dtype=np.float32), 2)
    assert np.array_equal(dense(links.times(0.5)), 0.5 * dense(links))
    assert not len(links.times(0).games)
    assert not dense(ItemItemWeights.none(GAMES)).any()
