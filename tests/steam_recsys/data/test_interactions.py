from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.data import interactions
from steam_recsys.data.interactions import UNDATED, cutoff_day, in_sample, load_interactions, load_sample, split_by_time
from tests.snapshots import write_snapshot_of

EPOCH = date(1970, 1, 1)
reviews = st.lists(
    st.tuples(
        st.one_of(st.none(), st.integers(1, 4)),
        st.integers(1, 4),
        st.one_of(st.none(), st.integers(14_000, 14_005).map(lambda day: EPOCH + timedelta(days=day))),
    ),
    min_size=1,
    max_size=30,
)


@given(reviews, st.integers(1, 12))
def test_reviews_are_ordered_by_user_day_and_id_whatever_the_batch_size(tmp_path_factory, rows, batch_rows):
    snapshot = write_snapshot_of(tmp_path_factory.mktemp("snapshot"), rows)
    latest = {}
    for number, (user, game, day) in enumerate(rows):
        key = (day is not None, day or EPOCH, number)
        if user is not None and latest.get((user, game), key) <= key:
            latest[user, game] = key
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interactions, "SORT_BATCH_ROWS", batch_rows)
        loaded = load_interactions(snapshot)
    expected = sorted((user, *key, game) for (user, game), key in latest.items())
    assert loaded.users.tolist() == [row[0] for row in expected]
    assert loaded.games.tolist() == [row[-1] for row in expected]


@given(reviews)
def test_the_latest_of_several_reviews_of_a_game_by_a_user_counts(tmp_path_factory, rows):
    snapshot = write_snapshot_of(tmp_path_factory.mktemp("snapshot"), rows)
    latest = {}
    for number, (user, game, day) in enumerate(rows):
        if user is not None:
            key = (day is not None, day or EPOCH, number)
            latest[user, game] = max(latest.get((user, game), key), key)
    loaded = load_interactions(snapshot)
    found = {
        (user, game): None if day == UNDATED else EPOCH + timedelta(days=day)
        for user, game, day in zip(loaded.users.tolist(), loaded.games.tolist(), loaded.days.tolist(), strict=True)
    }
    assert len(found) == len(loaded)
    assert found == {pair: day if dated else None for pair, (dated, day, _) in latest.items()}
    assert (np.diff(loaded.users) >= 0).all()


def test_the_split_keeps_days_whole_and_leaves_out_undated_rows(tmp_path):
    days = [EPOCH + timedelta(days=14_000 + n // 2) for n in range(20)]
    snapshot = write_snapshot_of(tmp_path, [*((n, 1, day) for n, day in enumerate(days)), (99, 1, None)])
    interactions = load_interactions(snapshot)
    cutoff = cutoff_day(interactions, 0.1)
    past, future = split_by_time(interactions, cutoff)
    assert cutoff == 14_009
    assert (len(past), len(future)) == (18, 2)


def test_a_game_reviewed_before_and_again_after_the_cutoff_belongs_to_the_history(tmp_path):
    # Elsewhere the latest review of a user and game counts; here it would make a known game look new.
    snapshot = write_snapshot_of(
        tmp_path, [(1, 1, date(2020, 1, 1)), (1, 1, date(2020, 3, 1)), (1, 2, date(2020, 3, 1)), (1, 3, None)]
    )
    before = load_interactions(snapshot, before=(date(2020, 2, 1) - EPOCH).days)
    assert before.games.tolist() == [1]
    assert UNDATED not in before.days


def test_a_large_shop_is_sampled_by_user(tmp_path, monkeypatch):
    rows = [(user, game, date(2020, 1, game)) for user in range(1, 201) for game in (1, 2)]
    snapshot = write_snapshot_of(tmp_path / "snapshot", rows)
    assert len(load_sample(snapshot)) == 400
    monkeypatch.setattr(interactions, "SAMPLE_REVIEWS", 100)
    sample = load_sample(snapshot)
    users, counts = np.unique(sample.users, return_counts=True)
    assert 25 <= len(users) <= 75
    assert set(counts) == {2}
    assert np.array_equal(np.unique(load_sample(snapshot, before=interactions.day_of(date(2020, 1, 2))).users), users)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_sample_has_its_share_of_the_users_and_those_of_each_smaller_sample(share):
    users = np.arange(-50_000, 50_000)
    sampled = in_sample(users, share)
    assert np.mean(sampled) == pytest.approx(share, abs=0.01)
    assert not np.any(sampled & ~in_sample(users, share + 0.1))
