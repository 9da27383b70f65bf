"""The demo's sentences about the model."""

import numpy as np
import pytest

from demo.summary import compare_with_best_baseline, realised_quality, show_metrics
from steam_recsys.evaluation.intervals import Comparison

USERS = 200
NOISE = np.random.default_rng(0).normal(0, 0.01, USERS)


def comparison(gain: float) -> Comparison:
    """A challenger that exceeds the best of two baselines by `gain`, plus noise."""
    figures = {"challenger": 0.3 + gain + NOISE, "recent popularity": np.full(USERS, 0.3), "EASE": np.full(USERS, 0.2)}
    return Comparison.from_figures({name: {"ndcg_at_10": figure} for name, figure in figures.items()})


@pytest.mark.parametrize(("gain", "outcome"), [(0.1, "better"), (0.0, "level"), (-0.01, "worse"), (0.001, "level")])
def test_a_model_is_better_or_worse_only_if_the_difference_is_significant(gain: float, outcome: str) -> None:
    beside = compare_with_best_baseline(comparison(gain))
    assert (beside["baseline"], beside["outcome"]) == ("recent_popularity", outcome)
    assert beside["low"] < beside["difference"] < beside["high"]


def summary(*, passed: bool) -> dict[str, object]:
    figures = {"ndcg_at_10": 0.4, "recall_at_20": 0.5}
    beside, failed = compare_with_best_baseline(comparison(0.1)), ["NDCG@10 is 0.1: failed.", "Overlap is 0.9: failed."]
    return {
        "data": {"reviews": 1, "games": 1, "users": 1, "rejected": {}},
        "gate": {"model": "new", "passed": passed, "failed": [] if passed else failed},
        "model": {
            "version": "new" if passed else "old", "cutoff": "2024-11-03", **figures,
            "baselines": {"recent_popularity": figures}, "beside_best_baseline": beside,
        },
        "publication": {"users": 1, "overlap": None, "coverage": None, "popular_ten": None},
        "monitoring": {"judged_users": None},
        "seconds": {"train": 1.0},
    }  # fmt: skip


def test_the_gates_outcome_and_the_best_baseline_follow_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    show_metrics(summary(passed=True), "SYNTHETIC DATA")
    show_metrics(summary(passed=False), "SYNTHETIC DATA")
    printed = capsys.readouterr().out
    assert "Model new on the reviews from 2024-11-03 on (SYNTHETIC DATA)\n" in printed
    beside = "By NDCG@10 the model is better than the best baseline, recent popularity: user by user +0."
    assert f"Model new passed the gate.\n{beside}" in printed
    failed = "  ✗ NDCG@10 is 0.1: failed.\n  ✗ Overlap is 0.9: failed.\n"
    assert f"Model new did not pass the gate, the champion stays old:\n{failed}{beside}" in printed


def test_the_model_is_marked_among_the_rankers_and_the_best_is_first(capsys: pytest.CaptureFixture[str]) -> None:
    show_metrics(summary(passed=True) | {"model": ranked(ours=0.4, popularity=0.3, EASE=0.5)}, "SYNTHETIC DATA")
    rows = [line.rsplit(maxsplit=2)[0].strip() for line in capsys.readouterr().out.splitlines() if "0.5000" in line]
    assert rows == ["EASE", "▶ the model", "popularity"]


def ranked(*, ours: float, **baselines: float) -> dict[str, object]:
    """A model of this NDCG@10, and its baselines."""
    figures = {name: {"ndcg_at_10": figure, "recall_at_20": 0.5} for name, figure in baselines.items()}
    beside = compare_with_best_baseline(comparison(0.1))
    return {
        "version": "new", "cutoff": "2024-11-03", "ndcg_at_10": ours, "recall_at_20": 0.5, "baselines": figures,
        "beside_best_baseline": beside,
    }  # fmt: skip


def test_realised_quality_is_shown_once_users_have_written_new_reviews() -> None:
    figures = {"judged_users": 1505, "ndcg": 0.3562, "popular_ndcg": 0.3381, "psi_games": 0.004}
    assert realised_quality({"judged_users": None}) == realised_quality({}) == ""
    assert realised_quality(figures) == (
        "Since the last publications, 1,505 users reviewed new games: NDCG@10 0.3562, recent popularity 0.3381; "
        "drift of the games (PSI) 0.00."
    )
    assert realised_quality({**figures, "psi_games": None}).endswith("recent popularity 0.3381.")
