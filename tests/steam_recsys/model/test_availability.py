from datetime import date

import pyarrow as pa
import pytest

from steam_recsys.model.availability import available

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
def test_a_game_is_on_offer_from_the_day_of_its_release_until_the_day_it_is_delisted(
    released_on, delisted_on, expected
):
    games = pa.Table.from_pylist([{"released_on": released_on, "delisted_on": delisted_on}], schema=DAYS)
    assert available(games, TODAY).tolist() == [expected]


def test_where_no_day_is_known_all_games_are_out_and_the_delisted_ones_are_not_sold():
    games = pa.Table.from_pylist(
        [{"released_on": date(2030, 1, 1)}, {"delisted_on": date(2030, 1, 1)}, {}], schema=DAYS
    )
    assert available(games, None).tolist() == [True, False, True]


def test_an_empty_catalogue_has_nothing_on_offer():
    assert available(DAYS.empty_table(), TODAY).tolist() == []
