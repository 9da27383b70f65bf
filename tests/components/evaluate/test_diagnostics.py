import numpy as np
import pytest

from components.evaluate import diagnostics as module
from components.evaluate.diagnostics import Diagnostics, game_map, learning_curves, mean_scores, principal_components
from components.evaluate.rankings import Rankings
from components.evaluate.setup import EvaluationSetup
from steam_recsys.data.histories import Histories
from tests.components.evaluate.setups import contest, interactions, model

PAST = [(1, 0, -9), (1, 1, -8), (2, 0, -5), (3, 2, -5), (3, 3, -4)]
FUTURE = [(1, 2, 1), (2, 1, 1), (3, 0, 3)]


def made(asked: EvaluationSetup) -> Diagnostics:
    return Diagnostics.from_setup(asked, Rankings.from_rankers(asked.held_out, asked.rankers, 20))


def test_principal_components_keep_the_variance_that_is_named() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 5)).astype(np.float32) * np.array([9, 4, 1, 1, 1], np.float32)
    places, explained = principal_components(vectors)
    values, directions = np.linalg.eigh(np.cov(vectors.T.astype(float)))
    assert np.abs(places) == pytest.approx(
        np.abs((vectors - vectors.mean(axis=0)) @ directions[:, ::-1][:, :2]), abs=1e-4
    )
    assert explained == pytest.approx(values[-2:].sum() / values.sum(), abs=1e-5)


@pytest.mark.parametrize("shape", [(0, 3), (1, 3), (4, 1), (4, 0)])
def test_too_few_vectors_or_dimensions_have_places_too(shape: tuple[int, int]) -> None:
    places, explained = principal_components(np.arange(np.prod(shape), dtype=np.float32).reshape(shape))
    assert places.shape == (shape[0], 2)
    assert np.isfinite(places).all()
    assert 0 <= explained <= 1


def test_equal_vectors_lie_in_one_place() -> None:
    places, explained = principal_components(np.ones((3, 4), np.float32))
    assert (places.tolist(), explained) == ([[0, 0]] * 3, 0)


def test_mean_scores_are_the_mean_over_users_whatever_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    ranking, history = model(6), Histories.from_games([0, 1], [], [5])
    expected = ranking.catalogue.scores(history).mean(axis=0)
    for size in (1 << 24, 1):
        monkeypatch.setattr(module, "BLOCK_SCORES", size)
        assert mean_scores(ranking, history) == pytest.approx(expected, abs=1e-6)


def test_the_map_has_the_commonest_first_genres_and_the_others_under_one_name() -> None:
    genres = {game: [f"Genre {game}"] for game in range(9)} | {9: ["Genre 8", "Genre 0"]}
    asked = contest(interactions(PAST), interactions(FUTURE), 11, genres=genres)
    found = game_map(asked, np.arange(11)[::-1])
    names = {series.name: list(series.names) for series in found.genres}
    assert names["Genre 8"] == ["Game 9", "Game 8"]
    assert list(names) == ["Genre 8", *(f"Genre {number}" for number in range(6)), "other"]
    assert names["other"] == ["Game 10", "Game 7", "Game 6"]
    assert found.written[0] == "Game 10"


def test_learning_curves_are_those_of_every_fit_and_none_where_none_is_told() -> None:
    described = {"losses": (3.0, 2.0), "history": [{"scale": 0.5, "losses": (5.0, 4.0), "ndcg_at_10": 0.1}]}
    curves = learning_curves(described)
    assert [(curve.name, curve.points) for curve in curves] == [
        ("last fit", [(50, 3.0), (100, 2.0)]),
        ("scale 0.5", [(50, 5.0), (100, 4.0)]),
    ]
    assert learning_curves({}) == ()


def test_favour_sets_reviews_against_scores() -> None:
    asked = contest(interactions(PAST), interactions(FUTURE), 5)
    favour = made(asked).favour
    reviews = {name: 10**x - 1 for name, (x, _) in zip(favour.names, favour.points, strict=True)}
    assert reviews == pytest.approx({"Game 0": 2, "Game 1": 1, "Game 2": 1, "Game 3": 1, "Game 4": 0})


def test_of_a_large_catalogue_the_most_popular_games_and_some_others_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAPPED_GAMES", 2)
    monkeypatch.setattr(module, "OTHER_GAMES", 3)
    found = made(contest(interactions(PAST), interactions(FUTURE), 12))
    assert set(found.favour.names) == {"Game 0", "Game 1", "Game 2", "Game 6", "Game 11"}
    assert [len(series.points) for series in found.map.genres] == [2]


def test_the_same_contest_has_the_same_exhibits() -> None:
    asked = contest(interactions(PAST), interactions(FUTURE), 5, genres={0: ["Action"]})
    assert made(asked) == made(asked)
