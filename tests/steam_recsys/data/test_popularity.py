from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.data.interactions import UNDATED, Interactions
from steam_recsys.data.popularity import popularity, recent_popularity

CATALOGUE = np.array([10, 20, 30, 40], dtype=np.int32)
ROWS = st.lists(
    st.tuples(st.sampled_from([10, 20, 30, 40, 99]), st.one_of(st.just(UNDATED), st.integers(0, 500)), st.booleans())
)


def interactions(rows: list[tuple[int, int, bool]]) -> Interactions:
    games, days, recommended = zip(*rows, strict=True) if rows else ((), (), ())
    return Interactions(
        np.arange(len(rows)), np.array(games, np.int32), np.array(days, np.int32), np.array(recommended, bool),
        np.zeros(len(rows), np.float32),
    )  # fmt: skip


@given(ROWS, st.integers(0, 500))
def test_recent_popularity_is_a_decayed_count_of_past_recommendations(rows, as_of):
    expected = defaultdict(float)
    for game, day, recommended in rows:
        if recommended and day != UNDATED and day < as_of:
            expected[game] += np.exp(-(as_of - day) / 120)
    found = recent_popularity(interactions(rows), CATALOGUE, as_of)
    np.testing.assert_allclose(found, [expected[game] for game in CATALOGUE.tolist()])


@given(ROWS)
def test_popularity_counts_all_recommendations_of_games_in_the_catalogue(rows):
    expected = [sum(row[0] == game and row[2] for row in rows) for game in CATALOGUE.tolist()]
    assert popularity(interactions(rows), CATALOGUE).tolist() == expected
