"""Each kind of item-item weights, by its definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steam_recsys.data.histories import Histories
from steam_recsys.model import item_item_fits as module
from steam_recsys.model.item_item import RECENT_GAMES, ItemItemWeights
from steam_recsys.model.item_item_fits import (
    NEXT_TARGETS,
    ItemItemData,
    ItemItemKind,
    ItemKNN,
    Regression,
    Transitions,
    cooccurrences,
    dlae,
    ease,
    fit_regressions,
    summed,
    transitions,
)
from tests.steam_recsys.model.test_item_item import WEIGHTS
from tests.steam_recsys.model.test_item_item import dense as dense_weights

GAMES = 12
KINDS = [Regression(0.0, 5.0), Regression(0.33, 5.0), ItemKNN(0.7, 2.0), Transitions(1.0, 5.0)]


@pytest.fixture
def histories() -> Histories:
    random = np.random.default_rng(0)
    games = [random.permutation(GAMES)[: random.integers(0, 6)] for _ in range(50)]
    return Histories.from_games(*games)


def dense(histories: Histories) -> np.ndarray:
    matrix = np.zeros((len(histories), GAMES))
    matrix[np.repeat(np.arange(len(histories)), histories.lengths), histories.games] = 1
    return matrix


@pytest.mark.parametrize("block", [1 << 22, 20])
@pytest.mark.parametrize("largest", [8_000, 0])
def test_cooccurrences_are_the_product_of_the_matrix_with_itself(
    largest: int, block: int, histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EASE_MAX_GAMES", largest)
    monkeypatch.setattr(module, "BLOCK_ENTRIES", block)
    expected = dense(histories).T @ dense(histories)
    assert np.array_equal(cooccurrences(histories, GAMES), expected)
    assert np.array_equal(ItemItemData(histories, GAMES).counts.toarray(), expected)


def test_up_to_the_largest_exact_catalogue_long_histories_are_counted_in_full(
    histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_HISTORY", 2)
    monkeypatch.setattr(module, "MAX_PAIRS", 1)
    data, expected = ItemItemData(histories, GAMES), dense(histories).T @ dense(histories)
    assert np.array_equal(data.dense_counts, expected)
    assert np.array_equal(data.counts.toarray(), expected)


def test_each_column_is_the_ridge_regression_of_a_game_on_the_others(histories: Histories) -> None:
    """The definition: the least squares of each column under a zero diagonal, solved game by game."""
    counts = cooccurrences(histories, GAMES)
    before = counts.copy()
    matrix, weights = dense(histories), ease(counts, 5.0)
    assert np.array_equal(counts, before)
    for game in range(GAMES):
        others = np.arange(GAMES) != game
        x, y = matrix[:, others], matrix[:, game]
        expected = np.linalg.solve(x.T @ x + 5.0 * np.eye(GAMES - 1), x.T @ y)
        assert weights[others, game] == pytest.approx(expected, abs=1e-5)
        assert weights[game, game] == 0


def test_dlae_is_a_ridge_regression_on_all_games_that_penalises_frequent_games_more(histories: Histories) -> None:
    matrix, dropout = dense(histories), 0.33
    gram = matrix.T @ matrix
    penalties = np.diag(dropout / (1 - dropout) * np.diag(gram) + 5.0)
    expected = np.linalg.solve(gram + penalties, gram)
    np.fill_diagonal(expected, 0)
    assert dlae(cooccurrences(histories, GAMES), dropout, 5.0) == pytest.approx(expected, abs=1e-5)


def test_a_matrix_that_is_not_positive_definite_is_an_error() -> None:
    with pytest.raises(ValueError, match="3 games cannot be inverted: it is not positive definite"):
        module.inverse(-np.eye(3, dtype=np.float32))


def test_neighbours_have_the_asymmetric_cosine_with_shrinkage() -> None:
    """Game 0 has three users, game 1 two and game 2 one."""
    data = ItemItemData(Histories.from_games([0, 1], [0, 1], [0, 2]), 3)
    found = dense_weights(ItemKNN(exponent=0.75, shrinkage=2.0).fit(data, 2))
    zero_one, one_zero = 2 / (3**0.25 * 2**0.75 + 2), 2 / (2**0.25 * 3**0.75 + 2)
    assert found == pytest.approx(
        np.array([[0, zero_one, 1 / (3**0.25 + 2)], [one_zero, 0, 0], [1 / (3**0.75 + 2), 0, 0]]), rel=1e-6
    )


def naive_transitions(games: list[list[int]], recency: float) -> tuple[np.ndarray, np.ndarray]:
    gram, following = np.zeros((GAMES, GAMES)), np.zeros((GAMES, GAMES))
    for history in games:
        for point in range(len(history)):
            recent, after = np.zeros(GAMES), np.zeros(GAMES)
            for age, game in enumerate(reversed(history[max(0, point - RECENT_GAMES) : point])):
                recent[game] += (1 + age) ** -recency
            for game in history[point : point + NEXT_TARGETS]:
                after[game] = 1
            gram += np.outer(recent, recent)
            following += np.outer(recent, after)
    return gram, following


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.permutations(range(GAMES)).flatmap(lambda p: st.integers(0, GAMES).map(lambda n: p[:n])), max_size=8)
)
def test_transitions_lead_from_recent_games_to_the_next_ones(games: list[list[int]]) -> None:
    found = transitions(Histories.from_games(*games), GAMES, 0.5)
    for matrix, expected in zip(found, naive_transitions(games, 0.5), strict=True):
        assert matrix.toarray() == pytest.approx(expected, abs=1e-4)


def test_transitions_do_not_depend_on_the_number_of_points_handled_at_a_time(
    histories: Histories, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = transitions(histories, GAMES, 0.5)
    monkeypatch.setattr(module, "BLOCK_ENTRIES", 3 * RECENT_GAMES)
    for found, matrix in zip(transitions(histories, GAMES, 0.5), expected, strict=True):
        assert np.array_equal(found.toarray(), matrix.toarray())


def test_transitions_are_directed() -> None:
    weights = dense_weights(Transitions(1.0, 1.0).fit(ItemItemData(Histories.from_games(*([[0, 1]] * 9)), 2), 2))
    assert weights[0, 1] > 0.5
    assert weights[1, 0] == 0


def test_transitions_are_a_ridge_regression(histories: Histories) -> None:
    gram, following = (each.toarray() for each in transitions(histories, GAMES, 1.0))
    expected = np.linalg.solve(gram + 5.0 * np.eye(GAMES), following)
    np.fill_diagonal(expected, 0)
    found = dense_weights(Transitions(1.0, 5.0).fit(ItemItemData(histories, GAMES), GAMES))
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS, ids=repr)
@pytest.mark.parametrize("block", [1 << 22, 20])
def test_a_large_catalogue_gets_the_same_weights_if_the_neighbourhood_is_everything(
    kind: ItemItemKind, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(1)
    data = ItemItemData(Histories.from_games(*(random.permutation(GAMES)[:8] for _ in range(100))), GAMES)
    exact = dense_weights(kind.fit(data, GAMES))
    monkeypatch.setattr(module, "EASE_MAX_GAMES", 0)
    monkeypatch.setattr(module, "BLOCK_ENTRIES", block)
    monkeypatch.setattr(module, "DENSE_GAMES", 5)
    assert dense_weights(kind.fit(data, GAMES)) == pytest.approx(exact, abs=1e-5)


@pytest.fixture
def shop() -> ItemItemData:
    """Every two games have a user, and every user has game 0."""
    random = np.random.default_rng(2)
    return ItemItemData(
        Histories.from_games(*([0, *random.permutation(np.arange(1, GAMES))[:6]] for _ in range(60))), GAMES
    )


@pytest.mark.parametrize("block", [1 << 22, 20])
def test_regressions_in_one_pass_are_exact_if_the_neighbourhood_is_everything(
    block: int, shop: ItemItemData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All weights are kept, also those of a frequent game, which says something about every game."""
    kinds = [Regression(dropout, size) for dropout in (0.0, 0.33, 0.5) for size in (1.0, 5.0, 50.0)]
    counts = shop.dense_counts
    monkeypatch.setattr(module, "EASE_MAX_GAMES", 0)
    monkeypatch.setattr(module, "NEIGHBOURHOOD", GAMES)
    monkeypatch.setattr(module, "BLOCK_ENTRIES", block)
    monkeypatch.setattr(module, "DENSE_GAMES", 5)
    for kind, found in zip(kinds, fit_regressions(kinds, shop), strict=True):
        size = kind.regularisation
        exact = dlae(counts, kind.dropout, size) if kind.dropout else ease(counts, size)
        assert dense_weights(found) == pytest.approx(exact, abs=1e-5)
        assert np.diff(found.offsets)[0] == GAMES - 1


