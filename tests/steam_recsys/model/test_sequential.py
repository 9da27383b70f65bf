"""The sequential tower in NumPy, compared with a naive version."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.data.histories import Histories
from steam_recsys.model import sequential as module
from steam_recsys.model.sequential import SequentialTower
from tests.steam_recsys.model.models import GAMES, random_tower

TOWER = random_tower()


def layer_norm(x: np.ndarray, norm: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-6) * norm[0] + norm[1]


def naive_query(tower: SequentialTower, games: list[int]) -> np.ndarray:
    """The user vector of some games, one place and one head at a time, in float64."""
    width = tower.games.shape[1]
    if not games:
        return np.zeros(width)
    x = [np.sqrt(width) * tower.games[game].astype(np.float64) for game in games]
    for block, distances in enumerate(tower.distances.astype(np.float64)):
        parts = [layer_norm(each, tower.attention_norm[block]) @ tower.attention_input[block] for each in x]
        queries, keys, values = (
            np.array([np.split(part, 3)[kind].reshape(len(distances), -1) for part in parts]) for kind in range(3)
        )
        after = []
        for place, each in enumerate(x):
            attended = []
            for head, by_distance in enumerate(distances):
                logits = np.array(
                    [
                        queries[place, head] @ keys[other, head] / np.sqrt(keys.shape[2]) + by_distance[place - other]
                        for other in range(place + 1)
                    ]
                )
                weights = np.exp(logits) / np.exp(logits).sum()
                attended.append(sum(weights[other] * values[other, head] for other in range(place + 1)))
            y = each + np.concatenate(attended) @ tower.attention_output[block]
            hidden = layer_norm(y, tower.forward_norm[block]) @ tower.forward_input[block]
            hidden = np.maximum(hidden + tower.forward_input_bias[block], 0)
            after.append(y + hidden @ tower.forward_output[block] + tower.forward_output_bias[block])
        x = after
    query = layer_norm(x[-1], tower.output_norm)
    return query / np.linalg.norm(query)


@given(st.lists(st.lists(st.integers(0, GAMES - 1), max_size=12, unique=True), max_size=6), st.integers(1, 3))
def test_queries_equal_a_naive_version_of_the_last_games(games: list[list[int]], batch: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH_USERS", batch)
        found = TOWER.queries(Histories.from_games(*games))
    expected = np.array([naive_query(TOWER, each[-TOWER.length :]) for each in games]).reshape(-1, 6)
    assert found == pytest.approx(expected, abs=1e-5)
    assert found.dtype == np.float32


def test_disliked_games_and_games_without_a_vector_are_not_read() -> None:
    rows = np.arange(GAMES, dtype=np.int32)
    rows[3] = -1
    tower = TOWER.reindex(rows)
    history = Histories.from_games([9, 3, 8, 7, 6, 5, 4, 2], [3], [1])
    history = replace(history, recommended=history.games != 7)
    assert tower.reads(history).tolist() == [False, False, True, False, True, True, True, True, False, True]
    expected = [naive_query(TOWER, games) for games in ([8, 6, 5, 4, 2], [], [1])]
    assert tower.queries(history) == pytest.approx(np.array(expected), abs=1e-5)
    assert not tower.candidates[3].any()
    assert np.linalg.norm(tower.candidates, axis=1) == pytest.approx((np.arange(GAMES) != 3).astype(float))


def test_the_order_of_the_games_counts() -> None:
    forward, backward = TOWER.queries(Histories.from_games([1, 2, 3], [3, 2, 1]))
    assert np.abs(forward - backward).max() > 0.01


def test_a_tower_is_read_from_its_arrays() -> None:
    stored = {f"sequence_{name}": array for name, array in TOWER.arrays().items()}
    loaded = SequentialTower.from_arrays(stored, "sequence_")
    assert all(loaded.arrays()[name] is array for name, array in TOWER.arrays().items())
    with pytest.raises(KeyError):
        SequentialTower.from_arrays(stored, "")
