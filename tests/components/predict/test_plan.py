import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.predict.plan import ReviewsByShard, histories_table, remove_stale_predictions, users_by_shard
from steam_recsys.data import snapshot as snapshots
from steam_recsys.data.interactions import load_interactions
from steam_recsys.data.schemas import HISTORIES
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import DiskFolder
from tests.snapshots import write_snapshot_of

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
    found = [histories_table(users, parts.interactions(shard)) for shard, users in enumerate(shards)]
    whole = histories_table(np.arange(1, 10), load_interactions(snapshot))
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
    table = histories_table(users, ReviewsByShard(snapshot, [(7, 9)]).interactions(0))
    assert table.to_pylist() == [
        {"user_id": 7, "game_ids": [2, 1, 3], "recommended": [True, True, False], "hours": [1.0, 1.0, 1.0]},
        {"user_id": 8, "game_ids": [1], "recommended": [True], "hours": [1.0]},
        {"user_id": 9, "game_ids": [], "recommended": [], "hours": []},
    ]


def test_reviews_of_removed_users_are_ignored(tmp_path):
    reviews = [(user, game, None) for user, game in [(1, 1), (2, 2), (3, 3)]]
    snapshot = write_snapshot_of(tmp_path, reviews, users=[1, 3])
    (users,) = users_by_shard(snapshot, 3)
    table = histories_table(users, ReviewsByShard(snapshot, [(1, 3)]).interactions(0))
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


def test_predictions_not_written_for_two_days_are_removed_except_the_current_version(tmp_path: Path) -> None:
    store = DiskFolder(str(tmp_path))
    names = [f"predictions/{version}/{file}" for version in ("old", "young", "mine") for file in ("plan.json", "a/b")]
    for name in (*names, "models/old"):
        store.write(name, b"x")
    long_ago = (datetime.now(UTC) - timedelta(days=3)).timestamp()
    for name in (*names, "models/old"):
        if name != "predictions/young/a/b":
            os.utime(tmp_path / name, (long_ago, long_ago))
    for _ in range(2):
        remove_stale_predictions(str(tmp_path), "mine")
        kept = [name for name in names if "/old/" not in name]
        assert store.names("") == sorted([*kept, "models/old"])


def test_store_without_predictions_is_not_created(tmp_path: Path) -> None:
    remove_stale_predictions(str(tmp_path / "store"), "mine")
    assert not (tmp_path / "store").exists()
