import numpy as np
import pytest

from components.evaluate.rankings import Rankings
from steam_recsys.arrays import Int32Array
from steam_recsys.data.histories import Histories
from steam_recsys.evaluation.baselines import StaticRanker
from steam_recsys.evaluation.metrics import NDCG, Recall, measure
from tests.components.evaluate.setups import contest, interactions

PAST = [(1, 0, -9), (1, 1, -8), (2, 0, -5), (3, 2, -5), (3, 3, -4)]
FUTURE = [(1, 2, 1), (1, 3, 2), (2, 1, 1), (3, 0, 3), (8, 1, 0), (9, 2, 0)]


@pytest.fixture
def answers() -> Rankings:
    asked = contest(interactions(PAST), interactions(FUTURE), 4)
    return Rankings.from_rankers(asked.held_out, asked.rankers, 3)


def test_what_is_measured_is_what_the_metrics_measure() -> None:
    asked = contest(interactions(PAST), interactions(FUTURE), 4)
    measured = Rankings.from_rankers(asked.held_out, asked.rankers, 3).measured((NDCG(2), Recall(3)))
    for name, ranker in asked.rankers.items():
        expected = measure(ranker, asked.held_out, (NDCG(2), Recall(3)))
        assert {metric: figures.tolist() for metric, figures in measured[name].items()} == {
            metric: figures.tolist() for metric, figures in expected.items()
        }


def test_some_users_have_the_figures_that_they_have_among_all(answers: Rankings) -> None:
    rows = np.array([0, 2])
    whole, part = (some.measured((NDCG(3),))["challenger"]["ndcg_at_3"] for some in (answers, answers.take(rows)))
    assert part.tolist() == whole[rows].tolist()


def test_a_place_that_another_game_takes_is_lost_where_only_some_games_count(answers: Rankings) -> None:
    ranked = np.array([[2, 3, -1], [1, 2, 3], [0, 1, -1]], dtype=np.int32)
    only = Rankings(answers.held_out, {"challenger": ranked}).only(np.array([False, False, False, True]))
    assert only.held_out.relevant.users.tolist() == [1]
    assert only.measured((NDCG(3),))["challenger"]["ndcg_at_3"][0] == pytest.approx(1 / np.log2(3))


class Counting(StaticRanker):
    """Counts the users that it ranks for."""

    asked = 0

    def rank(self, history: Histories, k: int) -> Int32Array:
        Counting.asked += len(history)
        return super().rank(history, k)


def test_users_without_a_history_are_ranked_for_once() -> None:
    asked = contest(interactions(PAST), interactions(FUTURE), 4)
    newcomers = asked.future.newcomers
    answers = Rankings.from_rankers(newcomers, {"static": Counting(np.array([1, 4, 3, 2], np.float32))}, 3)
    assert Counting.asked == 1
    assert answers.ranked["static"].tolist() == [[1, 2, 3], [1, 2, 3]]


def test_nobody_gets_no_answers() -> None:
    asked = contest(interactions(PAST), interactions([]), 4)
    answers = Rankings.from_rankers(asked.held_out, asked.rankers, 3)
    assert answers.ranked["challenger"].shape == (0, 3)
    assert answers.measured((NDCG(3),))["challenger"]["ndcg_at_3"].shape == (0,)
