from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.predict.recommender import popularity_offset
from components.shared.games import Games
from components.shared.interactions import UNDATED, Interactions
from components.shared.popularity import DECAY_DAYS
from components.train.corpus import Corpus
from components.train.model import Config

GAMES = 6
CATALOGUE = Games(np.arange(1, GAMES + 1, dtype=np.int32), [{"genre Action": 1.0}] * GAMES)
CONFIG = Config(period_days=10, history_dropout=0.5)
NOTHING_DROPPED = replace(CONFIG, history_dropout=0.0)


def interactions(rows: list[tuple[int, int, int]]) -> Interactions:
    """From users, games and days, in the order in which a snapshot's are."""
    users, games, days = (
        np.array(column) for column in zip(*sorted(rows, key=lambda row: (row[0], row[2])), strict=True)
    )
    return Interactions(
        users.astype(np.int64), games.astype(np.int32), days.astype(np.int32),
        np.ones(len(rows), bool), np.zeros(len(rows), np.float32),
    )  # fmt: skip


ROWS = st.dictionaries(st.tuples(st.integers(1, 8), st.integers(1, GAMES)), st.integers(100, 160), min_size=2).map(
    lambda found: [(user, game, day) for (user, game), day in found.items()]
)


@settings(max_examples=60)
@given(ROWS)
def test_each_target_sees_the_popularity_of_before_its_own_period(rows: list[tuple[int, int, int]]) -> None:
    """Counted naively, review by review."""
    corpus = Corpus.of(interactions(rows), CATALOGUE, CONFIG, 0)
    first = min(day for _, _, day in rows)
    examples = corpus.training_set.read()
    users = np.repeat(examples.histories.users, examples.histories.lengths)
    days = {(user, game): day for user, game, day in rows}
    for user, row, period in zip(users, examples.histories.games, examples.periods, strict=True):
        day = days[int(user), int(corpus.games.ids[row])]
        as_of = first + (day - first) // 10 * 10
        assert as_of <= day
        counts = np.zeros(len(corpus.games.ids))
        for _, game, earlier in rows:
            if earlier < as_of:
                counts[np.searchsorted(corpus.games.ids, game)] += np.exp(-(as_of - earlier) / DECAY_DAYS)
        assert corpus.popularity_offsets[period] == pytest.approx(popularity_offset(counts, 1.0, 1.0), abs=1e-5)


