"""Each kind of item-item weights, by its definition."""

import numpy as np
import pytest

from steam_recsys.data.histories import Histories
from steam_recsys.model.item_item_fits import cooccurrences, dlae, ease

GAMES = 12


@pytest.fixture
def histories() -> Histories:
    random = np.random.default_rng(0)
    games = [random.permutation(GAMES)[: random.integers(0, 6)] for _ in range(50)]
    return Histories.from_games(*games)


def dense(histories: Histories) -> np.ndarray:
    matrix = np.zeros((len(histories), GAMES))
    matrix[np.repeat(np.arange(len(histories)), histories.lengths), histories.games] = 1
    return matrix


def test_cooccurrences_are_the_product_of_the_matrix_with_itself(histories: Histories) -> None:
    assert np.array_equal(cooccurrences(histories, GAMES), dense(histories).T @ dense(histories))


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
