import doctest
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.evaluation import metrics
from steam_recsys.evaluation.metrics import MRR, NDCG, HitRate, Metric, Recall


def naive_recall(ranking: list[int], relevant: set[int], k: int) -> float:
    return len(set(ranking[:k]) & relevant) / min(k, len(relevant))


def naive_ndcg(ranking: list[int], relevant: set[int], k: int) -> float:
    gain = sum(1 / math.log2(place + 1) for place, game in enumerate(ranking[:k], start=1) if game in relevant)
    return gain / sum(1 / math.log2(place + 1) for place in range(1, min(k, len(relevant)) + 1))


def naive_mrr(ranking: list[int], relevant: set[int], k: int) -> float:
    return next((1 / place for place, game in enumerate(ranking[:k], start=1) if game in relevant), 0)


def naive_hit_rate(ranking: list[int], relevant: set[int], k: int) -> float:
    return float(bool(set(ranking[:k]) & relevant))


METRICS = [Recall(3), NDCG(3), MRR(3), HitRate(3)]

rankings = st.lists(st.integers(0, 30), unique=True, max_size=25)
relevant_games = st.sets(st.integers(0, 30), min_size=1)


@given(rankings, relevant_games, st.integers(1, 30))
def test_metrics_agree_with_their_definitions(ranking: list[int], relevant: set[int], k: int) -> None:
    hits = np.array([[game in relevant for game in ranking]], dtype=bool).reshape(1, -1)
    counts = np.array([len(relevant)])
    assert Recall(k).per_user(hits, counts)[0] == pytest.approx(naive_recall(ranking, relevant, k))
    assert NDCG(k).per_user(hits, counts)[0] == pytest.approx(naive_ndcg(ranking, relevant, k))
    assert MRR(k).per_user(hits, counts)[0] == pytest.approx(naive_mrr(ranking, relevant, k))
    assert HitRate(k).per_user(hits, counts)[0] == naive_hit_rate(ranking, relevant, k)


@pytest.mark.parametrize("metric", METRICS)
def test_a_perfect_ranking_scores_one_with_few_and_with_many_relevant_games(metric: Metric) -> None:
    hits = np.array([[True, False, False], [True, True, True]])
    assert metric.per_user(hits, np.array([1, 7])).tolist() == [1, 1]


@pytest.mark.parametrize("metric", METRICS)
def test_no_hit_scores_zero(metric: Metric) -> None:
    assert metric.per_user(np.zeros((2, 3), dtype=bool), np.array([1, 2])).tolist() == [0, 0]


@pytest.mark.parametrize("metric", [NDCG(2), MRR(2)])
def test_an_earlier_hit_scores_more_where_the_order_counts(metric: Metric) -> None:
    hits = np.array([[True, False], [False, True]])
    first, second = metric.per_user(hits, np.array([1, 1]))
    assert first > second > 0


def test_metrics_are_named_after_their_places() -> None:
    names = [metric.name for metric in (NDCG(10), Recall(20), MRR(10), HitRate(10))]
    assert names == ["ndcg_at_10", "recall_at_20", "mrr_at_10", "hit_rate_at_10"]


def test_the_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(metrics).failed == 0
