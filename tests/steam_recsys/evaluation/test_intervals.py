import json
from dataclasses import asdict

import numpy as np
import pytest

from steam_recsys.evaluation import intervals as module
from steam_recsys.evaluation.intervals import Comparison, intervals

OURS = np.array([0.5, 0.7, 0.9])
MEASURED = {
    "challenger": {"ndcg_at_10": OURS, "recall_at_20": OURS},
    "popularity": {"ndcg_at_10": OURS - 0.1, "recall_at_20": OURS + 0.1},
    "EASE": {"ndcg_at_10": OURS - 0.1, "recall_at_20": OURS},
    "champion": {"ndcg_at_10": OURS + 0.2, "recall_at_20": OURS},
}


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
    monkeypatch.setattr(module, "_BLOCK_DRAWS", 100)
    assert intervals(figures)["figure"].mean == at_once["figure"].mean


def test_the_interval_of_a_single_user_has_no_width() -> None:
    assert intervals({"figure": np.array([0.5])})["figure"] == module.Interval(0.5, 0.5, 0.5)
    assert intervals({}) == {}


def test_differences_are_taken_user_by_user_for_every_opponent_and_metric() -> None:
    compared = Comparison.from_figures(MEASURED)
    assert compared.users == 3
    assert list(compared.figures) == list(MEASURED)
    assert set(compared.differences) == {"popularity", "EASE", "champion"}
    assert set(compared.differences["EASE"]) == {"ndcg_at_10", "recall_at_20"}
    difference = compared.differences["popularity"]["ndcg_at_10"]
    assert (difference.low, difference.mean, difference.high) == pytest.approx((0.1, 0.1, 0.1))
    assert difference.error == pytest.approx(0)
    assert compared.figures["popularity"]["ndcg_at_10"].error == pytest.approx(0.2 / np.sqrt(3))


def test_intervals_equal_those_computed_separately() -> None:
    random = np.random.default_rng(0)
    measured = {name: {"ndcg_at_10": random.random(200)} for name in ("challenger", "popularity")}
    compared = Comparison.from_figures(measured)
    ours, theirs = (measured[name]["ndcg_at_10"] for name in ("challenger", "popularity"))
    alone = intervals({"theirs": theirs, "difference": ours - theirs})
    assert compared.figures["popularity"]["ndcg_at_10"] == alone["theirs"]
    assert asdict(compared.differences["popularity"]["ndcg_at_10"]) == pytest.approx(asdict(alone["difference"]))


def test_the_best_baseline_is_the_first_with_the_highest_mean_and_never_the_champion() -> None:
    compared = Comparison.from_figures(MEASURED)
    assert compared.best_baseline("ndcg_at_10") == "popularity"
    assert compared.best_baseline("recall_at_20") == "popularity"


def test_a_comparison_is_rebuilt_from_json() -> None:
    compared = Comparison.from_figures(MEASURED)
    assert Comparison.from_dict(json.loads(json.dumps(asdict(compared)))) == compared


def test_no_users_have_no_figures() -> None:
    no_users = {name: {metric: figures[:0] for metric, figures in of.items()} for name, of in MEASURED.items()}
    assert Comparison.from_figures(no_users) == Comparison.from_figures({"challenger": {}}) == Comparison(0, {}, {})
