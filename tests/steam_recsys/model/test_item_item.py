from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from steam_recsys.arrays import offsets_from_lengths
from steam_recsys.data.histories import Histories
from steam_recsys.model import item_item as module
from steam_recsys.model.item_item import RECENT_GAMES, ItemItemWeights, NextGames

GAMES = 7
WEIGHTS = arrays(np.float32, (GAMES, GAMES), elements=st.floats(-1, 1, width=16))


def dense(item_item: ItemItemWeights) -> np.ndarray:
    """The weights as a dense matrix."""
    n_games = len(item_item.offsets) - 1
    matrix = np.zeros((n_games, n_games), dtype=np.float32)
    for row in range(n_games):
        for entry in range(item_item.offsets[row], item_item.offsets[row + 1]):
            matrix[row, item_item.games[entry]] = item_item.weights[entry]
    return matrix


@given(WEIGHTS, st.integers(1, GAMES))
def test_largest_weights_of_each_row_are_kept(weights: np.ndarray, kept: int) -> None:
    found = dense(ItemItemWeights.from_matrix(weights, kept))
    assert ((found == weights) | (found == 0)).all()
    amounts = -np.sort(-np.abs(weights), axis=1)[:, :kept]
    assert np.array_equal(-np.sort(-np.abs(found), axis=1)[:, :kept], amounts)
    assert ((found != 0).sum(axis=1) <= kept).all()


@given(
    st.lists(st.lists(st.sampled_from([-2.0, -1.0, 1.0, 2.0]), max_size=GAMES), min_size=1, max_size=GAMES),
    st.integers(1, GAMES),
    st.sampled_from([1, 1 << 22]),
)
def test_of_equally_large_weights_the_first_are_kept(rows: list[list[float]], per_game: int, block: int) -> None:
    sizes = [len(row) for row in rows]
    games = np.array([game for size in sizes for game in range(size)], dtype=np.int32)
    weights = np.array([weight for row in rows for weight in row], dtype=np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK_WEIGHTS", block)
        found = ItemItemWeights(offsets_from_lengths(np.array(sizes)), games, weights).largest(per_game)
    kept = [sorted(sorted(range(len(row)), key=lambda game: (-abs(row[game]), game))[:per_game]) for row in rows]
    assert found.offsets.tolist() == offsets_from_lengths(np.array([len(row) for row in kept])).tolist()
    assert found.games.tolist() == [game for row in kept for game in row]
    assert found.weights.tolist() == [row[game] for row, of in zip(rows, kept, strict=True) for game in of]


def test_the_weights_kept_do_not_depend_on_the_number_of_rows_sorted_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = np.random.default_rng(0).standard_normal((GAMES, GAMES)).astype(np.float32)
    expected = dense(ItemItemWeights.from_matrix(weights, 3))
    monkeypatch.setattr(module, "BLOCK_WEIGHTS", 2 * GAMES)
    assert np.array_equal(dense(ItemItemWeights.from_matrix(weights, 3)), expected)


def test_a_matrix_without_games_has_no_weights() -> None:
    assert len(ItemItemWeights.from_matrix(np.zeros((0, 0), dtype=np.float32), 3).games) == 0


@given(WEIGHTS, st.permutations(range(-1, GAMES)), st.integers(1, GAMES + 1))
def test_reindexed_weights_equal_those_of_their_rows(weights: np.ndarray, order: list[int], n: int) -> None:
    rows = np.array(order[:n], dtype=np.int32)
    found = dense(ItemItemWeights.from_matrix(weights, 3).reindex(rows))
    matrix = dense(ItemItemWeights.from_matrix(weights, 3))
    for source in range(n):
        for target in range(n):
            known = rows[source] >= 0 and rows[target] >= 0
            assert found[source, target] == (matrix[rows[source], rows[target]] if known else 0)


@given(
    WEIGHTS,
    st.lists(st.lists(st.integers(-1, GAMES - 1), min_size=3, max_size=3), min_size=1),
    st.lists(st.tuples(st.integers(0, GAMES - 1), st.integers(0))),
    st.sampled_from([2, 4096]),
)
def test_weights_are_selected_by_sources_and_targets(
    weights: np.ndarray, targets: list[list[int]], sources: list[tuple[int, int]], sieve: int
) -> None:
    item_item = ItemItemWeights.from_matrix(weights, 4)
    rows = [row % len(targets) for _, row in sources]
    games = np.array([game for game, _ in sources], dtype=np.int32)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "HASH_BUCKETS", sieve)
        found = item_item.between(games, np.array(targets, dtype=np.int32), np.array(rows, dtype=np.int64))
    matrix = dense(item_item)
    for source, (game, row) in enumerate(zip(games, rows, strict=True)):
        assert found[source].tolist() == [0 if to < 0 else matrix[game, to] for to in targets[row]]


def test_scaling_by_zero_leaves_no_weights() -> None:
    item_item = ItemItemWeights.from_matrix(np.ones((GAMES, GAMES), dtype=np.float32), 2)
    assert np.array_equal(dense(item_item.scaled(0.5)), 0.5 * dense(item_item))
    assert not len(item_item.scaled(0).games)
    assert not dense(ItemItemWeights.empty(GAMES)).any()


@given(st.lists(WEIGHTS, max_size=3))
def test_stacked_tables_have_all_rows(matrices: list[np.ndarray]) -> None:
    found = ItemItemWeights.stacked([ItemItemWeights.from_matrix(matrix, GAMES) for matrix in matrices])
    rows = np.repeat(np.arange(len(found.offsets) - 1), np.diff(found.offsets))
    together = np.zeros((len(matrices) * GAMES, GAMES), dtype=np.float32)
    together[rows, found.games] = found.weights
    assert np.array_equal(together, np.concatenate([np.zeros((0, GAMES), np.float32), *matrices]))


def test_only_the_newest_games_have_weights_for_the_next_one_and_disliked_ones_are_negative() -> None:
    history = Histories.from_games(list(range(RECENT_GAMES + 2)), [], [1, 0])
    history = replace(history, recommended=np.arange(len(history.games)) != RECENT_GAMES)
    weights = NextGames(ItemItemWeights.empty(GAMES), 1.0).weigh(history, -0.5)
    first = [0.0, 0.0, *(1 / (1 + age) for age in range(RECENT_GAMES - 1, -1, -1))]
    first[RECENT_GAMES] *= -0.5
    assert weights == pytest.approx([*first, 0.5, 1.0])
