"""How personal a version is, compared with naive computations."""

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest

from steam_recsys.publications.personalisation import COMPARED_USERS, Personalisation, PersonalisationStats

POPULAR = np.array([5, 3, 9, 1, 7, 2, 8, 30, 31, 32, 33, 34, 35, 36], dtype=np.int32)


def naive_overlap(lists: list[list[int]]) -> float:
    return float(np.mean([len(set(a) & set(b)) / len(set(a) | set(b)) for a, b in combinations(lists, 2)]))


def shows_the_popular_games(games: list[int]) -> bool:
    """Whether the first ten games are the most popular ones that the user's list does not skip entirely."""
    expected = [game for game in POPULAR.tolist() if game in games]
    return set(games[:10]) == set(expected[: len(games[:10])])


def lists_of(random: np.random.Generator, users: int, length: int, games: int) -> np.ndarray:
    return np.array([random.permutation(games)[:length] for _ in range(users)], dtype=np.int32)


@pytest.mark.parametrize("seed", range(20))
def test_figures_match_a_naive_implementation_however_the_users_are_divided(seed: int) -> None:
    random = np.random.default_rng(seed)
    length = int(random.integers(1, 15))
    lists = lists_of(random, users=int(random.integers(2, 40)), length=length, games=40)
    lists[::2] = random.permutation(POPULAR[:length]) if seed % 2 else POPULAR[-length:]
    lists = np.array([list(dict.fromkeys([*games, *range(40)]))[:length] for games in lists.tolist()], dtype=np.int32)
    users = np.cumsum(random.integers(1, 10**12, len(lists)))
    shop = pa.array(range(50), pa.int32())
    expected = Personalisation(
        overlap=pytest.approx(naive_overlap(lists[:, :10].tolist())),
        coverage=len(set(lists[:, :10].ravel().tolist())) / 50,
        popular_ten=sum(map(shows_the_popular_games, lists.tolist())) / len(lists),
    )
    whole = PersonalisationStats.count(users, lists, POPULAR)
    divided = PersonalisationStats()
    for part in reversed(np.array_split(np.arange(len(users)), 3)):
        divided.add(PersonalisationStats.count(users[part], lists[part], POPULAR))
    assert whole.measure(shop) == expected
    assert divided.measure(shop) == expected


def test_lists_of_different_lengths_overlap_by_their_own_games() -> None:
    stats = PersonalisationStats.count(np.array([1]), np.array([[1, 2, 3]], dtype=np.int32), POPULAR)
    stats.add(PersonalisationStats.count(np.array([2]), np.array([[1]], dtype=np.int32), POPULAR))
    assert stats.overlap == pytest.approx(1 / 3)


def test_a_single_user_has_no_overlap() -> None:
    assert PersonalisationStats.count(np.array([1]), np.array([[1, 2]], dtype=np.int32), POPULAR).overlap is None


def test_many_users_are_sampled_and_the_sample_does_not_depend_on_how_they_are_divided() -> None:
    random = np.random.default_rng(0)
    users, lists = np.arange(5 * COMPARED_USERS), lists_of(random, 5 * COMPARED_USERS, 10, 60)
    whole = PersonalisationStats.count(users, lists, POPULAR)
    divided = PersonalisationStats()
    for part in np.array_split(random.permutation(len(users)), 7):
        divided.add(PersonalisationStats.count(users[part], lists[part], POPULAR))
    assert len(whole.hashes) == COMPARED_USERS
    assert np.array_equal(whole.first_games, divided.first_games)
    contains = np.zeros((len(lists), lists.max() + 1), dtype=np.float32)
    np.put_along_axis(contains, lists, 1, axis=1)
    shared = contains @ contains.T
    indices = shared / (2 * lists.shape[1] - shared)
    np.fill_diagonal(indices, 0)
    exact = indices.sum(dtype=np.float64) / (len(lists) * (len(lists) - 1))
    assert whole.overlap == pytest.approx(exact, abs=0.01)


def test_a_popular_game_that_the_list_does_not_contain_counts_as_excluded() -> None:
    skipped = [*POPULAR[1:11].tolist(), 50, 51]
    later = [*POPULAR[1:11].tolist(), POPULAR[0], 50]
    other = [*POPULAR[:9].tolist(), 50, 51, 52]
    shuffled = [*POPULAR[9::-1].tolist(), 50, 51]
    for games, share in ((skipped, 1.0), (later, 0.0), (other, 0.0), (shuffled, 1.0)):
        stats = PersonalisationStats.count(np.array([1]), np.array([games], dtype=np.int32), POPULAR)
        assert stats.measure(pa.array([1], pa.int32())).popular_ten == share


def test_nothing_is_known_without_users() -> None:
    assert PersonalisationStats().measure(pa.array([], pa.int32())) == Personalisation()
    alone = PersonalisationStats.count(np.array([1]), np.array([[1]], dtype=np.int32), POPULAR)
    assert alone.measure(pa.array([1, 2], pa.int32())) == Personalisation(overlap=None, coverage=0.5, popular_ten=1.0)
