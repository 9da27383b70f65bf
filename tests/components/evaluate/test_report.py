import doctest
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from components.evaluate import report
from components.evaluate.gate import DEFAULT, Thresholds, decide
from components.evaluate.report import (
    Diagnostics,
    example_users,
    game_map,
    html_report,
    learning_curves,
    mean_scores,
    principal_components,
)
from components.evaluate.results import Evaluation
from components.evaluate.setup import EvaluationSetup
from components.evaluate.slices import Rankings, compare_slices
from steam_recsys.data.histories import Histories
from steam_recsys.evaluation.intervals import Comparison
from steam_recsys.evaluation.metrics import NDCG, Recall
from steam_recsys.evaluation.rankers import StaticRanker
from steam_recsys.rules import MARKS
from tests.components.evaluate.setups import evaluation_setup, interactions, model
from tests.steam_recsys.reporting.pages import Page

HOSTILE = '<script>alert("1")</script>'
PAST = [(user, game, -game - 1) for user in range(1, 9) for game in range(user % 3 + 1)]
FUTURE = [(user, 3 + user % 2, 1) for user in range(1, 12)] + [(1, 5, 2)]
KNOWN = [(99, 3, -200), (98, 4, -200)]
DESCRIPTION = {
    "losses": [3.0, 2.5, 2.0],
    "history": [{"scale": 0.5, "losses": [4.0, 3.0], "ndcg_at_10": 0.25}],
}
CHART_PAST = [(1, 0, -9), (1, 1, -8), (2, 0, -5), (3, 2, -5), (3, 3, -4)]
CHART_FUTURE = [(1, 2, 1), (2, 1, 1), (3, 0, 3)]


def evaluated(setup: EvaluationSetup, thresholds: Thresholds = DEFAULT) -> tuple[Evaluation, Diagnostics]:
    rankings = Rankings.from_rankers(setup.held_out, setup.rankers, 20)
    overall = Comparison.from_figures(rankings.measure((NDCG(10), Recall(20))))
    beyond = {
        name: {"coverage_at_10": 0.5, "jaccard_at_10": 0.4, "popular_ten": 0.3, "gini_at_10": 0.9}
        for name in setup.rankers
    }
    parts = compare_slices(setup, rankings, "popularity")
    verdict = decide(overall, beyond, {part.title: part.comparison for part in parts}, thresholds)
    evaluation = Evaluation(
        version=setup.version,
        champion=None,
        snapshot_id="snapshot",
        cutoff=setup.cutoff,
        left_out=setup.held_out.left_out,
        overall=overall,
        beyond_accuracy=beyond,
        slices=parts,
        settings={"popularity": ""},
        thresholds=thresholds,
        verdict=verdict,
    )
    return evaluation, Diagnostics.from_setup(setup)


@pytest.fixture
def setup() -> EvaluationSetup:
    return evaluation_setup(
        interactions(PAST + KNOWN), interactions(FUTURE), 7,
        genres={0: ["Action"], 3: ["Action", "Puzzle"], 4: ["RPG"]}, description=DESCRIPTION,
        rankers={"champion": StaticRanker(np.arange(7, dtype=np.float32))},
    )  # fmt: skip


def test_the_page_has_every_kind_of_table_and_chart(setup: EvaluationSetup) -> None:
    page = Page(html_report(*evaluated(setup)))
    assert [element["role"] for element in page.all("svg")] == ["img"] * 8
    text = " ".join(page.texts)
    for expected in (
        "Accurate and personal", "The gate", "Beside baselines and champion", "Slices", "The model", "Example users",
        "NDCG@10 of users with no review", "Recall@20 by genre", "Learning curves", "against score", "RPG",
    ):  # fmt: skip
        assert expected in text, expected
    assert len(page.all("article")) == 10


def test_the_same_evaluation_gives_the_same_page(setup: EvaluationSetup) -> None:
    assert html_report(*evaluated(setup)) == html_report(*evaluated(setup))


def test_every_rule_is_listed_with_its_outcome(setup: EvaluationSetup) -> None:
    evaluation, diagnostics = evaluated(setup, Thresholds(slice_users=3, coverage_floor=2.0, accuracy_margin=2.0))
    page = Page(html_report(evaluation, diagnostics))
    assert "Model new is not promoted" in page.texts
    outcomes = [text for text in page.texts if text in MARKS.values()]
    assert outcomes == [MARKS[rule.outcome] for rule in evaluation.verdict.rules]
    assert set(outcomes) == set(MARKS.values())


