import numpy as np
import pyarrow as pa

from components.predict.plan import LENGTH, OVERALL, fallback_lists
from steam_recsys.data.schemas import GAMES, POPULAR, RANKINGS


def games(*genres):
    rows = [
        {"game_id": n, "name": f"Game {n}", "genres": list(tags), "developers": [], "publishers": []}
        for n, tags in enumerate(genres, start=1)
    ]
    return pa.Table.from_pylist(rows, schema=GAMES)


def rankings(*rows):
    columns = [dict(zip(RANKINGS.names, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(columns, schema=RANKINGS)


def listed(table, genre):
    rows = [row for row in table.to_pylist() if row["genre"] == genre]
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["game_id"] for row in rows]


def test_lists_are_sorted_by_recent_popularity_then_by_all_reviews():
    table = fallback_lists(
        games(["A"], ["A"], ["B"], []), rankings(), np.array([1.0, 2, 0, 0]), np.array([9.0, 9, 1, 5])
    )
    assert table.schema.equals(POPULAR)
    assert listed(table, OVERALL) == [2, 1, 4, 3]
    assert listed(table, "A") == [2, 1]
    assert listed(table, "B") == [3]


def test_genre_that_appears_only_in_rankings_has_a_list():
    ranked = rankings((1, "Role-Playing", "Sales", 1), (1, "Role-Playing", "Review", 3))
    table = fallback_lists(games(["RPG"], []), ranked, np.ones(2), np.ones(2))
    assert listed(table, "Role-Playing") == [1]


def test_lists_have_a_maximum_length():
    n = LENGTH + 5
    table = fallback_lists(games(*[["A"]] * n), rankings(), np.arange(n, dtype=float), np.ones(n))
    assert listed(table, OVERALL) == list(range(n, n - LENGTH, -1))


def test_empty_catalogue_has_no_lists():
    assert fallback_lists(games(), rankings(), np.array([]), np.array([])).num_rows == 0
