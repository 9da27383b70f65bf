import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.evaluate.setup import EvaluationSetup
from components.evaluate.slices import Rankings, Slice, compare_slices, first_review_days, largest_genres
from steam_recsys.arrays import Float32Array
from steam_recsys.data.histories import Histories
from steam_recsys.evaluation.metrics import NDCG, Recall, measure
from steam_recsys.evaluation.rankers import StaticRanker, rank
from tests.components.evaluate.setups import DAY, Row, evaluation_setup, interactions

GAMES = 9
GENRES = {0: ["Action"], 1: ["Action", "Puzzle"], 2: ["Puzzle"], 3: ["RPG"], 5: ["RPG"], 8: ["Action"]}
BACKWARDS = StaticRanker(np.arange(GAMES, dtype=np.float32))

NEWEST_FIRST = StaticRanker(np.array([0, 1, 2, 4, 3, 0, 0, 0, 0], np.float32))


def sliced(setup: EvaluationSetup, best: str = "popularity") -> dict[str, Slice]:
    found = compare_slices(setup, Rankings.from_rankers(setup.held_out, setup.rankers, 20), best)
    return {part.name: part for part in found}


def naive_slices(past: list[Row], future: list[Row]) -> dict[str, dict[int, set[int]]]:
    """Return each user's counted games by slice name."""
    histories: dict[int, set[int]] = {}
    for user, game, _ in past:
        histories.setdefault(user, set()).add(game)
    known = {game for _, game, _ in past}
    found: dict[str, dict[int, set[int]]] = {}
    for user, game, _ in future:
        history = histories.get(user, set())
        if game in history:
            continue
        names = []
        if not history and game in known:
            names = ["no review"]
        elif history and game not in known:
            names = ["not reviewed before"]
        elif history:
            length = len(history)
            names = ["1 review" if length == 1 else "2 to 4 reviews" if length <= 4 else "5 reviews or more"]
            names += GENRES.get(game, [])
            if min(day for _, reviewed, day in past if reviewed == game) >= -90:
                names.append("first reviewed in the 90 days before")
        for name in names:
            found.setdefault(name, {}).setdefault(user, set()).add(game)
    return found


def naive_ndcg(setup: EvaluationSetup, ranking: str, user: int, relevant: set[int], past: list[Row]) -> float:
    history = [game for owner, game, _ in sorted(past, key=lambda row: (row[2], row[1])) if owner == user]
    ranked = rank(setup.rankers[ranking], Histories.from_games(history), GAMES)[0].tolist()
    gain = sum(1 / math.log2(place + 2) for place, game in enumerate(ranked[:10]) if game in relevant)
    return gain / sum(1 / math.log2(place + 2) for place in range(len(relevant)))


def rows(days: st.SearchStrategy[int]) -> st.SearchStrategy[list[Row]]:
    pairs = st.tuples(st.integers(0, 7), st.integers(0, GAMES - 1))
    return st.dictionaries(pairs, days, max_size=30).map(
        lambda found: [(user, game, day) for (user, game), day in sorted(found.items())]
    )


@settings(max_examples=60, deadline=None)
@given(rows(st.integers(-200, -1)), rows(st.integers(0, 30)))
def test_slices_match_a_naive_implementation(past: list[Row], future: list[Row]) -> None:
    future = [row for row in future if row[:2] not in {taken[:2] for taken in past}]
    setup = evaluation_setup(
        interactions(past), interactions(future), GAMES, genres=GENRES, rankers={"backwards": BACKWARDS}
    )
    expected = naive_slices(past, future)
    for name, part in sliced(setup).items():
        by_user = expected.get(name, {})
        assert part.comparison.users == len(by_user), name
        for ranking, figures in part.comparison.figures.items():
            naive = [naive_ndcg(setup, ranking, user, games, past) for user, games in by_user.items()]
            assert figures["ndcg_at_10"].mean == pytest.approx(np.mean(naive), abs=1e-6), (name, ranking)


PAST = [
    *[(user, 0, -100) for user in range(1, 6)], (1, 1, -95), (2, 1, -95), (5, 2, -10), (5, 3, -10), (5, 4, -10),
    (5, 1, -95),
]  # fmt: skip
FUTURE = [(1, 3, 0), (2, 3, 0), (3, 1, 0), (4, 1, 0), (5, 5, 1), (8, 0, 2), (9, 0, 2)]


@pytest.fixture
def setup() -> EvaluationSetup:
    return evaluation_setup(
        interactions(PAST), interactions(FUTURE), GAMES, genres=GENRES,
        rankers={"newest first": NEWEST_FIRST, "champion": StaticRanker(np.ones(GAMES, np.float32))},
    )  # fmt: skip


def users(parts: Mapping[str, Slice]) -> dict[str, int]:
    return {name: part.comparison.users for name, part in parts.items()}


def test_users_and_games_are_in_their_slices_and_empty_slices_are_listed(setup: EvaluationSetup) -> None:
    assert users(sliced(setup)) == {
        "no review": 2, "1 review": 2, "2 to 4 reviews": 2, "5 reviews or more": 0,
        "first reviewed in the 90 days before": 2, "not reviewed before": 1, "Puzzle": 2, "Action": 2, "RPG": 2,
    }  # fmt: skip