@settings(max_examples=60)
@given(ROWS, st.integers(100, 160))
def test_a_leak_that_is_planted_from_a_day_on_does_not_reach_the_targets_before_it(
    rows: list[tuple[int, int, int]], day: int
) -> None:
    planted = rows + [(user, 1 + user % GAMES, day) for user in range(100, 400)]
    before, after = (Corpus.of(interactions(found), CATALOGUE, CONFIG, 0) for found in (rows, planted))
    first = min(when for _, _, when in rows)
    if day < first:
        return  # it would move the beginning of the first period
    kept = np.isin(after.games.ids, before.games.ids)
    for period in range(min((day - first) // 10 + 1, len(before.popularity_offsets))):
        # Shares are over other catalogues, so the comparison is of differences between games.
        offsets = after.popularity_offsets[period][kept]
        assert offsets - offsets[0] == pytest.approx(
            before.popularity_offsets[period] - before.popularity_offsets[period][0], abs=1e-5
        )


def test_the_test_for_leaks_catches_one() -> None:
    """With the popularity of all times, as it would be without periods, the plant shows."""
    rows = [(1, 1, 100), (2, 2, 130)]
    planted = rows + [(user, 2, 131) for user in range(100, 400)]
    timeless = [Corpus.of(timeless_of(found), CATALOGUE, CONFIG, 0).popularity_offsets[0] for found in (rows, planted)]
    assert timeless[0][0] - timeless[0][1] != pytest.approx(timeless[1][0] - timeless[1][1], abs=1e-5)


def timeless_of(rows: list[tuple[int, int, int]]) -> Interactions:
    return interactions([(user, game, UNDATED) for user, game, _ in rows])


@given(ROWS, st.integers(0, 5))
def test_an_epoch_asks_for_every_interaction_once_and_hides_some_of_the_histories(
    rows: list[tuple[int, int, int]], seed: int
) -> None:
    corpus = Corpus.of(interactions(rows), CATALOGUE, CONFIG, seed)
    steps = corpus.steps_per_epoch(CONFIG)
    batches = list(corpus.batches(CONFIG, steps, 2 * steps))
    assert sum(len(batch.targets) for batch in batches) == len(rows)
    for batch in batches:
        assert batch.target_lengths.sum() == len(batch.targets)
        assert batch.history_lengths.sum() == len(batch.history) <= len(batch.targets)
        assert (np.diff(batch.row_users) >= 0).all()
        owners = np.repeat(batch.row_users, batch.target_lengths)
        lengths = np.bincount(owners, minlength=len(batch.history_lengths))
        assert batch.weights == pytest.approx(1 / np.sqrt(lengths[batch.row_users]) / len(lengths))


@given(ROWS, st.integers(0, 30), st.integers(1, 3))
def test_a_step_sees_the_same_whenever_training_begins_and_however_many_workers_share_it(
    rows: list[tuple[int, int, int]], step: int, workers: int
) -> None:
    corpus = Corpus.of(interactions(rows), CATALOGUE, CONFIG, 0)
    *_, late = corpus.batches(CONFIG, 0, step + 1)
    (whole,) = corpus.batches(CONFIG, step, step + 1)
    assert all(np.array_equal(vars(late)[name], array) for name, array in vars(whole).items() if array is not None)
    shares = [next(corpus.batches(CONFIG, step, step + 1, worker, workers)) for worker in range(workers)]
    assert sorted(np.concatenate([share.history for share in shares])) == sorted(whole.history)
    assert sorted(np.concatenate([share.targets for share in shares])) == sorted(whole.targets)
    counts = [(share.weights * share.target_lengths).sum() for share in shares]
    assert sum(counts) == pytest.approx((whole.weights * whole.target_lengths).sum(), abs=1e-5)


def test_a_game_that_a_user_does_not_recommend_is_history_and_no_target() -> None:
    rows = interactions([(1, 1, 100), (1, 2, 101), (2, 3, 100)])
    corpus = Corpus.of(replace(rows, recommended=np.array([True, False, False])), CATALOGUE, NOTHING_DROPPED, 0)
    (batch,) = corpus.batches(NOTHING_DROPPED, 0, 1)
    assert corpus.games.ids[batch.history].tolist() == [1, 2]
    assert corpus.games.ids[batch.targets].tolist() == [1]
    assert batch.weights.tolist() == [1.0]


def test_only_games_of_which_something_is_known_are_seen_as_new_ones() -> None:
    games = Games(np.array([1, 2], dtype=np.int32), [{"genre Action": 1.0}, {}])
    rows = interactions([(user, game, 100) for user in range(5) for game in (1, 2)])
    config = replace(CONFIG, id_dropout=1.0)
    known = replace(games, attributes=[{"genre Action": 1.0}] * 2)
    for catalogue, expected in ((games, [1, 1]), (known, [0, 0])):
        (batch,) = Corpus.of(rows, catalogue, config, 0).batches(config, 0, 1)
        assert batch.known_ids.tolist() == expected  # an attribute of a single game is not in the vocabulary


def test_small_data_get_their_steps_from_more_epochs() -> None:
    corpus = Corpus.of(interactions([(user, 1 + user % GAMES, 100) for user in range(64)]), CATALOGUE, CONFIG, 0)
    assert corpus.steps_per_epoch(CONFIG) == 4
    assert corpus.steps(CONFIG) == 480
    assert corpus.steps(Config(min_steps=1)) == 8


def test_large_data_get_larger_batches() -> None:
    corpus = Corpus.of(interactions([(user, 1 + user % GAMES, 100) for user in range(640)]), CATALOGUE, CONFIG, 0)
    assert corpus.steps_per_epoch(replace(CONFIG, max_steps_per_epoch=10)) == 10
