import numpy as np
import pytest

from steam_recsys.evaluation.sequential_test import (
    EXPECTED_COUNT,
    compare_proportions,
    confidence_half_width,
    difference_of_proportions,
    log_mixture_ratio,
)

EXPERIMENTS, DAYS, USERS_PER_DAY, ALPHA = 3_000, 90, 200, 0.05


def simulate(share: float, control_rate: float, rate: float) -> list[np.ndarray]:
    """Cumulated users and successes of both groups over daily looks, int64 [EXPERIMENTS, DAYS] each."""
    random = np.random.default_rng(0)
    found = []
    for group_share, group_rate in ((share, control_rate), (1 - share, rate)):
        users = random.binomial(USERS_PER_DAY, group_share, (EXPERIMENTS, DAYS))
        found += [users.cumsum(axis=1), random.binomial(users, group_rate).cumsum(axis=1)]
    return found


def ever(share: float, control_rate: float, rate: float) -> tuple[float, float]:
    """The shares of experiments in which the test, and an ordinary one, find a difference at any daily look."""
    difference, variance = difference_of_proportions(*simulate(share, control_rate, rate))
    sequential = log_mixture_ratio(difference, variance) >= np.log(1 / ALPHA)
    ordinary = np.abs(difference) >= 1.96 * np.sqrt(variance)
    return float(sequential.any(axis=1).mean()), float(ordinary.any(axis=1).mean())


@pytest.mark.parametrize(("share", "rate"), [(0.05, 0.05), (0.1, 0.02), (0.2, 0.01), (0.5, 0.01), (0.5, 0.3)])
def test_daily_looks_raise_false_alarms_in_less_than_five_per_cent_of_experiments(share: float, rate: float) -> None:
    sequential, ordinary = ever(share, rate, rate)
    assert sequential <= 0.03
    assert ordinary >= 0.15  # what peeking at an ordinary test costs


def test_a_true_difference_is_found_in_most_experiments() -> None:
    sequential, _ = ever(0.5, 0.05, 0.07)
    assert sequential >= 0.95


def test_all_daily_intervals_contain_the_true_difference_in_95_per_cent_of_experiments() -> None:
    difference, variance = difference_of_proportions(*simulate(0.2, 0.05, 0.06))
    half = np.vectorize(confidence_half_width)(variance)
    outside = np.abs(difference - 0.01) > half
    assert outside.any(axis=1).mean() <= ALPHA


def test_the_interval_excludes_zero_where_the_p_value_of_a_look_is_five_per_cent() -> None:
    variance = np.array([1e-6, 1e-5, 1e-4])
    at_limit = np.vectorize(confidence_half_width)(variance)
    assert np.exp(-log_mixture_ratio(at_limit, variance)) == pytest.approx(ALPHA)


def test_a_p_value_never_rises_again() -> None:
    users = np.array([1_000, 2_000, 4_000])
    control, treated = np.array([50, 100, 200]), np.array([100, 120, 200])
    p_values = [compare_proportions(users[:n], control[:n], users[:n], treated[:n]).p_value for n in (1, 2, 3)]
    assert p_values[0] < 0.05
    assert p_values == [p_values[0]] * 3


def test_there_is_no_look_with_too_few_users() -> None:
    few = np.array([EXPECTED_COUNT * 10 - 1])
    assert compare_proportions(few, few // 10, few, few // 10).difference is None
    assert compare_proportions(*np.zeros((4, 0), dtype=np.int64)).p_value == 1.0
    assert compare_proportions(*np.zeros((4, 3), dtype=np.int64)).p_value == 1.0