def test_the_opponent_is_the_best_baseline_of_a_slice_of_users_and_the_best_overall_for_games(
    setup: EvaluationSetup,
) -> None:
    parts = sliced(setup, best="popularity")
    # The new game 3 comes first for one, after the game 2 that is as popular for the other.
    assert set(parts["2 to 4 reviews"].comparison.differences) == {"newest first", "champion"}
    assert set(parts["1 review"].comparison.differences) == {"popularity", "champion"}
    assert set(parts["RPG"].comparison.differences) == {"popularity", "champion"}


def test_users_without_a_history_get_the_cold_start_ranking(setup: EvaluationSetup) -> None:
    cold = sliced(setup)["no review"].comparison
    challenger = rank(setup.challenger, Histories.from_games([]), 20)[0].tolist()
    assert cold.figures["challenger"]["ndcg_at_10"].mean == pytest.approx(1 / math.log2(challenger.index(0) + 2))
    assert set(cold.differences) == {"popularity", "champion"}


def test_slices_have_titles(setup: EvaluationSetup) -> None:
    parts = sliced(setup)
    assert [parts[name].title for name in ("1 review", "not reviewed before", "RPG")] == [
        "users with 1 review", "games not reviewed before", "games of the genre RPG",
    ]  # fmt: skip


def test_a_catalogue_without_genres_has_no_genre_slices() -> None:
    parts = sliced(evaluation_setup(interactions(PAST), interactions(FUTURE), GAMES))
    assert {part.kind for part in parts.values()} == {"history", "new games"}


def test_the_largest_genres_have_the_most_held_out_reviews(setup: EvaluationSetup) -> None:
    taken = Counter(genre for game in setup.held_out.relevant.games.tolist() for genre in GENRES.get(game, []))
    assert list(largest_genres(setup.held_out, setup.games)) == sorted(taken, key=lambda genre: (-taken[genre], genre))


def test_the_first_review_is_the_earliest_and_may_be_missing(setup: EvaluationSetup) -> None:
    first = first_review_days(setup.past, setup.games)
    assert first[:5].tolist() == [DAY - 100, DAY - 95, DAY - 10, DAY - 10, DAY - 10]
    assert (first[5:] == np.iinfo(np.int64).min).all()


RANKED_PAST = [(1, 0, -9), (1, 1, -8), (2, 0, -5), (3, 2, -5), (3, 3, -4)]
RANKED_FUTURE = [(1, 2, 1), (1, 3, 2), (2, 1, 1), (3, 0, 3), (8, 1, 0), (9, 2, 0)]


@pytest.fixture
def rankings() -> Rankings:
    setup = evaluation_setup(interactions(RANKED_PAST), interactions(RANKED_FUTURE), 4)
    return Rankings.from_rankers(setup.held_out, setup.rankers, 3)


def test_rankings_are_measured_by_the_metrics() -> None:
    setup = evaluation_setup(interactions(RANKED_PAST), interactions(RANKED_FUTURE), 4)
    figures = Rankings.from_rankers(setup.held_out, setup.rankers, 3).measure((NDCG(2), Recall(3)))
    for name, ranker in setup.rankers.items():
        expected = measure(ranker, setup.held_out, (NDCG(2), Recall(3)))
        assert {metric: values.tolist() for metric, values in figures[name].items()} == {
            metric: values.tolist() for metric, values in expected.items()
        }


def test_a_users_figures_do_not_depend_on_the_others(rankings: Rankings) -> None:
    rows = np.array([0, 2])
    whole, part = (some.measure((NDCG(3),))["challenger"]["ndcg_at_3"] for some in (rankings, rankings.take(rows)))
    assert part.tolist() == whole[rows].tolist()


def test_a_rank_taken_by_a_game_that_does_not_count_is_a_miss(rankings: Rankings) -> None:
    ranked = np.array([[2, 3, -1], [1, 2, 3], [0, 1, -1]], dtype=np.int32)
    only = Rankings(rankings.held_out, {"challenger": ranked}).only(np.array([False, False, False, True]))
    assert only.held_out.relevant.users.tolist() == [1]
    assert only.measure((NDCG(3),))["challenger"]["ndcg_at_3"][0] == pytest.approx(1 / np.log2(3))


class Counting(StaticRanker):
    """Counts the users that it ranks for."""

    n_users = 0

    def scores(self, history: Histories) -> Float32Array:
        Counting.n_users += len(history)
        return super().scores(history)


def test_users_without_a_history_are_ranked_for_once() -> None:
    setup = evaluation_setup(interactions(RANKED_PAST), interactions(RANKED_FUTURE), 4)
    cold_start_users = setup.future.cold_start_users
    rankings = Rankings.from_rankers(cold_start_users, {"static": Counting(np.array([1, 4, 3, 2], np.float32))}, 3)
    assert Counting.n_users == 1
    assert rankings.ranked["static"].tolist() == [[1, 2, 3], [1, 2, 3]]


def test_no_users_have_no_rankings() -> None:
    setup = evaluation_setup(interactions(RANKED_PAST), interactions([]), 4)
    rankings = Rankings.from_rankers(setup.held_out, setup.rankers, 3)
    assert rankings.ranked["challenger"].shape == (0, 3)
    assert rankings.measure((NDCG(3),))["challenger"]["ndcg_at_3"].shape == (0,)
