import numpy as np
import pyarrow as pa

from steam_recsys.data.popularity import DECAY_DAYS, DECAYS
from steam_recsys.data.schemas import DISCOVERY, GAMES, NEW_RELEASES, POPULAR, POPULAR_LIST, RANKINGS
from steam_recsys.model.fallback_lists import FALLBACK_GAMES, OVERALL, fallback_lists
from steam_recsys.model.game_counts import GameCounts
from steam_recsys.model.lists import ReviewCounts


def games(*genres):
    rows = [
        {"game_id": n, "name": f"Game {n}", "genres": list(tags), "developers": [], "publishers": []}
        for n, tags in enumerate(genres, start=1)
    ]
    return pa.Table.from_pylist(rows, schema=GAMES)


def rankings(*rows):
    columns = [dict(zip(RANKINGS.names, row, strict=True)) for row in rows]
    return pa.Table.from_pylist(columns, schema=RANKINGS)


def listed(table, genre=OVERALL, name=POPULAR_LIST):
    rows = [row for row in table.to_pylist() if (row["list"], row["genre"]) == (name, genre)]
    assert [row["rank"] for row in rows] == list(range(1, len(rows) + 1))
    assert [row["score"] for row in rows] == sorted((row["score"] for row in rows), reverse=True)
    return [row["game_id"] for row in rows]


def lists_of(games, *ranked, recent=None, likes=None, reviews=None, available=None, new=()):
    """The fallback lists; without other counts, all games have ten reviews, all positive, and are equally popular."""
    n = len(games)
    likes = np.full(n, 10) if likes is None else np.array(likes)
    popularity = np.zeros((len(DECAYS), n))
    popularity[DECAYS.index(DECAY_DAYS)] = 1 if recent is None else recent
    counts = GameCounts(popularity, ReviewCounts(likes, likes if reviews is None else np.array(reviews)))
    can_recommend = np.ones(n, dtype=bool) if available is None else np.array(available, dtype=bool)
    return fallback_lists(games, rankings(*ranked), counts, can_recommend, np.isin(np.arange(1, n + 1), new))


def test_popular_lists_are_sorted_by_recent_popularity_then_by_all_likes():
    table = lists_of(games(["A"], ["A"], ["B"], []), recent=[1, 2, 0, 0], likes=[9, 9, 1, 5])
    assert table.schema.equals(POPULAR)
    assert listed(table) == [2, 1, 4, 3]
    assert listed(table, "A") == [2, 1]
    assert listed(table, "B") == [3]


def test_genre_that_appears_only_in_rankings_has_a_list():
    table = lists_of(games(["RPG"], []), (1, "Role-Playing", "Sales", 1), (1, "Role-Playing", "Review", 3))
    assert listed(table, "Role-Playing") == [1]


def test_lists_have_a_maximum_length():
    n = FALLBACK_GAMES + 5
    table = lists_of(games(*[["A"]] * n), recent=np.arange(n), new=np.arange(1, n + 1))
    for genre, name in ((OVERALL, POPULAR_LIST), ("A", POPULAR_LIST), (OVERALL, NEW_RELEASES)):
        assert listed(table, genre, name) == list(range(n, n - FALLBACK_GAMES, -1))


def test_new_releases_are_listed_most_popular_first():
    table = lists_of(games(*[[]] * 5), recent=[0, 4, 1, 3, 2], available=[1, 1, 1, 0, 1], new=[1, 2, 3, 4])
    assert listed(table, name=NEW_RELEASES) == [2, 3, 1]


def test_hidden_gems_are_well_liked_games_outside_the_head_best_first():
    n, head = 400, 50
    likes = np.full(n, 10)
    reviews = likes.copy()
    likes[[60, 61, 62]], reviews[[60, 61, 62]] = [900, 90, 19], [1000, 100, 40]  # the last is liked by half
    likes[63:] = reviews[63:] = 0  # without reviews
    available = np.arange(n) != 59
    table = lists_of(games(*[[]] * n), recent=np.arange(n, 0, -1), likes=likes, reviews=reviews, available=available)
    gems = listed(table, name=DISCOVERY)
    assert gems == [61, 62, *range(head + 1, 60)]


def test_game_without_reviews_is_a_new_release_but_no_hidden_gem():
    table = lists_of(games(*[[]] * 5), recent=np.zeros(5), likes=np.zeros(5, int), new=[3])
    assert listed(table, name=NEW_RELEASES) == [3]
    assert listed(table, name=DISCOVERY) == []


def test_empty_catalogue_has_no_lists():
    assert lists_of(games()).num_rows == 0


def test_a_genre_without_a_name_does_not_list_a_game_twice():
    table = lists_of(games(["", "A"], ["A"]))
    assert listed(table) == [1, 2]
    assert listed(table, "A") == [1, 2]
