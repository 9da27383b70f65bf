import numpy as np
import pytest

from components.shared import ease as module
from components.shared.ease import cooccurrences, ease
from components.shared.histories import Histories

GAMES = 12


@pytest.fixture
def histories() -> Histories:
    random = np.random.default_rng(0)
    games = [random.permutation(GAMES)[: random.integers(0, 6)] for _ in range(50)]
    offsets = np.concatenate([[0], np.cumsum([len(of) for of in games])]).astype(np.int64)
    return Histories(np.arange(50), offsets, np.concatenate(games).astype(np.int32))


def dense(histories: Histories) -> np.ndarray:
    matrix = np.zeros((len(histories), GAMES))
    matrix[np.repeat(np.arange(len(histories)), histories.lengths), histories.games] = 1
    return matrix


@pytest.mark.parametrize("pairs", [1, 40, 1 << 20])
def test_cooccurrences_are_the_product_of_the_matrix_with_itself_however_many_are_counted_at_a_time(
    histories: Histories, pairs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAIRS", pairs)
    assert np.array_equal(cooccurrences(histories, GAMES), dense(histories).T @ dense(histories))


def test_each_column_is_the_ridge_regression_of_a_game_on_the_others(histories: Histories) -> None:
    """The definition: the least squares of each column under a zero diagonal, solved game by game."""
    matrix, weights = dense(histories), ease(histories, GAMES, 5.0)
    for game in range(GAMES):
        others = np.arange(GAMES) != game
        x, y = matrix[:, others], matrix[:, game]
        expected = np.linalg.solve(x.T @ x + 5.0 * np.eye(GAMES - 1), x.T @ y)
        assert weights[others, game] == pytest.approx(expected, abs=1e-5)
        assert weights[game, game] == 0
