from fractions import Fraction
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steam_recsys.data.histories import Histories
from steam_recsys.evaluation import item_knn
from steam_recsys.evaluation.item_knn import nearest_games, strongest

GAMES = 9
owned = st.lists(st.sets(st.integers(0, GAMES - 1)), max_size=30)


def naive(owned: list[set[int]], k: int) -> list[list[tuple[int, float]]]:
    """By the definition, game by game: the nearest with their similarities, the nearest first."""
    users = [{user for user, games in enumerate(owned) if game in games} for game in range(GAMES)]
    nearest = []
    for game in range(GAMES):
        squares = {
            other: Fraction(len(users[game] & users[other]) ** 2, len(users[game]) * len(users[other]))
            for other in range(GAMES)
            if other != game and users[game] & users[other]
        }
        ordered = sorted(squares, key=lambda other: (-squares[other], other))
        nearest.append([(other, sqrt(squares[other])) for other in ordered[:k]])
    return nearest


def listed(similarities) -> list[list[tuple[int, float]]]:
    rows = (similarities[row] for row in range(similarities.shape[0]))
    return [list(zip(row.indices.tolist(), row.data.tolist(), strict=True)) for row in rows]


@pytest.mark.parametrize("block", [1, 20, item_knn.BLOCK_PAIRS])
@settings(max_examples=50)
@given(owned=owned, k=st.integers(1, GAMES + 1))
def test_the_nearest_games_are_those_of_the_definition_however_large_a_block_is(
    block: int, owned: list[set[int]], k: int
) -> None:
    histories = Histories.from_games(*map(list, owned))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(item_knn, "BLOCK_PAIRS", block)
        found = nearest_games(histories, GAMES, k)
    assert found.dtype == np.float32
    assert [[game for game, _ in row] for row in listed(found)] == [
        [game for game, _ in row] for row in naive(owned, k)
    ]
    assert found.data == pytest.approx([similarity for row in naive(owned, k) for _, similarity in row], rel=1e-6)


@settings(max_examples=25)
@given(owned=owned, k=st.integers(1, GAMES), larger=st.integers(0, 3))
def test_the_strongest_of_more_neighbours_are_those_of_fewer(owned: list[set[int]], k: int, larger: int) -> None:
    histories = Histories.from_games(*map(list, owned))
    assert listed(strongest(nearest_games(histories, GAMES, k + larger), k)) == listed(
        nearest_games(histories, GAMES, k)
    )


def test_a_block_goes_through_few_pairs_whatever_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that memory does not grow with the catalogue's square."""
    monkeypatch.setattr(item_knn, "BLOCK_PAIRS", 100)
    pairs = np.random.default_rng(0).integers(0, 60, 1_000)
    blocks = list(item_knn._blocks(pairs))
    assert [game for block in blocks for game in range(block.start, block.stop)] == list(range(1_000))
    assert all(pairs[block][:-1].sum() <= 100 for block in blocks)
    assert len(blocks) <= pairs.sum() / 100 + 1
