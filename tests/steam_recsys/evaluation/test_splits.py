import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import UNDATED, Interactions
from steam_recsys.evaluation.splits import Future, at_random, by_time, hold_out, last_out, relevant_at


@pytest.fixture
def interactions() -> Interactions:
    """Three users; the second has two interactions on one day, the third one without a date."""
    users = np.array([1, 1, 1, 2, 2, 2, 3, 3])
    days = np.array([5, 9, 7, 4, 8, 8, UNDATED, 6], dtype=np.int32)
    games = np.arange(8, dtype=np.int32)
    return Interactions(users, games, days, np.ones(8, bool), np.zeros(8, np.float32))


def test_a_split_by_time_divides_dated_interactions(interactions: Interactions) -> None:
    split = by_time(interactions, 7)
    assert (split.past.games.tolist(), split.future.games.tolist(), split.as_of) == ([0, 3, 7], [1, 2, 4, 5], 7)


def test_last_out_holds_out_the_latest_interaction_and_the_last_row_of_equals(interactions: Interactions) -> None:
    split = last_out(interactions)
    assert split.future.games.tolist() == [1, 5, 7]
    assert split.past.games.tolist() == [0, 2, 3, 4, 6]
    assert split.as_of is None
    assert not split.past.dated.any()


def test_a_random_split_holds_out_the_share_and_depends_on_the_seed(interactions: Interactions) -> None:
    many = interactions.take(np.repeat(np.arange(8), 1000))
    split = at_random(many, 0.2, np.random.RandomState(42))
    assert len(split.future) / len(many) == pytest.approx(0.2, abs=0.02)
    assert len(split.past) + len(split.future) == len(many)
    again = at_random(many, 0.2, np.random.RandomState(42))
    assert np.array_equal(split.future.games, again.future.games)
    assert not split.future.dated.any()


def interactions_from_pairs(rows: list[tuple[int, int]]) -> Interactions:
    n = len(rows)
    pairs = np.array(rows, dtype=np.int64).reshape(-1, 2)
    return Interactions(
        pairs[:, 0], pairs[:, 1].astype(np.int32), np.zeros(n, np.int32), np.ones(n, bool), np.zeros(n, np.float32)
    )


def by_user(histories: Histories) -> dict[int, set[int]]:
    return {
        int(user): set(histories.games[start:end].tolist())
        for user, start, end in zip(histories.users, histories.offsets, histories.offsets[1:], strict=False)
    }


pairs = st.sets(st.tuples(st.integers(1, 6), st.integers(0, 7)), max_size=25).map(sorted)


@given(pairs, pairs)
def test_held_out_rows_match_a_naive_implementation(past: list[tuple[int, int]], future: list[tuple[int, int]]) -> None:
    known = {game for _, game in past}
    expected: dict[int, set[int]] = {}
    for user, game in future:
        if user in {user for user, _ in past} and game in known and (user, game) not in past:
            expected.setdefault(user, set()).add(game)
    held_out = hold_out(interactions_from_pairs(past), interactions_from_pairs(future), np.arange(8, dtype=np.int32))
    assert by_user(held_out.relevant) == expected
    assert by_user(held_out.history) == {user: {game for owner, game in past if owner == user} for user in expected}
    measured = sum(map(len, expected.values()))
    assert held_out.left_out == len(set(future) - set(past)) - measured


@given(pairs, pairs)
def test_newcomers_and_unreviewed_games_are_the_rows_that_are_left_out(
    past: list[tuple[int, int]], future: list[tuple[int, int]]
) -> None:
    """A newcomer's review of an cold_start_games game is in neither: nothing is known about it."""
    users, known = {user for user, _ in past}, {game for _, game in past}
    cold_start_users: dict[int, set[int]] = {}
    cold_start_games: dict[int, set[int]] = {}
    for user, game in future:
        if user not in users and game in known:
            cold_start_users.setdefault(user, set()).add(game)
        if user in users and game not in known:
            cold_start_games.setdefault(user, set()).add(game)
    rows = Future.from_interactions(
        interactions_from_pairs(past), interactions_from_pairs(future), np.arange(8, dtype=np.int32)
    )
    first, second = rows.cold_start_users, rows.cold_start_games
    assert by_user(first.relevant) == cold_start_users
    assert by_user(first.history) == {user: set() for user in cold_start_users}
    assert by_user(second.relevant) == cold_start_games
    assert by_user(second.history) == {
        user: {game for owner, game in past if owner == user} for user in cold_start_games
    }


@given(pairs, pairs, st.lists(st.booleans(), min_size=8, max_size=8))
def test_only_users_with_one_of_the_selected_games_are_kept(
    past: list[tuple[int, int]], future: list[tuple[int, int]], wanted: list[bool]
) -> None:
    held_out = hold_out(interactions_from_pairs(past), interactions_from_pairs(future), np.arange(8, dtype=np.int32))
    rows, only = held_out.only(np.array(wanted))
    kept = {user: {game for game in games if wanted[game]} for user, games in by_user(held_out.relevant).items()}
    assert by_user(only.relevant) == {user: games for user, games in kept.items() if games}
    assert np.array_equal(held_out.history.users[rows], only.history.users)
    assert only.left_out - held_out.left_out == len(held_out.relevant.games) - len(only.relevant.games)


@given(st.lists(st.lists(st.integers(-1, 9), min_size=4, max_size=4), min_size=1, max_size=5), st.data())
def test_hits_are_found_per_user(ranked: list[list[int]], data: st.DataObject) -> None:
    relevant = [data.draw(st.sets(st.integers(0, 9), min_size=1)) for _ in ranked]
    histories = Histories.from_interactions(
        interactions_from_pairs([(user, game) for user, games in enumerate(relevant) for game in sorted(games)]),
        np.arange(10, dtype=np.int32),
    )
    expected = [[game in games for game in row] for row, games in zip(ranked, relevant, strict=True)]
    assert relevant_at(np.array(ranked, dtype=np.int32), histories).tolist() == expected
