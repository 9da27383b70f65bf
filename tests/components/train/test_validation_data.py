"""Rankings of validation users with several popularity weights."""

import numpy as np

from components.train.validation_data import INTERESTS_OVERLAP, INTERESTS_WEIGHTS, Validation, rank
from steam_recsys.data.histories import Histories
from steam_recsys.evaluation.beyond_accuracy import effective_games, mean_jaccard
from steam_recsys.evaluation.splits import HeldOut
from steam_recsys.model.scorer import Scorer
from tests.steam_recsys.model.models import GAMES, random_model, scorer_for


def users_of(scorer: Scorer, n_users: int) -> HeldOut:
    random = np.random.default_rng(0)
    histories = Histories.from_games(*(random.choice(len(scorer), 3, replace=False).tolist() for _ in range(n_users)))
    return HeldOut(histories, histories, 0)


def test_ranking_with_several_popularity_weights_equals_the_scorers_lists() -> None:
    scorer = scorer_for(random_model(), popularity=np.arange(GAMES, dtype=np.float64))
    users, allowed = users_of(scorer, 20), np.arange(GAMES) % 3 > 0
    for weight, ranked in zip((2.0, 0.5), rank(scorer, users, (2.0, 0.5), 6, allowed), strict=True):
        expected = scorer.recommend(users.history, 6, among=allowed, popularity_weight=weight)
        assert np.array_equal(ranked, expected.positions)


def test_users_without_a_history_get_popular_games_with_every_weight_of_interests() -> None:
    scorer = scorer_for(random_model(), popularity=np.arange(GAMES, dtype=np.float64))
    newcomer = Histories.from_games([])
    for ranked in rank(scorer, HeldOut(newcomer, newcomer, 0), INTERESTS_WEIGHTS, GAMES):
        assert ranked[0].tolist() == list(range(GAMES))[::-1]


def test_effective_games_are_those_of_the_first_pages() -> None:
    scorer = scorer_for(random_model(), popularity=np.arange(GAMES, dtype=np.float64))
    users = users_of(scorer, 20)
    validation = Validation(users, np.zeros(GAMES), None, np.ones(GAMES, bool))  # type: ignore[arg-type]
    for weight, (_, _, games) in zip((3.0, 0.0), validation.measure(scorer, (3.0, 0.0)), strict=True):
        shown = scorer.recommend(users.history, 10, popularity_weight=weight).positions
        assert games == effective_games(shown, 10)


def test_a_sample_of_no_users_is_empty() -> None:
    scorer = scorer_for(random_model(), popularity=np.arange(GAMES, dtype=np.float64))
    validation = Validation(users_of(scorer, 0), None, np.zeros((1, 0)), np.ones(0, bool))  # type: ignore[arg-type]
    assert len(validation.sample(100).held_out) == 0


def test_interests_get_the_largest_popularity_weight_with_which_they_overlap_little() -> None:
    scorer = scorer_for(random_model(), popularity=np.arange(GAMES, dtype=np.float64) ** 3)
    users = users_of(scorer, 60)
    validation = Validation(users, None, None, np.ones(GAMES, bool))  # type: ignore[arg-type]
    chosen = validation.interests_weight(scorer)
    overlaps = [
        mean_jaccard(ranked, 50) for ranked in rank(scorer, users, (chosen, chosen + 0.2), 50, np.ones(GAMES, bool))
    ]
    assert overlaps[0] <= INTERESTS_OVERLAP or chosen == INTERESTS_WEIGHTS[-1]