def test_regressions_in_one_pass_are_those_of_one_after_the_other(
    shop: ItemItemData, monkeypatch: pytest.MonkeyPatch
) -> None:
    kinds = [Regression(0.0, 5.0), Regression(0.33, 2.0), Regression(0.5, 100.0)]
    monkeypatch.setattr(module, "EASE_MAX_GAMES", 0)
    monkeypatch.setattr(module, "NEIGHBOURHOOD", 3)
    for kind, found in zip(kinds, fit_regressions(kinds, shop), strict=True):
        (alone,) = fit_regressions([kind], shop)
        assert dense_weights(found) == pytest.approx(dense_weights(alone), abs=1e-6)
        assert (np.bincount(found.games, minlength=GAMES) <= 3).all()


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_only_the_largest_weights_of_each_game_are_kept(kind: ItemItemKind, histories: Histories) -> None:
    data = ItemItemData(histories, GAMES)
    found, every = dense_weights(kind.fit(data, 3)), dense_weights(kind.fit(data, GAMES))
    if isinstance(kind, ItemKNN):  # of each game that may be recommended
        found, every = found.T, every.T
    assert (np.count_nonzero(found, axis=1) <= 3).all()
    assert np.array_equal(found, dense_weights(ItemItemWeights.from_matrix(every, GAMES).largest(3)))


