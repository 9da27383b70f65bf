from collections import Counter

import pytest

from components.evaluate.examples import examples
from components.evaluate.setup import EvaluationSetup
from tests.components.evaluate.setups import contest, interactions

GAMES = 30
PAST = [
    *[(user, 0, -50) for user in range(1, 21)],
    *[(user, game, game - 40) for user in range(21, 41) for game in range(3)],
    *[(user, game, game - 40) for user in range(41, 61) for game in range(14)],
]
FUTURE = [(user, 15 if user > 40 else 5, 1) for user in range(1, 81)]


@pytest.fixture
def asked() -> EvaluationSetup:
    """Twenty users of each length of history; the games that they take up were known."""
    known = [(99, 5, -60), (99, 15, -60)]
    return contest(interactions(PAST + known, disliked=[(41, 13, -27)]), interactions(FUTURE), GAMES)


def test_ten_users_are_shown_some_of_each_length_of_history_and_more_of_the_longer(asked: EvaluationSetup) -> None:
    found = examples(asked)
    groups = Counter(example.group for example in found)
    assert groups == {"no review": 2, "1 review": 2, "2 to 4 reviews": 3, "5 reviews or more": 3}
    assert len({example.user for example in found}) == 10


def test_they_are_the_same_every_time(asked: EvaluationSetup) -> None:
    assert examples(asked) == examples(asked)


def test_history_recommendations_and_what_was_taken_up_are_the_users_own(asked: EvaluationSetup) -> None:
    for example in examples(asked):
        history = [game for user, game, _ in reversed(PAST) if user == example.user]
        assert [name for name, _ in example.history] == [f"Game {game}" for game in history[:10]]
        assert example.older == max(0, len(history) - 10)
        assert example.taken_up == (f"Game {15 if example.user > 40 else 5}",)
        assert len(example.recommended) == 10
        assert not {name for name, _ in example.recommended} & {f"Game {game}" for game in history}
        assert [name for name, hit in example.recommended if hit] == [
            name for name, _ in example.recommended if name in example.taken_up
        ]


def test_a_game_that_the_user_does_not_recommend_is_marked() -> None:
    past = interactions([(1, 0, -5), (1, 1, -4), (2, 2, -3)], disliked=[(1, 1, -4)])
    (example,) = examples(contest(past, interactions([(1, 2, 0)]), 3))
    assert example.history == (("Game 1", False), ("Game 0", True))
    assert example.recommended == (("Game 2", True),)


def test_a_single_user_is_shown_alone() -> None:
    found = examples(contest(interactions([(1, 0, -1), (2, 1, -1)]), interactions([(1, 1, 0)]), 2))
    assert [(example.user, example.group) for example in found] == [(1, "1 review")]
