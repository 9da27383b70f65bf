from dataclasses import replace

import numpy as np
import pytest

from steam_recsys.arrays import normalised
from steam_recsys.data.histories import Histories
from steam_recsys.model import approximate as module
from steam_recsys.model.approximate import ApproximateIndex, choose_retrieval, recall
from steam_recsys.model.history_weights import DEFAULT_HISTORY_WEIGHTS
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.retrieval import GameList
from steam_recsys.model.scorer import Scorer

GAMES, USERS, TASTES, K = 3_000, 60, 20, 10
LISTS = [GameList("all", K, 1.0), GameList("new", K, 1.0, np.arange(GAMES) % 100 == 0)]


@pytest.fixture(autouse=True)
def small_catalogues_are_large(monkeypatch):
    monkeypatch.setattr(module, "MIN_GAMES", 1_000)
    monkeypatch.setattr(module, "POPULAR_GAMES", 200)
    monkeypatch.setattr(module, "PROBES", 40)


def scorer_for(*, noise: float, popularity: float = 0.1) -> Scorer:
    """A scorer of clustered games, with item-item weights; the less noise, the more similar are a cluster's games."""
    random = np.random.default_rng(0)
    tastes = random.standard_normal((TASTES, 16))[random.integers(0, TASTES, GAMES)]
    vectors = normalised((tastes + noise * random.standard_normal(tastes.shape)).astype(np.float32))
    columns = np.sort(random.integers(0, GAMES - 4, (GAMES, 5)), axis=1) + np.arange(5)
    item_item = ItemItemWeights(
        np.arange(GAMES + 1) * 5, columns.ravel().astype(np.int32), random.normal(0, 2, columns.size).astype(np.float32)
    )
    priors = (popularity * np.log(1 / random.permutation(np.arange(1.0, GAMES + 1)))).astype(np.float32)
    available = random.random(GAMES) < 0.9
    return Scorer(vectors, vectors, item_item, priors, 1.0, 6.0, DEFAULT_HISTORY_WEIGHTS, available)


def histories() -> Histories:
    random = np.random.default_rng(1)
    return Histories.from_games([], *(random.choice(GAMES, n % 7 + 1, replace=False) for n in range(USERS - 1)))


def test_approximate_retrieval_gives_exact_scores_and_reasons():
    exact, history = scorer_for(noise=0.3), histories()
    chosen, how = choose_retrieval(exact, lambda: history, LISTS)
    assert how.startswith("approximate: recall ")
    assert how.endswith(" of approximate retrieval on a sample of 60 users")
    for found, right in zip(chosen.recommend_lists(history, LISTS), exact.recommend_lists(history, LISTS), strict=True):
        assert recall(found.positions, right.positions) >= 0.98
        same = found.positions == right.positions
        assert same.mean() > 0.9
        assert found.scores[same] == pytest.approx(right.scores[same], abs=1e-5)
        assert (found.because == right.because)[same].mean() > 0.99  # the next page may start with another game


def test_reviewed_and_unavailable_games_are_not_found_and_item_item_games_are_all_scored():
    scorer, history = scorer_for(noise=0.3), histories()
    found = replace(scorer, index=ApproximateIndex.from_scorer(scorer)).recommend(history, 3 * K).positions
    exact = scorer.recommend(history, 3 * K).positions
    assert scorer.available[found].all()
    for user, games in enumerate(found):
        own = history.take(np.array([user])).games
        assert not set(games.tolist()) & set(own.tolist())
        added = set(scorer.item_item_scores(history.take(np.array([user]))).games.tolist())
        assert added & set(exact[user].tolist()) <= set(games.tolist())


def test_several_lists_with_different_weights_and_games():
    scorer, history = scorer_for(noise=0.3), histories()
    approximate = replace(scorer, index=ApproximateIndex.from_scorer(scorer))
    half, few = np.random.default_rng(2).random((2, GAMES)) < [[0.5], [0.04]]
    lists = [
        GameList("all", K, 1.0),
        GameList("half", 2 * K, 0.0, half),
        GameList("few", K, 3.0, few),
        GameList("none", K, 1.0, np.zeros(GAMES, bool)),
    ]
    found, exact = approximate.recommend_lists(history, lists), scorer.recommend_lists(history, lists)
    assert (half & scorer.available)[found[1].positions].all()
    assert min(recall(ours.positions, right.positions) for ours, right in zip(found, exact, strict=True)) >= 0.95
    assert np.array_equal(found[2].positions, exact[2].positions)  # searched exactly
    assert (found[3].positions == -1).all()


def test_low_recall_falls_back_to_exact_retrieval_and_is_logged(monkeypatch, capsys):
    monkeypatch.setattr(module, "PROBES", 1)
    exact = scorer_for(noise=5.0)
    chosen, how = choose_retrieval(exact, histories, LISTS)
    assert chosen is exact
    assert how.startswith("exact: recall 0.")
    assert "is below 0.98: using exact retrieval" in capsys.readouterr().out


def test_exact_retrieval_is_kept_if_it_scores_few_games():
    popular = scorer_for(noise=0.3, popularity=20)
    assert choose_retrieval(popular, histories, LISTS) == (popular, "exact")


def test_small_catalogue_uses_exact_retrieval_without_sampling_users(monkeypatch):
    scorer = scorer_for(noise=0.3)
    monkeypatch.setattr(module, "MIN_GAMES", GAMES + 1)
    assert choose_retrieval(scorer, lambda: pytest.fail("they were"), LISTS) == (scorer, "exact")
    monkeypatch.setattr(module, "MIN_GAMES", GAMES)
    assert choose_retrieval(scorer, histories, LISTS) == (scorer, "exact")


def test_recall_is_the_share_of_exact_games_found():
    exact = np.array([[1, 2, 3], [4, -1, -1]], dtype=np.int32)
    assert recall(exact, exact) == 1
    assert recall(np.array([[3, 1, 9], [-1, -1, -1]], dtype=np.int32), exact) == 0.5
    assert recall(np.full((2, 3), -1), np.full((2, 3), -1)) == 1
