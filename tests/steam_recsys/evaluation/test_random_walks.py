"""RP3β against its definition, game by game."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steam_recsys.data.histories import Histories
from steam_recsys.evaluation.random_walks import RandomWalks
from steam_recsys.model import item_item_fits
from steam_recsys.model.item_item_fits import ItemItemData
from tests.steam_recsys.model.test_item_item import dense

GAMES = 9

owned_games = st.lists(st.sets(st.integers(0, GAMES - 1)), max_size=30)
exponents = st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0, 1.4])


def data_of(owned: list[set[int]]) -> ItemItemData:
    return ItemItemData(Histories.from_games(*map(sorted, owned)), GAMES)


def naive_weights(owned: list[set[int]], alpha: float, beta: float) -> np.ndarray:
    users = [{user for user, games in enumerate(owned) if game in games} for game in range(GAMES)]
    weights = np.zeros((GAMES, GAMES))
    for source, target in itertools.permutations(range(GAMES), 2):
        walks = sum(
            (1 / len(users[source]) / len(owned[user])) ** alpha for user in sorted(users[source] & users[target])
        )
        weights[source, target] = walks / max(1, len(users[target])) ** beta
    return weights


@settings(max_examples=60, deadline=None)
@given(owned=owned_games, neighbours=st.integers(1, 10), alpha=exponents, beta=exponents)
def test_each_game_keeps_its_likeliest_sources(
    owned: list[set[int]], neighbours: int, alpha: float, beta: float
) -> None:
    """Which of equally likely ones are kept is left open."""
    weights, expected = (
        dense(RandomWalks(data_of(owned)).fit(neighbours, alpha, beta)),
        naive_weights(owned, alpha, beta),
    )
    assert not weights.diagonal().any()
    for game in range(GAMES):
        nearest = np.flatnonzero(weights[:, game])
        assert weights[nearest, game] == pytest.approx(expected[nearest, game], rel=1e-5)
        largest = np.sort(expected[:, game])[::-1][:neighbours]
        assert np.sort(weights[:, game])[::-1][:neighbours] == pytest.approx(largest, rel=1e-5)
        assert len(nearest) <= neighbours


def test_walks_that_were_counted_for_one_alpha_are_not_taken_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    owned = [set(random.permutation(GAMES)[: random.integers(0, 6)].tolist()) for _ in range(40)]
    walks = RandomWalks(data_of(owned))
    for alpha, beta in ((1.0, 0.0), (1.0, 0.4), (0.5, 0.4), (1.0, 0.0)):
        assert dense(walks.fit(GAMES, alpha, beta)) == pytest.approx(naive_weights(owned, alpha, beta), rel=1e-5)
    whole = dense(walks.fit(3, 1.0, 0.4))
    monkeypatch.setattr(item_item_fits, "BLOCK_ENTRIES", 1)
    assert np.array_equal(dense(walks.fit(3, 1.0, 0.4)), whole)


def test_an_empty_catalogue_has_no_weights() -> None:
    assert len(RandomWalks(ItemItemData(Histories.from_games([], []), 0)).fit(3, 1.0, 0.0).games) == 0
