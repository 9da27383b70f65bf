from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.train.popularity_prior import (
    DEFAULT_WEIGHTS,
    PRIOR_REVIEWS,
    UNDATED_WEIGHTS,
    decay_weights,
    shares_by_period,
)
from steam_recsys.data.interactions import UNDATED, Interactions
from steam_recsys.data.popularity import DECAYS
from steam_recsys.model.two_tower import log_shares

GAMES, PERIOD_DAYS, SMOOTHING = 6, 10, 1.0

Row = tuple[int, int, int]
"""User, game, day."""

ROWS = st.lists(st.tuples(st.integers(1, 8), st.integers(1, GAMES), st.integers(100, 160)), min_size=2)


def interactions(rows: list[Row]) -> Interactions:
    users, games, days = (np.array(column) for column in zip(*sorted(rows), strict=True))
    return Interactions(
        users.astype(np.int64), games.astype(np.int32), days.astype(np.int32),
        np.ones(len(rows), bool), np.zeros(len(rows), np.float32),
    )  # fmt: skip


def catalogue(games: int = GAMES) -> np.ndarray:
    return np.arange(1, games + 1, dtype=np.int32)


def shares_of(rows: list[Row], games: int = GAMES) -> tuple[np.ndarray, np.ndarray]:
    return shares_by_period(interactions(rows), catalogue(games), PERIOD_DAYS, SMOOTHING)


def weights_of(rows: list[Row], games: int = GAMES) -> np.ndarray:
    return decay_weights(interactions(rows), *shares_of(rows, games), catalogue(games))


@settings(max_examples=60)
@given(ROWS)
def test_examples_see_only_popularity_from_before_their_period(rows: list[Row]) -> None:
    """Compared with a naive count, review by review."""
    periods, shares = shares_of(rows)
    first = min(day for _, _, day in rows)
    for (_, _, day), period in zip(sorted(rows), periods, strict=True):
        as_of = first + (day - first) // PERIOD_DAYS * PERIOD_DAYS
        assert as_of <= day
        for index, decay in enumerate(DECAYS):
            counts = np.zeros(GAMES)
            for _, game, earlier in rows:
                if earlier < as_of:
                    counts[game - 1] += np.exp(-(as_of - earlier) / decay)
            assert shares[index, period] == pytest.approx(log_shares(counts, SMOOTHING), abs=1e-5)


@settings(max_examples=60)
@given(ROWS, st.integers(100, 160))
def test_later_reviews_do_not_leak_into_earlier_examples(rows: list[Row], day: int) -> None:
    planted = rows + [(user, 1 + user % GAMES, day) for user in range(100, 400)]
    first = min(when for _, _, when in rows)
    if day < first:
        return  # it would move the start of the first period
    (_, before), (_, after) = shares_of(rows), shares_of(planted)
    untouched = min((day - first) // PERIOD_DAYS + 1, before.shape[1])
    assert after[:, :untouched] == pytest.approx(before[:, :untouched], abs=1e-5)


def test_leak_test_detects_a_leak() -> None:
    """Without periods, popularity includes later reviews."""
    rows = [(1, 1, 100), (2, 2, 130)]
    planted = rows + [(user, 2, 131) for user in range(100, 400)]
    before, after = (shares_of([(user, game, UNDATED) for user, game, _ in found])[1] for found in (rows, planted))
    assert before[:, 0] != pytest.approx(after[:, 0], abs=1e-5)


def test_reviews_that_follow_recent_trends_favour_the_shortest_decay() -> None:
    """The most popular game changes every other period."""
    random = np.random.default_rng(0)
    rows = [
        (user, 1 + int((period + late) // 2 + random.integers(0, 2)) % 40, 10 * period + late)
        for period in range(60)
        for late in (0, 1)
        for user in range(40)
    ]
    weights = weights_of(rows, 40)
    assert weights[0] > 0.5 > weights[2]


def test_reviews_that_follow_all_time_popularity_favour_no_decay() -> None:
    random = np.random.default_rng(0)
    popularity = 1 / np.arange(1, 41)
    rows = [
        (user, 1 + int(game), 60 * period)
        for period in range(60)
        for user, game in enumerate(random.choice(40, 200, p=popularity / popularity.sum()))
    ]
    weights = weights_of(rows, 40)
    assert np.argmax(weights) == 2
    assert weights.sum() == pytest.approx(1, abs=0.1)


@given(ROWS, st.integers(0, 2), st.sampled_from([-0.02, 0.02]))
def test_weights_maximise_the_likelihood(rows: list[Row], index: int, change: float) -> None:
    """Compared with a naive computation of the likelihood and the prior."""
    periods, shares = shares_of(rows)

    def loss(weights: np.ndarray) -> float:
        total = PRIOR_REVIEWS * ((weights - DEFAULT_WEIGHTS) ** 2).sum() / 2
        for (_, game, _), period in zip(sorted(rows), periods, strict=True):
            scores = weights @ shares[:, period].astype(np.float64)
            total += np.log(np.exp(scores).sum()) - scores[game - 1]
        return float(total)

    weights = weights_of(rows)
    other = weights.copy()
    other[index] += change
    assert loss(weights) < loss(other)


def test_only_recommending_reviews_count_and_undated_reviews_get_fixed_weights() -> None:
    rows = interactions([(user, 1 + user % GAMES, 100 + user) for user in range(60)])
    liked = replace(rows, recommended=rows.games != 3)
    periods, shares = shares_by_period(liked, catalogue(), PERIOD_DAYS, SMOOTHING)
    found = decay_weights(liked, periods, shares, catalogue())
    kept = liked.recommended
    alone = decay_weights(liked.take(kept), periods[kept], shares, catalogue())
    assert found == pytest.approx(alone)
    timeless = replace(rows, days=np.full(len(rows), UNDATED, np.int32))
    assert decay_weights(timeless, periods, shares, catalogue()) is UNDATED_WEIGHTS


def test_single_game_gives_the_default_weights() -> None:
    assert weights_of([(1, 1, 100), (2, 1, 150)], 1) == pytest.approx(DEFAULT_WEIGHTS)
