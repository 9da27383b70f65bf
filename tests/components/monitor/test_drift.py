from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from components.monitor.drift import Drift, measure_drift, population_stability_index
from steam_recsys.data.interactions import day_of
from tests.snapshots import Review, write_snapshot_of

TRAINED = date(2020, 6, 30)
NORMS = np.array([1.0, 2.0, 3.0, 0.0], dtype=np.float32)
counts = hnp.arrays(np.float64, 5, elements=st.integers(0, 1000).map(float))


def drift_of(root: Path, reviews: list[Review], known: int = 4, **shop: object) -> Drift:
    snapshot = write_snapshot_of(root, reviews, n_games=4, **shop)
    known_games = np.arange(1, known + 1, dtype=np.int32)
    return measure_drift(snapshot, known_games, NORMS, day_of(TRAINED))


def days(first: date, n: int) -> list[date]:
    return [first + timedelta(days=number) for number in range(n)]


@given(expected=counts, actual=counts)
def test_the_index_is_never_negative_the_same_both_ways_and_zero_for_equal_shares(
    expected: np.ndarray, actual: np.ndarray
) -> None:
    index = population_stability_index(expected, actual)
    assert index >= 0
    assert index == pytest.approx(population_stability_index(actual, expected))
    assert population_stability_index(expected, expected) == pytest.approx(0)


def test_the_index_follows_its_formula() -> None:
    a, e = np.array([0.2, 0.8]), np.array([0.5, 0.5])
    large = population_stability_index(e * 1e9, a * 1e9)
    assert large == pytest.approx((0.2 - 0.5) * np.log(0.2 / 0.5) + (0.8 - 0.5) * np.log(0.8 / 0.5))


def test_a_shop_without_changes_does_not_drift(tmp_path: Path) -> None:
    before = [(user, 1 + user // 2 % 4, date(2020, 6, 1)) for user in range(80)]
    after = [(user + 100, game, date(2020, 7, 1)) for user, game, _ in before]
    found = drift_of(tmp_path, [*before, *after], genres={1: ["A"], 2: ["B"], 3: ["A", "B"], 4: []})
    assert found.psi_games < 0.05
    assert replace(found, psi_games=0) == Drift(80, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0)


def test_many_games_with_few_reviews_are_not_drift(tmp_path: Path) -> None:
    games = np.random.default_rng(0).integers(1, 2_001, 4_000).tolist()
    reviews = [(user, game, TRAINED if user < 3_000 else date(2020, 7, 1)) for user, game in enumerate(games)]
    snapshot = write_snapshot_of(tmp_path, reviews, n_games=2_000)
    found = measure_drift(snapshot, np.arange(1, 2_001, dtype=np.int32), np.ones(2_000, np.float32), day_of(TRAINED))
    assert found.psi_games < 0.05


def test_other_games_genres_and_lengths_of_history_are_drift(tmp_path: Path) -> None:
    before = [(user, 1, date(2020, 6, 1)) for user in range(1, 51)]
    after = [(user, game, date(2020, 7, 1)) for user in range(1, 26) for game in (2, 3)]
    found = drift_of(tmp_path, [*before, *after], genres={1: ["A"], 2: ["B"], 3: ["B"]}, known=2)
    assert found.reviews == 50
    assert min(found.psi_games, found.psi_genres, found.psi_history_lengths) > 1
    assert found.unknown_games_share == 0.5
    assert found.new_users_share == 0
    assert found.popularity_shift == 0.5  # of games 2 and 3, game 1 took a place of two before
    assert found.vector_norm_change == pytest.approx(1.5)  # games 2 and 3 have 2.5 on average, game 1 has 1


def test_a_few_days_have_the_history_lengths_of_ninety(tmp_path: Path) -> None:
    often = [(user, 1, day) for day in days(date(2020, 1, 1), 192) for user in range(1, 21)]
    once = [(100 + number, 1, day) for number, day in enumerate(days(date(2020, 1, 1), 192))]
    assert drift_of(tmp_path, [*often, *once]).psi_history_lengths < 0.05  # ten days of July beside ninety before


def test_users_without_earlier_reviews_are_new_and_old_reviews_are_no_reference(tmp_path: Path) -> None:
    long_ago = [(1, 4, date(2019, 1, 1))] * 9
    window = [(1, 1, date(2020, 6, 1)), (1, 1, TRAINED)]
    found = drift_of(tmp_path, [*long_ago, *window, (1, 1, date(2020, 7, 1)), (2, 1, date(2020, 7, 2))])
    assert found.new_users_share == 0.5
    assert found.psi_games == 0


def test_reviews_of_games_without_a_vector_shorten_the_mean_and_without_any_nothing_is_compared(tmp_path: Path) -> None:
    before = [(1, 2, TRAINED), (2, 2, TRAINED)]
    half = drift_of(tmp_path / "half", [*before, (3, 2, date(2020, 7, 1)), (3, 4, date(2020, 7, 2))])
    assert half.vector_norm_change == pytest.approx(-0.5)
    assert drift_of(tmp_path / "none", [(1, 4, TRAINED), (1, 1, date(2020, 7, 1))]).vector_norm_change == 0


def test_reviews_without_a_day_or_an_author_and_a_shop_without_new_ones_have_figures(tmp_path: Path) -> None:
    assert drift_of(tmp_path / "a", [(None, 1, date(2020, 7, 1)), (1, 2, None)]) == Drift(0, 0, 0, 0, 0, 0, 0, 0)
    assert drift_of(tmp_path / "b", [(1, 1, TRAINED)]) == Drift(0, 0, 0, 0, 0, 0, 0, 0)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(-200, 20)), max_size=40))
def test_shares_equal_a_naive_count(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int, int]]) -> None:
    reviews: list[Review] = [(user, game, TRAINED + timedelta(days=day)) for user, game, day in rows]
    found = drift_of(tmp_path_factory.mktemp("shop"), [*reviews, (9, 1, None)], known=2)
    recent = [(user, game) for user, game, day in rows if day > 0]
    earlier = {user for user, _, day in rows if day <= 0}
    users = {user for user, _ in recent}
    assert found.reviews == len(recent)
    assert found.unknown_games_share == pytest.approx(sum(game > 2 for _, game in recent) / max(1, len(recent)))
    assert found.new_users_share == pytest.approx(len(users - earlier) / max(1, len(users)))
