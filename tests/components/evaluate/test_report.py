import doctest
from dataclasses import replace

import numpy as np
import pytest

from components.evaluate import report
from components.evaluate.gate import DEFAULT, Thresholds, decide
from components.evaluate.report import Diagnostics, html_report
from components.evaluate.results import Evaluation
from components.evaluate.setup import EvaluationSetup
from components.evaluate.slices import Rankings, compare_slices
from steam_recsys.evaluation.intervals import Comparison
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
    "losses": [3.0, 2.5, 2.0],
    "history": [{"scale": 0.5, "losses": [4.0, 3.0], "ndcg_at_10": 0.25}],
}


def evaluated(setup: EvaluationSetup, thresholds: Thresholds = DEFAULT) -> tuple[Evaluation, Diagnostics]:
    rankings = Rankings.from_rankers(setup.held_out, setup.rankers, 20)
    overall = Comparison.from_figures(rankings.measure((NDCG(10), Recall(20))))
    coverage = dict.fromkeys(setup.rankers, 0.5)
    parts = compare_slices(setup, rankings, "popularity")
    verdict = decide(overall, coverage, {part.title: part.comparison for part in parts}, thresholds)
    evaluation = Evaluation(
        version=setup.version,
        champion=None,
        snapshot_id="snapshot",
        cutoff=setup.cutoff,
        left_out=setup.held_out.left_out,
        overall=overall,
        catalogue={name: {"coverage_at_20": 0.5, "gini_at_20": 0.9} for name in setup.rankers},
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
        "The gate", "Beside baselines and champion", "Slices", "The model", "Example users",
        "NDCG@10 of users with no review", "Recall@20 by genre", "Learning curves", "against score", "RPG",
    ):  # fmt: skip
        assert expected in text, expected
    assert len(page.all("article")) == 10


def test_the_same_evaluation_gives_the_same_page(setup: EvaluationSetup) -> None:
    assert html_report(*evaluated(setup)) == html_report(*evaluated(setup))


def test_every_rule_is_listed_with_its_outcome(setup: EvaluationSetup) -> None:
    evaluation, diagnostics = evaluated(setup, Thresholds(slice_users=3, coverage_floor=2.0))
    page = Page(html_report(evaluation, diagnostics))
    assert "Model new is not promoted" in page.texts
    outcomes = [text for text in page.texts if text in MARKS.values()]
    assert outcomes == [MARKS[rule.outcome] for rule in evaluation.verdict.rules]
    assert set(outcomes) == set(MARKS.values())


def test_a_bound_to_exceed_is_distinguished_from_a_bound_to_reach(
    setup: EvaluationSetup,
) -> None:
    evaluation, diagnostics = evaluated(setup, Thresholds(slice_users=3))
    texts = Page(html_report(evaluation, diagnostics)).texts
    champion = evaluation.figures["champion"]["ndcg_at_10"].mean
    assert f"more than {champion:.4f}" in texts
    assert f"at least {0.9 * 0.5:.4f}" in texts


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
    assert len(page.all("svg")) == 7
    assert len(page.all("article")) == 1


def test_doctests() -> None:
    assert doctest.testmod(report).failed == 0
