import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import Interactions
from steam_recsys.evaluation.splits import Future, hold_out, relevant_at


def interactions(rows: list[tuple[int, int]]) -> Interactions:
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
    held_out = hold_out(interactions(past), interactions(future), np.arange(8, dtype=np.int32))
    assert by_user(held_out.relevant) == expected
    assert by_user(held_out.history) == {user: {game for owner, game in past if owner == user} for user in expected}
    measured = sum(map(len, expected.values()))
    assert held_out.left_out == len(set(future) - set(past)) - measured


@given(pairs, pairs)
def test_newcomers_and_unreviewed_games_are_the_rows_that_are_left_out(
    past: list[tuple[int, int]], future: list[tuple[int, int]]
) -> None:
    """A newcomer's review of an unreviewed game is in neither: nothing is known about it."""
    users, known = {user for user, _ in past}, {game for _, game in past}
    newcomers: dict[int, set[int]] = {}
    unreviewed: dict[int, set[int]] = {}
    for user, game in future:
        if user not in users and game in known:
            newcomers.setdefault(user, set()).add(game)
        if user in users and game not in known:
            unreviewed.setdefault(user, set()).add(game)
    rows = Future.from_interactions(interactions(past), interactions(future), np.arange(8, dtype=np.int32))
    first, second = rows.newcomers, rows.unreviewed
    assert by_user(first.relevant) == newcomers
    assert by_user(first.history) == {user: set() for user in newcomers}
    assert by_user(second.relevant) == unreviewed
    assert by_user(second.history) == {user: {game for owner, game in past if owner == user} for user in unreviewed}


@given(pairs, pairs, st.lists(st.booleans(), min_size=8, max_size=8))
def test_only_users_with_one_of_the_selected_games_are_kept(
    past: list[tuple[int, int]], future: list[tuple[int, int]], wanted: list[bool]
) -> None:
    held_out = hold_out(interactions(past), interactions(future), np.arange(8, dtype=np.int32))
    rows, only = held_out.only(np.array(wanted))
    kept = {user: {game for game in games if wanted[game]} for user, games in by_user(held_out.relevant).items()}
    assert by_user(only.relevant) == {user: games for user, games in kept.items() if games}
    assert np.array_equal(held_out.history.users[rows], only.history.users)
    assert only.left_out - held_out.left_out == len(held_out.relevant.games) - len(only.relevant.games)


@given(st.lists(st.lists(st.integers(-1, 9), min_size=4, max_size=4), min_size=1, max_size=5), st.data())
def test_hits_are_found_per_user(ranked: list[list[int]], data: st.DataObject) -> None:
    relevant = [data.draw(st.sets(st.integers(0, 9), min_size=1)) for _ in ranked]
    histories = Histories.from_interactions(
        interactions([(user, game) for user, games in enumerate(relevant) for game in sorted(games)]),
        np.arange(10, dtype=np.int32),
    )
    expected = [[game in games for game in row] for row, games in zip(ranked, relevant, strict=True)]
    assert relevant_at(np.array(ranked, dtype=np.int32), histories).tolist() == expected
