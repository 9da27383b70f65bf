from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.predict.dismissals import Dismissals
from components.predict.plan import (
    FALLBACK_GAMES,
    OVERALL,
    GameCounts,
    ReviewsByShard,
    fallback_lists,
    histories_table,
    plan_predictions,
    users_by_shard,
)
from steam_recsys.data import snapshot as snapshots
from steam_recsys.data.interactions import load_interactions
from steam_recsys.data.popularity import DECAY_DAYS, DECAYS
from steam_recsys.data.predictions import predictions_uri
from steam_recsys.data.schemas import DISCOVERY, GAMES, HISTORIES, NEW_RELEASES, POPULAR, POPULAR_LIST, RANKINGS
from steam_recsys.errors import UserError
from steam_recsys.model.lists import ReviewCounts
from tests.components.predict.artifacts import promote_model, write_model
from tests.snapshots import write_snapshot_of

NOTHING = Dismissals().until(0)
DAYS = st.one_of(st.none(), st.integers(0, 5).map(lambda day: date(2020, 1, 1) + timedelta(days=day)))
REVIEWS = st.lists(st.tuples(st.one_of(st.none(), st.integers(1, 9)), st.integers(1, 4), DAYS), min_size=1, max_size=40)


@settings(deadline=None)
@given(REVIEWS, st.integers(1, 10), st.integers(1, 50))
def test_histories_by_shard_equal_those_of_all_reviews(tmp_path_factory, reviews, users_per_shard, batch_rows):
    snapshot = write_snapshot_of(
        tmp_path_factory.mktemp("snapshot"), reviews, users=range(1, 10), not_recommended={(1, 1), (2, 3)}
    )
    dataset = snapshot.dataset

    class InSmallBatches(snapshots.Snapshot):
        def dataset(self, table):
            return SmallBatches(dataset(table), batch_rows)

    snapshot = InSmallBatches(snapshot.root, snapshot.manifest)
    shards = list(users_by_shard(snapshot, users_per_shard))
    assert np.concatenate(shards).tolist() == list(range(1, 10))
    assert all(len(users) == users_per_shard for users in shards[:-1])
    parts = ReviewsByShard(snapshot, [(int(users[0]), int(users[-1])) for users in shards])
    found = [histories_table(users, parts.interactions(shard), NOTHING) for shard, users in enumerate(shards)]
    whole = histories_table(np.arange(1, 10), load_interactions(snapshot), NOTHING)
    assert pa.concat_tables(found).to_pylist() == whole.to_pylist()
    assert whole.schema.equals(HISTORIES)


class SmallBatches:
    """A dataset read in batches of a few rows."""

    def __init__(self, dataset, rows):
        self._dataset, self._rows = dataset, rows

    def to_batches(self, **options):
        return self._dataset.to_batches(**options, batch_size=self._rows)


def test_history_is_sorted_by_time_with_verdicts_and_hours(tmp_path):
    reviews = [(7, 3, date(2020, 1, 2)), (7, 2, None), (7, 1, date(2020, 1, 1)), (8, 1, None)]
    snapshot = write_snapshot_of(tmp_path, reviews, users=[7, 8, 9], not_recommended={(7, 3)})
    (users,) = users_by_shard(snapshot, 3)
    dismissed = np.array([6, 7, 7, 9, 10]), np.array([1, 4, 5, 6, 2], dtype=np.int32)
    table = histories_table(users, ReviewsByShard(snapshot, [(7, 9)]).interactions(0), dismissed)
    assert table.to_pylist() == [
        {
            "user_id": 7,
            "game_ids": [2, 1, 3],
            "recommended": [True, True, False],
            "hours": [1.0, 1.0, 1.0],
            "dismissed": [4, 5],
        },
        {"user_id": 8, "game_ids": [1], "recommended": [True], "hours": [1.0], "dismissed": []},
        {"user_id": 9, "game_ids": [], "recommended": [], "hours": [], "dismissed": [6]},
    ]


def test_reviews_of_removed_users_are_ignored(tmp_path):
    reviews = [(user, game, None) for user, game in [(1, 1), (2, 2), (3, 3)]]
    snapshot = write_snapshot_of(tmp_path, reviews, users=[1, 3])
    (users,) = users_by_shard(snapshot, 3)
    table = histories_table(users, ReviewsByShard(snapshot, [(1, 3)]).interactions(0), NOTHING)
    assert [row["game_ids"] for row in table.to_pylist()] == [[1], [3]]


def test_unsorted_users_are_refused(tmp_path):
    snapshot = write_snapshot_of(tmp_path, [(1, 1, None)], users=[1, 3, 2])
    with pytest.raises(UserError, match="are not sorted by ID: extract it again"):
        list(users_by_shard(snapshot, 2))


def test_snapshot_without_users_has_no_shards(tmp_path):
    snapshot = write_snapshot_of(tmp_path, [(None, 1, None)], users=[])
    assert list(users_by_shard(snapshot, 2)) == []
    assert not len(load_interactions(snapshot))
    ReviewsByShard(snapshot, [])


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


DAY = date(2020, 6, 1)


@pytest.fixture
def shop(tmp_path, store):
    """A snapshot of twelve games, some of them new, whose newest review is of 2020-06-01."""
    reviews = [(1, 1, DAY), (2, 1, DAY), (2, 2, None), (3, 1, DAY), (None, 3, DAY), (3, 4, date(2020, 1, 1))]
    about = {
        5: {"released_on": DAY}, 6: {"released_on": DAY - timedelta(days=88)},
        7: {"released_on": DAY - timedelta(days=89)}, 8: {"released_on": DAY + timedelta(days=2)},
        9: {"released_on": DAY, "delisted_on": DAY},
    }  # fmt: skip
    snapshot = write_snapshot_of(tmp_path / "shop", reviews, n_games=12, about=about, not_recommended={(3, 1)})
    promote_model(store, write_model(tmp_path / "model", np.eye(12)))
    return snapshot.root


def test_catalogue_has_popularity_reviews_and_availability(shop, store):
    plan = plan_predictions(shop, store, 2)
    catalogue = pq.read_table(Path(predictions_uri(store, plan.version)) / "catalogue.parquet")
    assert catalogue["game_id"].to_pylist() == list(range(1, 13))
    assert catalogue["reviews"].to_pylist()[:4] == [3, 1, 0, 1]
    assert catalogue["likes"].to_pylist()[:4] == [2, 1, 0, 1]
    assert [n for n, can in enumerate(catalogue["available"].to_pylist(), start=1) if not can] == [8, 9]
    popularity = np.array(catalogue["popularity"].to_pylist())
    assert popularity.shape == (12, len(DECAYS))
    assert popularity[0].min() > popularity[3].max() > 0
    expected = pq.read_table(Path(shop) / "games").select(["genres", "description"])
    assert catalogue.select(["genres", "description"]).to_pylist() == expected.to_pylist()


def test_new_releases_of_the_plan_came_out_within_the_window(shop, store):
    def new(days):
        plan = plan_predictions(shop, store, 2, days)
        return plan, listed(
            pq.read_table(Path(predictions_uri(store, plan.version)) / "popular.parquet"), "", "new_releases"
        )

    plan, found = new(90)
    assert (plan.as_of, plan.new_release_days) == ("2020-06-02", 90)
    assert found == [5, 6]
    wider, found = new(91)
    assert found == [5, 6, 7]
    assert wider.version != plan.version


def test_window_of_new_releases_below_one_day_is_refused(shop, store):
    with pytest.raises(UserError, match="new_release_days is 0: give a number from 1"):
        plan_predictions(shop, store, 2, 0)
