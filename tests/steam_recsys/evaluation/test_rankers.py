import doctest

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from steam_recsys.data.histories import Histories
from steam_recsys.evaluation import rankers
from steam_recsys.evaluation.baselines import SimilarityRanker
from steam_recsys.evaluation.rankers import ModelRanker, Ranker, StaticRanker, rank, score_blocks
from tests.components.evaluate.setups import model

HISTORY = Histories.from_games([0, 3], [], [5])
WEIGHTS = np.random.default_rng(0).random((6, 6)).astype(np.float32)
RANKERS: dict[str, Ranker] = {
    "model": model(6), "static": StaticRanker(WEIGHTS[0]), "dense": SimilarityRanker(WEIGHTS),
    "sparse": SimilarityRanker(csr_matrix(WEIGHTS * (WEIGHTS > 0.5))),
}  # fmt: skip


@pytest.mark.parametrize("name", RANKERS)
def test_a_ranking_is_the_order_of_the_scores_without_the_history(name: str) -> None:
    ranker = RANKERS[name]
    scores = ranker.scores(HISTORY)
    assert (scores.dtype, scores.shape) == (np.float32, (3, ranker.n_games))
    for row, ranked in enumerate(rank(ranker, HISTORY, 6)):
        own = {0: {0, 3}, 2: {5}}.get(row, set())
        expected = [game for game in np.argsort(-scores[row], kind="stable").tolist() if game not in own]
        assert ranked.tolist() == expected + [-1] * len(own)


@pytest.mark.parametrize("name", RANKERS)
def test_blocks_of_any_size_give_the_same_ranking_and_scores(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rank(RANKERS[name], HISTORY, 3)
    monkeypatch.setattr(rankers, "BLOCK_SCORES", 1)
    assert [rows for rows, _ in score_blocks(RANKERS[name], HISTORY)] == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert np.array_equal(rank(RANKERS[name], HISTORY, 3), expected)


def test_scores_may_be_changed_by_the_caller() -> None:
    for ranker in RANKERS.values():
        expected = ranker.scores(HISTORY).copy()
        ranker.scores(HISTORY)[:] = 0
        assert np.array_equal(ranker.scores(HISTORY), expected)


def test_a_model_ranks_with_another_weight_of_popularity() -> None:
    scorer = model(6).scorer
    by_taste, by_popularity = ModelRanker(scorer, 0.0), ModelRanker(scorer, 1e6)
    assert np.array_equal(by_taste.scores(HISTORY), scorer.taste(HISTORY))
    assert rank(by_popularity, HISTORY, 6)[1].tolist() == np.argsort(-scorer.popularity_prior).tolist()


def test_no_users_have_no_rankings() -> None:
    assert rank(RANKERS["static"], Histories.from_games(), 3).shape == (0, 3)


def test_doctests() -> None:
    assert doctest.testmod(rankers).failed == 0
