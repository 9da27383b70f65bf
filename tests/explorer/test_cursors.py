"""Cursors hold what they continue, and others are refused."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.cursors import HISTORY, RECOMMENDATIONS, SEARCH, decode_cursor, encode_cursor
from explorer.errors import ProblemError
from explorer.repository import MOST_PAGED


@given(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=20))
def test_a_cursor_holds_the_games_that_were_shown(games: list[int]) -> None:
    cursor = encode_cursor(RECOMMENDATIONS, games)
    assert decode_cursor(RECOMMENDATIONS, cursor) == games
    assert cursor.replace("-", "").replace("_", "").isalnum()


def test_the_longest_cursor_fits_into_an_address() -> None:
    assert len(encode_cursor(RECOMMENDATIONS, [2**31 - 1] * MOST_PAGED)) <= 6000


@given(st.none() | st.dates(), st.integers(-(2**63), 2**63 - 1))
def test_a_cursor_holds_the_day_and_the_id_of_the_last_review(day: date | None, review_id: int) -> None:
    numbers = [day.toordinal() if day else 0, review_id]
    assert decode_cursor(HISTORY, encode_cursor(HISTORY, numbers), length=2) == numbers


@pytest.mark.parametrize("numbers", [[-1, 1], [date.max.toordinal() + 1, 1], [1]])
def test_a_cursor_without_a_possible_day_is_refused(numbers: list[int]) -> None:
    with pytest.raises(ProblemError, match="leave it out"):
        decode_cursor(HISTORY, encode_cursor(HISTORY, numbers), length=2)


def test_no_cursor_is_the_beginning() -> None:
    assert decode_cursor(SEARCH, "", length=1) == []


@pytest.mark.parametrize(
    "cursor",
    [
        "a", "AAAA", "====", "é", "!", encode_cursor(HISTORY, [1]), encode_cursor(SEARCH, [1, 2]),
        encode_cursor(SEARCH, [-1]), encode_cursor(SEARCH, [2**40]), encode_cursor(SEARCH, []),
        encode_cursor(SEARCH, [1]) + "AAAA",
    ],
)  # fmt: skip
def test_a_cursor_that_no_answer_gave_is_refused(cursor: str) -> None:
    with pytest.raises(ProblemError, match="leave it out") as caught:
        decode_cursor(SEARCH, cursor, length=1)
    assert (caught.value.status_code, caught.value.code) == (409, "invalid_cursor")