def test_every_ranking_is_a_labelled_point_of_accuracy_and_coverage_before_all_other_charts(
    setup: EvaluationSetup,
) -> None:
    evaluation, diagnostics = evaluated(setup)
    first = Page(html_report(evaluation, diagnostics).partition("<svg")[2].partition("</svg>")[0])
    assert [first.texts.count(name) for name in ("challenger", "champion", "popularity")] == [3, 3, 2]  # with a legend


def test_figures_beyond_accuracy_and_what_they_cost_are_shown(setup: EvaluationSetup) -> None:
    evaluation, diagnostics = evaluated(setup)
    evaluation.beyond_accuracy["challenger"].update(jaccard_at_10=0.2, tail_matched_auc=0.5432)
    texts = Page(html_report(evaluation, diagnostics)).texts
    for expected in ("Overlap of two users' ten", "AUC against equally popular, outside the top 50"):
        assert expected in texts
    assert {"0.5432", "–"} <= set(texts)  # other rankings do not have the figure
    assert len(evaluation.trades) == 2
    assert set(evaluation.trades) <= set(texts)
    assert evaluation.trades[0].startswith("Compared with popularity: 50 % less overlap ")


@pytest.mark.parametrize(("champion", "words"), [(None, "none"), ("old", "old"), ("new", "this very model")])
def test_the_page_says_who_was_champion(champion: str | None, words: str, setup: EvaluationSetup) -> None:
    evaluation, diagnostics = evaluated(setup)
    text = " ".join(Page(html_report(replace(evaluation, champion=champion), diagnostics)).texts)
    assert f"Champion before: {words}." in text


def test_hostile_names_are_escaped(setup: EvaluationSetup) -> None:
    hostile = replace(setup, version=HOSTILE, names=[f"{HOSTILE} {game}" for game in range(7)])
    games = replace(setup.games, attributes=[{f"genre {HOSTILE}": 1.0}] * 7)
    page = html_report(*evaluated(replace(hostile, games=games)))
    assert "<script" not in page
    texts = Page(page).texts
    assert f"Model {HOSTILE} is promoted" in texts or f"Model {HOSTILE} is not promoted" in texts
    assert f"{HOSTILE} 3" in texts


def test_one_user_no_genres_and_no_curves_give_a_page_too() -> None:
    small = evaluation_setup(interactions([(1, 0, -1), (2, 1, -1)]), interactions([(1, 1, 0)]), 2)
    page = Page(html_report(*evaluated(small)))
    assert len(page.all("svg")) == 8
    assert len(page.all("article")) == 1


def test_doctests() -> None:
    assert doctest.testmod(report).failed == 0


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
        monkeypatch.setattr(report, "BLOCK_SCORES", size)
        assert mean_scores(ranker, history) == pytest.approx(expected, abs=1e-6)


def test_the_map_shows_the_most_common_first_genres_and_groups_the_others() -> None:
    genres = {game: [f"Genre {game}"] for game in range(9)} | {9: ["Genre 8", "Genre 0"]}
    setup = evaluation_setup(interactions(CHART_PAST), interactions(CHART_FUTURE), 11, genres=genres)
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
    setup = evaluation_setup(interactions(CHART_PAST), interactions(CHART_FUTURE), 5)
    series = Diagnostics.from_setup(setup).popularity
    reviews = {name: 10**x - 1 for name, (x, _) in zip(series.names, series.points, strict=True)}
    assert reviews == pytest.approx({"Game 0": 2, "Game 1": 1, "Game 2": 1, "Game 3": 1, "Game 4": 0})


def test_a_large_catalogue_is_drawn_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MAPPED_GAMES", 2)
    monkeypatch.setattr(report, "OTHER_GAMES", 3)
    found = Diagnostics.from_setup(evaluation_setup(interactions(CHART_PAST), interactions(CHART_FUTURE), 12))
    assert set(found.popularity.names) == {"Game 0", "Game 1", "Game 2", "Game 6", "Game 11"}
    assert [len(series.points) for series in found.map.genres] == [2]


def test_the_same_setup_has_the_same_diagnostics() -> None:
    setup = evaluation_setup(interactions(CHART_PAST), interactions(CHART_FUTURE), 5, genres={0: ["Action"]})
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
