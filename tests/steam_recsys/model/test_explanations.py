"""Ranks above popularity, compared with a naive count."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.data.histories import Histories
from steam_recsys.model.scorer import PopularityOrder

POPULAR = np.array([9, 7, 5, 3, 1], dtype=np.float32)


def above_popularity(
    popularity: np.ndarray, games: list[int], excluded: Sequence[int] = (), **masks: np.ndarray
) -> list[bool]:
    order = PopularityOrder.from_popularity(popularity, masks.get("available"))
    positions = np.array([games], dtype=np.int32)
    found = order.above_popularity(positions, Histories.from_games(excluded), masks.get("among"))
    return [bool(flag) for flag in found[0]]


def test_game_is_above_popularity_if_it_overtakes_a_more_popular_one() -> None:
    assert above_popularity(POPULAR, [0, 1, 2]) == [False, False, False]
    assert above_popularity(POPULAR, [2, 0, 1]) == [True, False, False]
    assert above_popularity(POPULAR, [0, 1, 4]) == [False, False, True]


def test_excluded_and_unavailable_games_do_not_count_as_overtaken() -> None:
    assert above_popularity(POPULAR, [2, 3], excluded=[0, 1, 1]) == [False, False]
    assert above_popularity(POPULAR, [2, 3], among=np.array([False, False, True, True, True])) == [False, False]
    assert above_popularity(POPULAR, [2, 3], available=np.array([False, False, True, True, True])) == [False, False]


def test_equally_popular_games_all_have_the_last_rank() -> None:
    assert above_popularity(np.ones(5, dtype=np.float32), [0, 1, 4]) == [True, True, True]
    assert above_popularity(np.ones(3, dtype=np.float32), [0, 1, 2]) == [True, True, False]


def test_catalogue_without_available_games_has_an_empty_order() -> None:
    none = np.zeros(3, dtype=bool)
    assert len(above_popularity(POPULAR[:3], [-1, -1], available=none, among=none)) == 2


@given(st.data())
def test_above_popularity_equals_a_naive_count(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    n_games, n_users, k = data.draw(st.integers(1, 400)), data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5))
    popularity = random.integers(0, data.draw(st.sampled_from([2, 1000])), n_games).astype(np.float32)
    available, among = (random.random(n_games) < data.draw(st.sampled_from([0.05, 0.9])) for _ in range(2))
    among = among if data.draw(st.booleans()) else np.ones(n_games, dtype=bool)
    excluded = [random.choice(n_games, random.integers(0, min(n_games, 9))).tolist() for _ in range(n_users)]
    lists = np.full((n_users, k), -1, dtype=np.int32)
    for user, own in enumerate(excluded):
        left = np.setdiff1d(np.flatnonzero(available & among), own)
        chosen = random.permutation(left)[:k]
        lists[user, : len(chosen)] = chosen
    found = PopularityOrder.from_popularity(popularity, available).above_popularity(
        lists, Histories.from_games(*excluded), None if among.all() else among
    )
    for user, own in enumerate(excluded):
        left = np.setdiff1d(np.flatnonzero(available & among), own)
        for rank, game in enumerate(lists[user].tolist()):
            if game >= 0:
                assert found[user, rank] == ((popularity[left] >= popularity[game]).sum() > rank + 1)
