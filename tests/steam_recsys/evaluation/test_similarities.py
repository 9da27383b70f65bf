"""Item-kNN and RP3β against their definitions, game by game."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from steam_recsys.data.histories import Histories
from steam_recsys.evaluation import similarities
from steam_recsys.evaluation.similarities import item_knn, rp3beta
from steam_recsys.model.item_item_fits import user_game_matrix

GAMES = 9

owned_games = st.lists(st.sets(st.integers(0, GAMES - 1)), max_size=30)
exponents = st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0, 1.4])


def users_by_games(owned: list[set[int]]) -> csr_matrix:
    return user_game_matrix(Histories.from_games(*map(sorted, owned)), GAMES)


def users_of(owned: list[set[int]]) -> list[set[int]]:
    return [{user for user, games in enumerate(owned) if game in games} for game in range(GAMES)]


def assert_keeps_the_largest(kept: csr_matrix, expected: np.ndarray, neighbours: int) -> None:
    """Each column keeps its largest weights; which of equal ones are kept is left open."""
    weights = kept.toarray()
    assert weights.dtype == np.float32
    assert weights.shape == (GAMES, GAMES)
    assert not weights.diagonal().any()
    for game in range(GAMES):
        nearest = np.flatnonzero(weights[:, game])
        assert weights[nearest, game] == pytest.approx(expected[nearest, game], rel=1e-5)
        largest = np.sort(expected[:, game])[::-1][:neighbours]
        assert np.sort(weights[:, game])[::-1][:neighbours] == pytest.approx(largest, rel=1e-5)
        assert len(nearest) <= neighbours


@settings(max_examples=60, deadline=None)
@given(owned=owned_games, neighbours=st.integers(1, 10), asymmetry=st.sampled_from([0.0, 0.5, 0.8, 1.0]))
def test_item_knn_keeps_the_most_similar_games_of_each_game(
    owned: list[set[int]], neighbours: int, asymmetry: float
) -> None:
    users, expected = users_of(owned), np.zeros((GAMES, GAMES))
    for source, target in itertools.permutations(range(GAMES), 2):
        if both := len(users[source] & users[target]):
            norm = len(users[source]) ** asymmetry * len(users[target]) ** (1 - asymmetry)
            expected[source, target] = both / (norm + 2.0)
    assert_keeps_the_largest(item_knn(users_by_games(owned), neighbours, asymmetry, 2.0), expected, neighbours)


@settings(max_examples=60, deadline=None)
@given(owned=owned_games, neighbours=st.integers(1, 10), alpha=exponents, beta=exponents)
def test_rp3beta_keeps_the_likeliest_sources_of_each_game(
    owned: list[set[int]], neighbours: int, alpha: float, beta: float
) -> None:
    users, expected = users_of(owned), np.zeros((GAMES, GAMES))
    for source, target in itertools.permutations(range(GAMES), 2):
        walks = sum(
            (1 / len(users[source]) / len(owned[user])) ** alpha for user in sorted(users[source] & users[target])
        )
        expected[source, target] = walks / max(1, len(users[target])) ** beta
    assert_keeps_the_largest(rp3beta(users_by_games(owned), neighbours, alpha, beta), expected, neighbours)


def test_blocks_of_games_give_the_weights_of_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    matrix = users_by_games([set(random.permutation(GAMES)[: random.integers(0, 6)].tolist()) for _ in range(40)])
    whole = item_knn(matrix, 3, 0.5, 1.0).toarray(), rp3beta(matrix, 3, 1.0, 0.4).toarray()
    monkeypatch.setattr(similarities, "BLOCK_PRODUCTS", 1)
    assert np.array_equal(item_knn(matrix, 3, 0.5, 1.0).toarray(), whole[0])
    assert np.array_equal(rp3beta(matrix, 3, 1.0, 0.4).toarray(), whole[1])


def test_an_empty_catalogue_has_no_weights() -> None:
    assert item_knn(csr_matrix((3, 0), dtype=np.float32), 3, 0.5, 0.0).shape == (0, 0)
