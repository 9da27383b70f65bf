import doctest
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steam_recsys.evaluation import metrics
from steam_recsys.evaluation.metrics import MRR, NDCG, Coverage, Gini, HitRate, Metric, Novelty, Recall


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
def test_an_earlier_hit_scores_more_if_the_order_counts(metric: Metric) -> None:
    hits = np.array([[True, False], [False, True]])
    first, second = metric.per_user(hits, np.array([1, 1]))
    assert first > second > 0


def test_metric_names_include_the_list_length() -> None:
    names = [metric.name for metric in (NDCG(10), Recall(20), MRR(10), HitRate(10))]
    assert names == ["ndcg_at_10", "recall_at_20", "mrr_at_10", "hit_rate_at_10"]


GAMES = 12

lists = st.lists(
    st.lists(st.integers(0, GAMES - 1), unique=True, max_size=6).map(lambda games: games + [-1] * (6 - len(games))),
    min_size=1,
    max_size=8,
)
list_lengths = st.integers(1, 8)


@given(lists, list_lengths)
def test_coverage_is_the_share_of_games_in_any_list(ranked: list[list[int]], k: int) -> None:
    shown = {game for row in ranked for game in row[:k]} - {-1}
    assert Coverage(k).compute(np.array(ranked, np.int32), GAMES) == pytest.approx(len(shown) / GAMES)


@given(lists, list_lengths)
def test_gini_is_half_the_mean_difference_between_two_games_over_their_mean(ranked: list[list[int]], k: int) -> None:
    """The definition: over all pairs of different games."""
    shown = Counter(game for row in ranked for game in row[:k] if game >= 0)
    times = [shown[game] for game in range(GAMES)]
    pairs = sum(abs(one - other) for one in times for other in times) / (GAMES * (GAMES - 1))
    expected = pairs / (2 * sum(times) / GAMES) if sum(times) else 0
    assert Gini(k).compute(np.array(ranked, np.int32), GAMES) == pytest.approx(expected)


@given(lists, list_lengths, st.lists(st.integers(0, 9), min_size=GAMES, max_size=GAMES))
def test_novelty_is_the_mean_information_of_the_games_shown(
    ranked: list[list[int]], k: int, popularity: list[int]
) -> None:
    total = max(1, sum(popularity))
    expected = []
    for row in ranked:
        bits = [-math.log2(max(1, popularity[game]) / total) for game in row[:k] if game >= 0]
        expected.append(sum(bits) / len(bits) if bits else 0)
    found = Novelty(k).per_user(np.array(ranked, np.int32), np.array(popularity, np.float64))
    assert found == pytest.approx(expected)


def test_tiny_catalogues_and_empty_lists_have_figures() -> None:
    one, nothing = np.zeros((3, 2), np.int32), np.full((3, 2), -1, np.int32)
    assert (Coverage(2).compute(one, 1), Gini(2).compute(one, 1)) == (1, 0)
    assert (Coverage(2).compute(nothing, 5), Gini(2).compute(nothing, 5)) == (0, 0)
    assert (Coverage(2).compute(nothing, 0), Gini(2).compute(nothing, 0)) == (0, 0)
    assert Novelty(2).per_user(nothing, np.ones(5)).tolist() == [0, 0, 0]
    assert Novelty(2).per_user(nothing, np.zeros(0)).tolist() == [0, 0, 0]


def test_rarer_games_are_more_novel() -> None:
    popular, rare = Novelty(1).per_user(np.array([[0], [1]], np.int32), np.array([63.0, 1.0]))
    assert (popular, rare) == (pytest.approx(0.0227, abs=1e-4), 6)


def test_the_inputs_are_not_changed() -> None:
    ranked, popularity = np.array([[2, 0, -1]], np.int32), np.array([0.0, 3.0, 1.0])
    for metric in (Coverage(3), Gini(3)):
        metric.compute(ranked, 3)
    Novelty(3).per_user(ranked, popularity)
    assert ranked.tolist() == [[2, 0, -1]]
    assert popularity.tolist() == [0, 3, 1]


def test_catalogue_metric_names_include_the_list_length() -> None:
    assert [metric.name for metric in (Coverage(20), Gini(20), Novelty(20))] == [
        "coverage_at_20", "gini_at_20", "novelty_at_20",
    ]  # fmt: skip


def test_doctests() -> None:
    assert doctest.testmod(metrics).failed == 0
