from datetime import date

import pyarrow as pa
import pytest

from steam_recsys.data.games import available

DAYS = pa.schema([("released_on", pa.date32()), ("delisted_on", pa.date32())])
TODAY = date(2024, 5, 10)


@pytest.mark.parametrize(
    ("released_on", "delisted_on", "expected"),
    [
        (None, None, True),
        (date(2024, 5, 10), None, True),
        (date(2024, 5, 11), None, False),
        (date(2020, 1, 1), date(2024, 5, 10), False),
        (date(2020, 1, 1), date(2024, 5, 11), True),
        (None, date(2023, 1, 1), False),
        (date(2024, 5, 11), date(2024, 5, 9), False),
    ],
)
def test_games_are_available_from_release_until_delisting(released_on, delisted_on, expected):
    games = pa.Table.from_pylist([{"released_on": released_on, "delisted_on": delisted_on}], schema=DAYS)
    assert available(games, TODAY).tolist() == [expected]


def test_without_a_date_only_delisted_games_are_unavailable():
    games = pa.Table.from_pylist(
        [{"released_on": date(2030, 1, 1)}, {"delisted_on": date(2030, 1, 1)}, {}], schema=DAYS
    )
    assert available(games, None).tolist() == [True, False, True]


def test_empty_catalogue_has_no_available_games():
    assert available(DAYS.empty_table(), TODAY).tolist() == []
