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
    ReviewsByShard,
    histories_table,
    plan_predictions,
    users_by_shard,
)
from steam_recsys.data import snapshot as snapshots
from steam_recsys.data.interactions import load_interactions
from steam_recsys.data.popularity import DECAYS
from steam_recsys.data.predictions import predictions_uri
from steam_recsys.data.schemas import HISTORIES
from steam_recsys.errors import UserError
from tests.components.predict.artifacts import promote_model, write_model
from tests.snapshots import write_snapshot_of
from tests.steam_recsys.model.test_fallback_lists import listed

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
