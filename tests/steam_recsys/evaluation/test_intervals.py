import numpy as np
import pytest

from steam_recsys.evaluation import intervals as module
from steam_recsys.evaluation.intervals import intervals


def test_an_interval_extends_about_two_standard_errors_to_each_side() -> None:
    figures = np.random.default_rng(0).random(2_000)
    found = intervals({"figure": figures})["figure"]
    error = figures.std() / np.sqrt(2_000)
    assert found.mean == pytest.approx(figures.mean())
    assert found.error == pytest.approx(error, rel=1e-3)
    assert found.low == pytest.approx(
        figures.mean() - 1.96 * error, abs=0.35 * error
    )  # a quantile of 1,000 resamples is off by 0.09
    assert found.high == pytest.approx(
        figures.mean() + 1.96 * error, abs=0.35 * error
    )  # a quantile of 1,000 resamples is off by 0.09


def test_the_order_of_users_does_not_change_the_last_digit_of_a_mean() -> None:
    random = np.random.default_rng(0)
    figures = 1 / np.log2(random.integers(2, 12, 300))
    means = {intervals({"": random.permutation(figures)})[""].mean for _ in range(20)}
    assert len(means) == 1


def test_an_interval_covers_the_true_mean_in_95_per_cent_of_samples() -> None:
    random = np.random.default_rng(1)
    covered = [
        found.low <= 0.3 <= found.high
        for _ in range(200)
        for found in intervals({"": (random.random(100) < 0.3).astype(float)}).values()
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.04)


def test_figures_and_their_difference_are_resampled_together() -> None:
    random = np.random.default_rng(2)
    users = random.normal(0, 10, 500)  # users differ a lot, the rankings hardly
    found = intervals({"a": users, "b": users + 0.1, "b - a": np.full(500, 0.1)})
    assert found["b - a"].low == pytest.approx(0.1)
    assert found["b"].low - found["a"].low == pytest.approx(0.1)
    assert found["a"].high - found["a"].low > 1


def test_the_seed_determines_the_interval_for_any_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"figure": np.random.default_rng(0).random(50)}
    assert intervals(figures) == intervals(figures)
    assert intervals(figures) != intervals(figures, seed=1)
    at_once = intervals(figures)
    monkeypatch.setattr(module, "_BLOCK", 100)
    assert intervals(figures)["figure"].mean == at_once["figure"].mean


def test_the_interval_of_a_single_user_has_no_width() -> None:
    assert intervals({"figure": np.array([0.5])})["figure"] == module.Interval(0.5, 0.5, 0.5)
    assert intervals({}) == {}
