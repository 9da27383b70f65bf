from collections import Counter

import numpy as np
import pytest

from components.evaluate import report as module
from components.evaluate.report import (
    Diagnostics,
    example_users,
    game_map,
    learning_curves,
    mean_scores,
    principal_components,
)
from components.evaluate.setup import EvaluationSetup
from steam_recsys.data.histories import Histories
from tests.components.evaluate.setups import evaluation_setup, interactions, model

PAST = [(1, 0, -9), (1, 1, -8), (2, 0, -5), (3, 2, -5), (3, 3, -4)]
FUTURE = [(1, 2, 1), (2, 1, 1), (3, 0, 3)]


def test_principal_components_explain_the_stated_variance() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32) * np.array([9, 4, 1, 1, 1], np.float32)
    points, explained = principal_components(vectors)
    values, directions = np.linalg.eigh(np.cov(vectors.T.astype(float)))
    assert np.abs(points) == pytest.approx(
        np.abs((vectors - vectors.mean(axis=0)) @ directions[:, ::-1][:, :2]), abs=1e-4
    )
    assert explained == pytest.approx(values[-2:].sum() / values.sum(), abs=1e-5)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (4, 1), (4, 0)])
def test_too_few_vectors_or_dimensions_are_projected_too(shape: tuple[int, int]) -> None:
    points, explained = principal_components(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    assert points.shape == (shape[0], 2)
    assert np.isfinite(points).all()
    assert 0 <= explained <= 1


def test_equal_vectors_have_the_same_projection() -> None:
    points, explained = principal_components(np.ones((3, 4), np.float32))
    assert (points.tolist(), explained) == ([[0, 0]] * 3, 0)


def test_mean_scores_are_the_mean_over_users_for_any_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    ranker, history = model(6), Histories.from_games([0, 1], [], [5])
    expected = ranker.scorer.scores(history).mean(axis=0)
    for size in (1 << 24, 1):
        monkeypatch.setattr(module, "BLOCK_SCORES", size)
        assert mean_scores(ranker, history) == pytest.approx(expected, abs=1e-6)


def test_the_map_shows_the_most_common_first_genres_and_groups_the_others() -> None:
    genres = {game: [f"Genre {game}"] for game in range(9)} | {9: ["Genre 8", "Genre 0"]}
    setup = evaluation_setup(interactions(PAST), interactions(FUTURE), 11, genres=genres)
    found = game_map(setup, np.arange(11)[::-1])
    names = {series.name: list(series.names) for series in found.genres}
    assert names["Genre 8"] == ["Game 9", "Game 8"]
    assert list(names) == ["Genre 8", *(f"Genre {number}" for number in range(6)), "other"]
    assert names["other"] == ["Game 10", "Game 7", "Game 6"]
    assert found.labels[0] == "Game 10"


def test_every_fit_has_a_learning_curve() -> None:
    description = {"losses": (3.0, 2.0), "history": [{"scale": 0.5, "losses": (5.0, 4.0), "ndcg_at_10": 0.1}]}
    curves = learning_curves(description)
    assert [(curve.name, curve.points) for curve in curves] == [
        ("last fit", [(50, 3.0), (100, 2.0)]),
        ("scale 0.5", [(50, 5.0), (100, 4.0)]),
    ]
    assert learning_curves({}) == ()


def test_popularity_is_the_number_of_positive_reviews() -> None:
    setup = evaluation_setup(interactions(PAST), interactions(FUTURE), 5)
    series = Diagnostics.from_setup(setup).popularity
    reviews = {name: 10**x - 1 for name, (x, _) in zip(series.names, series.points, strict=True)}
    assert reviews == pytest.approx({"Game 0": 2, "Game 1": 1, "Game 2": 1, "Game 3": 1, "Game 4": 0})


def test_a_large_catalogue_is_drawn_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAPPED_GAMES", 2)
    monkeypatch.setattr(module, "OTHER_GAMES", 3)
    found = Diagnostics.from_setup(evaluation_setup(interactions(PAST), interactions(FUTURE), 12))
    assert set(found.popularity.names) == {"Game 0", "Game 1", "Game 2", "Game 6", "Game 11"}
    assert [len(series.points) for series in found.map.genres] == [2]


def test_the_same_setup_has_the_same_diagnostics() -> None:
    setup = evaluation_setup(interactions(PAST), interactions(FUTURE), 5, genres={0: ["Action"]})
    assert Diagnostics.from_setup(setup) == Diagnostics.from_setup(setup)


GAMES = 30
EXAMPLE_PAST = [
    *[(user, 0, -50) for user in range(1, 21)],
    *[(user, game, game - 40) for user in range(21, 41) for game in range(3)],
    *[(user, game, game - 40) for user in range(41, 61) for game in range(14)],
]
EXAMPLE_FUTURE = [(user, 15 if user > 40 else 5, 1) for user in range(1, 81)]


@pytest.fixture
def example_setup() -> EvaluationSetup:
    """Twenty users of each length of history, and reviews of the games that they recommend later."""
    known = [(99, 5, -60), (99, 15, -60)]
    return evaluation_setup(
        interactions(EXAMPLE_PAST + known, disliked=[(41, 13, -27)]), interactions(EXAMPLE_FUTURE), GAMES
    )


def test_ten_example_users_come_from_every_length_of_history(example_setup: EvaluationSetup) -> None:
    found = example_users(example_setup)
    groups = Counter(example.group for example in found)
    assert groups == {"no review": 2, "1 review": 2, "2 to 4 reviews": 3, "5 reviews or more": 3}
    assert len({example.user for example in found}) == 10


def test_the_example_users_are_the_same_every_time(example_setup: EvaluationSetup) -> None:
    assert example_users(example_setup) == example_users(example_setup)


def test_an_example_shows_the_users_own_history_recommendations_and_held_out_games(
    example_setup: EvaluationSetup,
) -> None:
    for example in example_users(example_setup):
        history = [game for user, game, _ in reversed(EXAMPLE_PAST) if user == example.user]
        assert [name for name, _ in example.history] == [f"Game {game}" for game in history[:10]]
        assert example.older == max(0, len(history) - 10)
        assert example.relevant == (f"Game {15 if example.user > 40 else 5}",)
        assert len(example.recommended) == 10
        assert not {name for name, _ in example.recommended} & {f"Game {game}" for game in history}
        assert [name for name, hit in example.recommended if hit] == [
            name for name, _ in example.recommended if name in example.relevant
        ]


def test_a_game_that_the_user_does_not_recommend_is_marked() -> None:
    past = interactions([(1, 0, -5), (1, 1, -4), (2, 2, -3)], disliked=[(1, 1, -4)])
    (example,) = example_users(evaluation_setup(past, interactions([(1, 2, 0)]), 3))
    assert example.history == (("Game 1", False), ("Game 0", True))
    assert example.recommended == (("Game 2", True),)


def test_a_single_user_is_the_only_example() -> None:
    found = example_users(evaluation_setup(interactions([(1, 0, -1), (2, 1, -1)]), interactions([(1, 1, 0)]), 2))
    assert [(example.user, example.group) for example in found] == [(1, "1 review")]
