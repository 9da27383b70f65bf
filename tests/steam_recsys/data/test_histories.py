import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.data.histories import Histories, positions_of
from steam_recsys.data.interactions import Interactions

CATALOGUE = np.array([3, 5, 6, 9], dtype=np.int32)
Row = tuple[int, int, bool]
ROWS = st.lists(st.tuples(st.integers(-3, 4), st.sampled_from([*CATALOGUE.tolist(), 7]), st.booleans()), max_size=12)


def histories_of(rows: list[Row]) -> Histories:
    """Return the histories of rows, whose hours are their numbers."""
    users, games, recommended = zip(*rows, strict=True) if rows else ((), (), ())
    return Histories.from_interactions(
        Interactions(
            np.array(users, np.int64), np.array(games, np.int32), np.zeros(len(rows), np.int32),
            np.array(recommended, bool), np.arange(len(rows), dtype=np.float32),
        ),
        CATALOGUE,
    )  # fmt: skip


def unpacked(histories: Histories) -> dict[int, list[tuple[int, bool, float]]]:
    """Return each user's positions, verdicts and hours."""
    found = {}
    for number, user in enumerate(histories.users.tolist()):
        rows = slice(histories.offsets[number], histories.offsets[number + 1])
        columns = (histories.games[rows], histories.recommended[rows], histories.hours[rows])
        found[user] = list(zip(*(column.tolist() for column in columns), strict=True))
    return found


def naive(rows: list[Row]) -> dict[int, list[tuple[int, bool, float]]]:
    ids = CATALOGUE.tolist()
    return {
        user: [
            (ids.index(game) if game in ids else -1, recommended, float(number))
            for number, (owner, game, recommended) in enumerate(rows)
            if owner == user
        ]
        for user in sorted({user for user, _, _ in rows})
    }


@given(ROWS)
def test_rows_are_grouped_by_user_and_keep_their_order(rows: list[Row]) -> None:
    histories = histories_of(rows)
    assert unpacked(histories) == naive(rows)
    assert list(unpacked(histories)) == sorted(unpacked(histories))
    assert histories.lengths.tolist() == [len(games) for games in naive(rows).values()]
    assert len(histories) == len(naive(rows))
    assert (histories.offsets.dtype, histories.games.dtype) == (np.int64, np.int32)


@given(ROWS)
def test_recommended_only_keeps_all_users(rows: list[Row]) -> None:
    assert unpacked(histories_of(rows).recommended_only()) == {
        user: [review for review in reviews if review[1]] for user, reviews in naive(rows).items()
    }


@given(ROWS, st.data())
def test_users_can_be_taken_in_any_order_and_repeatedly(rows: list[Row], data: st.DataObject) -> None:
    histories = histories_of(rows)
    picked = data.draw(st.lists(st.integers(0, len(histories) - 1)) if len(histories) else st.just([]))
    taken = histories.take(np.array(picked, dtype=np.int64))
    assert taken.users.tolist() == histories.users[picked].tolist()
    expected = [review for row in picked for review in naive(rows)[int(histories.users[row])]]
    assert list(zip(taken.games.tolist(), taken.recommended.tolist(), taken.hours.tolist(), strict=True)) == expected
    assert taken.lengths.tolist() == histories.lengths[picked].tolist()


def test_histories_from_games_are_recommended_with_unknown_hours() -> None:
    histories = Histories.from_games([2, 0], [], [1])
    assert histories.users.tolist() == [0, 1, 2]
    assert histories.lengths.tolist() == [2, 0, 1]
    assert histories.games.tolist() == [2, 0, 1]
    assert histories.recommended.all()
    assert np.isnan(histories.hours).all()
    assert len(Histories.from_games()) == 0


@given(st.lists(st.integers(-9, 9)), st.sets(st.integers(-9, 9)))
def test_positions_agree_with_a_naive_search(ids: list[int], known: set[int]) -> None:
    ascending = sorted(known)
    found = positions_of(np.array(ids, dtype=np.int64), np.array(ascending, dtype=np.int32))
    assert found.dtype == np.int32
    assert found.tolist() == [ascending.index(one) if one in known else -1 for one in ids]


@pytest.mark.parametrize("known", [[], [1, 5]])
def test_unknown_ids_have_no_position(known: list[int]) -> None:
    assert positions_of(np.array([7, -1]), np.array(known, dtype=np.int32)).tolist() == [-1, -1]


def test_the_newest_games_of_each_user_are_kept() -> None:
    histories = Histories.from_games([5, 4, 3, 2], [], [1, 0])
    assert histories.later.tolist() == [3, 2, 1, 0, 1, 0]
    assert histories.newest(4) is histories
    newest = histories.newest(2)
    assert newest.games.tolist() == [3, 2, 1, 0]
    assert newest.offsets.tolist() == [0, 2, 2, 4]
