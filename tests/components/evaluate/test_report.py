import doctest
from dataclasses import replace

import numpy as np
import pytest

from components.evaluate import report
from components.evaluate.diagnostics import Diagnostics
from components.evaluate.gate import decide
from components.evaluate.rankings import Rankings
from components.evaluate.report import html_report
from components.evaluate.results import Evaluation
from components.evaluate.setup import EvaluationSetup
from components.evaluate.slices import slices
from components.evaluate.thresholds import DEFAULT, Thresholds
from steam_recsys.evaluation.baselines import StaticRanker
from steam_recsys.evaluation.comparison import Comparison
from steam_recsys.evaluation.metrics import NDCG, Recall
from tests.components.evaluate.setups import contest, interactions
from tests.steam_recsys.reporting.pages import Page

HOSTILE = '<script>alert("1")</script>'
PAST = [(user, game, -game - 1) for user in range(1, 9) for game in range(user % 3 + 1)]
FUTURE = [(user, 3 + user % 2, 1) for user in range(1, 12)] + [(1, 5, 2)]
KNOWN = [(99, 3, -200), (98, 4, -200)]
DESCRIBED = {
    "losses": [3.0, 2.5, 2.0],
    "history": [{"scale": 0.5, "losses": [4.0, 3.0], "ndcg_at_10": 0.25}],
}


def evaluated(asked: EvaluationSetup, thresholds: Thresholds = DEFAULT) -> tuple[Evaluation, Diagnostics]:
    answers = Rankings.from_rankers(asked.held_out, asked.rankers, 20)
    overall = Comparison.from_figures(answers.measured((NDCG(10), Recall(20))))
    coverage = dict.fromkeys(asked.rankers, 0.5)
    parts = slices(asked, answers, "popularity")
    verdict = decide(overall, coverage, {part.title: part.comparison for part in parts}, thresholds)
    evaluation = Evaluation(
        version=asked.version,
        champion=None,
        snapshot_id="snapshot",
        cutoff=asked.cutoff,
        left_out=asked.held_out.left_out,
        overall=overall,
        catalogue={name: {"coverage_at_20": 0.5, "gini_at_20": 0.9} for name in asked.rankers},
        slices=parts,
        settings={"popularity": ""},
        thresholds=thresholds,
        verdict=verdict,
    )
    return evaluation, Diagnostics.from_setup(asked, answers)


@pytest.fixture
def asked() -> EvaluationSetup:
    return contest(
        interactions(PAST + KNOWN), interactions(FUTURE), 7,
        genres={0: ["Action"], 3: ["Action", "Puzzle"], 4: ["RPG"]}, described=DESCRIBED,
        rankers={"champion": StaticRanker(np.arange(7, dtype=np.float32))},
    )  # fmt: skip


def test_the_page_has_a_table_of_every_kind_and_a_chart_of_every_kind(asked: EvaluationSetup) -> None:
    page = Page(html_report(*evaluated(asked)))
    assert [element["role"] for element in page.all("svg")] == ["img"] * 7
    text = " ".join(page.texts)
    for expected in (
        "The gate", "Beside baselines and champion", "Slices", "The model", "Example users",
        "NDCG@10 of users with no review", "Recall@20 by genre", "Learning curves", "against score", "RPG",
    ):  # fmt: skip
        assert expected in text, expected
    assert len(page.all("article")) == 10


def test_the_same_evaluation_makes_the_same_bytes(asked: EvaluationSetup) -> None:
    assert html_report(*evaluated(asked)) == html_report(*evaluated(asked))


def test_every_rule_is_listed_with_its_outcome(asked: EvaluationSetup) -> None:
    evaluation, exhibits = evaluated(asked, Thresholds(slice_users=3, coverage_floor=2.0))
    page = Page(html_report(evaluation, exhibits))
    assert "Model new is not promoted" in page.texts
    outcomes = [text for text in page.texts if text in report.MARKS.values()]
    assert outcomes == [report.MARKS[rule.outcome] for rule in evaluation.verdict.rules]
    assert set(outcomes) == set(report.MARKS.values())


def test_what_is_asked_of_the_challenger_tells_a_bound_that_is_to_be_passed_from_one_to_be_reached(
    asked: EvaluationSetup,
) -> None:
    evaluation, exhibits = evaluated(asked, Thresholds(slice_users=3))
    texts = Page(html_report(evaluation, exhibits)).texts
    champion = evaluation.figures["champion"]["ndcg_at_10"].mean
    assert f"more than {champion:.4f}" in texts
    assert f"at least {0.9 * 0.5:.4f}" in texts


@pytest.mark.parametrize(("champion", "words"), [(None, "none"), ("old", "old"), ("new", "this very model")])
def test_the_page_says_who_was_champion(champion: str | None, words: str, asked: EvaluationSetup) -> None:
    evaluation, exhibits = evaluated(asked)
    text = " ".join(Page(html_report(replace(evaluation, champion=champion), exhibits)).texts)
    assert f"Champion before: {words}." in text


def test_hostile_names_are_escaped(asked: EvaluationSetup) -> None:
    hostile = replace(asked, version=HOSTILE, names=[f"{HOSTILE} {game}" for game in range(7)])
    games = replace(asked.games, attributes=[{f"genre {HOSTILE}": 1.0}] * 7)
    page = html_report(*evaluated(replace(hostile, games=games)))
    assert "<script" not in page
    texts = Page(page).texts
    assert f"Model {HOSTILE} is promoted" in texts or f"Model {HOSTILE} is not promoted" in texts
    assert f"{HOSTILE} 3" in texts


def test_one_user_no_genres_and_no_curves_make_a_page_too() -> None:
    small = contest(interactions([(1, 0, -1), (2, 1, -1)]), interactions([(1, 1, 0)]), 2)
    page = Page(html_report(*evaluated(small)))
    assert len(page.all("svg")) == 7
    assert len(page.all("article")) == 1


def test_the_examples_in_the_documentation_hold() -> None:
    assert doctest.testmod(report).failed == 0