def test_a_neighbourhood_has_the_games_that_explain_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Game 0 is nearly always with game 1, rarely with game 2."""
    data = ItemItemData(Histories.from_games(*[[0, 1]] * 8, [0, 2], [2], [2]), 3)
    monkeypatch.setattr(module, "EASE_MAX_GAMES", 0)
    monkeypatch.setattr(module, "NEIGHBOURHOOD", 1)
    found = dense_weights(Regression(0.0, 1.0).fit(data, 3))
    assert found[:, 0] == pytest.approx([0, 8 / 9, 0])


def test_too_many_pairs_are_counted_for_a_sample_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    histories = Histories.from_games(*[[0, 1, 2]] * 100)
    monkeypatch.setattr(module, "MAX_PAIRS", 9 * 40)
    monkeypatch.setattr(module, "EASE_MAX_GAMES", 2)
    assert (ItemItemData(histories, 3).counts.toarray() == 40).all()


@given(st.lists(WEIGHTS, max_size=3), st.integers(1, 7))
def test_the_sum_of_tables_is_the_sum_of_their_matrices(matrices: list[np.ndarray], kept: int) -> None:
    tables = [ItemItemWeights.from_matrix(matrix, kept) for matrix in matrices]
    n_games = 7
    found = summed(tables, n_games)
    expected = sum((dense_weights(table) for table in tables), np.zeros((n_games, n_games)))
    assert dense_weights(found) == pytest.approx(expected, abs=1e-6)
    for row in range(n_games):
        assert (np.diff(found.games[found.offsets[row] : found.offsets[row + 1]]) > 0).all()


def test_the_sum_of_tables_of_many_games_is_sparse() -> None:
    n_games = 1_000_000  # a dense sum would take 4 TB
    offsets = np.arange(n_games + 1)
    one, two = (
        ItemItemWeights(offsets, np.full(n_games, game, np.int32), np.ones(n_games, np.float32)) for game in (0, 5)
    )
    found = summed([one, two, one], n_games)
    assert found.offsets[-1] == 2 * n_games
    assert found.games[:4].tolist() == [0, 5, 0, 5]
    assert found.weights[:4].tolist() == [2, 1, 2, 1]


@pytest.mark.parametrize("kind", KINDS, ids=repr)
@pytest.mark.parametrize("largest", [8_000, 0])
def test_without_histories_all_weights_are_zero(
    kind: ItemItemKind, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EASE_MAX_GAMES", largest)
    found: ItemItemWeights = kind.fit(ItemItemData(Histories.from_games([], []), 4), 3)
    assert not found.weights.any()
    assert len(found.offsets) == 5
