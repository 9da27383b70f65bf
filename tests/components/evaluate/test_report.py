import doctest
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from components.evaluate import report
from components.evaluate.gate import DEFAULT, Thresholds, decide
from components.evaluate.report import (
    Diagnostics,
    describe_result,
    example_users,
    html_report,
    learning_curves,
    nearest_games,
    validation_curves,
)
from components.evaluate.results import Evaluation
from components.evaluate.setup import EvaluationSetup
from components.evaluate.slices import Rankings, compare_slices
from steam_recsys.evaluation.intervals import Comparison, Interval
from steam_recsys.evaluation.metrics import NDCG, Recall
from steam_recsys.evaluation.rankers import StaticRanker
from steam_recsys.rules import MARKS
from tests.components.evaluate.setups import evaluation_setup, interactions
from tests.steam_recsys.reporting.pages import Page

HOSTILE = '<script>alert("1")</script>'
PAST = [(user, game, -game - 1) for user in range(1, 9) for game in range(user % 3 + 1)]
FUTURE = [(user, 3 + user % 2, 1) for user in range(1, 12)] + [(1, 5, 2)]
KNOWN = [(99, 3, -200), (98, 4, -200)]
DESCRIPTION = {
    "scale": 0.5,
    "losses": [3.0, 2.5, 2.0],
    "history": [{"scale": 0.5, "losses": [4.0, 3.0], "checks": [0.1, 0.2], "ndcg_at_10": 0.25}],
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
    assert [element["role"] for element in page.all("svg")] == ["img"] * 7
    text = " ".join(page.texts)
    for expected in (
        "How personal the lists are", "The gate", "Beside baselines and champion", "Slices", "The model",
        "Example users", "NDCG@10 of users with no review", "Recall@20 by genre", "Learning curves in validation",
        "RPG",
    ):  # fmt: skip
        assert expected in text, expected
    assert len(page.all("article")) == 10


def test_the_same_evaluation_gives_the_same_page(setup: EvaluationSetup) -> None:
    assert html_report(*evaluated(setup)) == html_report(*evaluated(setup))


def test_every_rule_is_listed_with_its_outcome(setup: EvaluationSetup) -> None:
    evaluation, diagnostics = evaluated(setup, Thresholds(slice_users=3, coverage_floor=2.0, accuracy_margin=2.0))
    page = Page(html_report(evaluation, diagnostics))
    assert "Model new does not pass the gate" in page.texts
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
    assert {"0.5432", "not measured"} <= set(texts)  # other rankings do not have the figure
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
    assert f"Model {HOSTILE} passes the gate" in texts or f"Model {HOSTILE} does not pass the gate" in texts
    assert f"{HOSTILE} 3" in texts


def test_one_user_no_genres_and_no_curves_give_a_page_too() -> None:
    small = evaluation_setup(interactions([(1, 0, -1), (2, 1, -1)]), interactions([(1, 1, 0)]), 2)
    page = Page(html_report(*evaluated(small)))
    assert len(page.all("svg")) == 5
    assert len(page.all("article")) == 1


def test_doctests() -> None:
    assert doctest.testmod(report).failed == 0


def test_the_verdict_comes_first_with_its_interval_and_what_the_best_baseline_and_the_champion_do(
    setup: EvaluationSetup,
) -> None:
    evaluation, diagnostics = evaluated(setup)
    sentences = describe_result(evaluation)
    assert sentences[0] == f"NDCG@10 is {evaluation.figures['challenger']['ndcg_at_10']}.".replace(
        "(", "(95 % interval "
    )
    assert [sentence.partition(", at ")[0].split(" than ")[-1].split(" with ")[-1] for sentence in sentences[1:]] == [
        "the best baseline, popularity", "the champion",
    ]  # fmt: skip
    assert all("It shows 50.0 % of the catalogue" in sentence for sentence in sentences[1:])
    text = " ".join(Page(html_report(evaluation, diagnostics)).texts)
    assert text.index(sentences[0]) < text.index("one dot per ranking") < text.index("The gate")


@pytest.mark.parametrize(
    ("low", "high", "words"), [(0.01, 0.03, "better than"), (-0.01, 0.01, "level with"), (-0.03, -0.01, "worse than")]
)
def test_level_means_that_zero_lies_in_the_interval_of_the_difference(
    low: float, high: float, words: str, setup: EvaluationSetup
) -> None:
    evaluation, _ = evaluated(setup)
    evaluation.overall.differences["champion"]["ndcg_at_10"] = Interval((low + high) / 2, low, high)
    assert describe_result(evaluation)[2].startswith(f"The model is {words} the champion, at ")


def test_the_failures_of_the_gate_are_open_and_its_rules_folded(setup: EvaluationSetup) -> None:
    evaluation, diagnostics = evaluated(setup, Thresholds(coverage_floor=2.0))
    before, _, folded = html_report(evaluation, diagnostics).partition("<details>")
    failures = evaluation.verdict.failures
    assert failures
    assert before.count("<li>Share of the catalogue") == len([each for each in failures if "Share" in each.about])
    assert folded.count("<td>✗ failed</td>") == len(failures)


def test_rankings_are_sorted_by_accuracy(setup: EvaluationSetup) -> None:
    evaluation, diagnostics = evaluated(setup)
    means = {name: figures["ndcg_at_10"].mean for name, figures in evaluation.figures.items()}
    chart = re.search("<svg[^>]*><title>NDCG@10 with 95.*?</svg>", html_report(evaluation, diagnostics), re.DOTALL)
    assert chart
    shown = [text for text in Page(chart[0]).texts if text in means]
    assert shown[-len(means) :] == sorted(means, key=lambda name: -means[name])  # after the legend


def test_the_nearest_games_have_the_most_similar_vectors_and_say_how_many_share_a_genre() -> None:
    genres = {0: ["Action"], 1: ["Action"], 2: ["RPG"]}
    setup = evaluation_setup(interactions(CHART_PAST), interactions(CHART_FUTURE), 12, genres=genres)
    vectors = setup.challenger.scorer.candidates
    found = nearest_games(setup)
    assert len(found) == 10
    assert found[0].game == "Game 0"  # the most reviewed one
    cosines = vectors @ vectors[0]
    cosines[0] = -np.inf
    assert found[0].names == tuple(f"Game {game}" for game in np.argsort(-cosines)[:5])
    assert found[0].sharing_genre == ("Game 1" in found[0].names)
    assert {each.sharing_genre for each in found if each.game not in ("Game 0", "Game 1", "Game 2")} == {None}


def test_every_fit_of_the_tuning_has_a_validation_curve_the_chosen_one_first() -> None:
    trials = [{"scale": 0.5, "checks": (0.1, 0.2)}, {"scale": 2.0, "checks": (0.2, 0.3)}, {"scale": 4.0, "checks": ()}]
    curves = validation_curves({"scale": 2.0, "history": trials})
    assert [(curve.name, curve.points) for curve in curves] == [
        ("scale 2, chosen", [(50, 0.2), (100, 0.3)]),
        ("scale 0.5", [(50, 0.1), (100, 0.2)]),
    ]
    assert validation_curves({}) == ()


def test_every_fit_has_a_learning_curve() -> None:
    description = {"losses": (3.0, 2.0), "history": [{"scale": 0.5, "losses": (5.0, 4.0), "ndcg_at_10": 0.1}]}
    curves = learning_curves(description)
    assert [(curve.name, curve.points) for curve in curves] == [
        ("last fit", [(50, 3.0), (100, 2.0)]),
        ("scale 0.5", [(50, 5.0), (100, 4.0)]),
    ]
    assert learning_curves({}) == ()


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
