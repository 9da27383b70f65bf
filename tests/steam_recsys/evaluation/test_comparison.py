import json
from dataclasses import asdict

import numpy as np
import pytest

from steam_recsys.evaluation.intervals import Comparison, intervals

OURS = np.array([0.5, 0.7, 0.9])
MEASURED = {
    "challenger": {"ndcg_at_10": OURS, "recall_at_20": OURS},
    "popularity": {"ndcg_at_10": OURS - 0.1, "recall_at_20": OURS + 0.1},
    "EASE": {"ndcg_at_10": OURS - 0.1, "recall_at_20": OURS},
    "champion": {"ndcg_at_10": OURS + 0.2, "recall_at_20": OURS},
}


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
    nobody = {name: {metric: figures[:0] for metric, figures in of.items()} for name, of in MEASURED.items()}
    assert Comparison.from_figures(nobody) == Comparison.from_figures({"challenger": {}}) == Comparison(0, {}, {})
