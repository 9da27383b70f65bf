import json
from pathlib import Path

import pytest

from components.evaluate.gate import Rule, Verdict
from components.evaluate.rankings import Rankings
from components.evaluate.results import Evaluation
from components.evaluate.slices import slices
from components.evaluate.thresholds import Thresholds
from steam_recsys.errors import UserError
from steam_recsys.evaluation.comparison import Comparison
from steam_recsys.evaluation.metrics import NDCG, Recall
from tests.components.evaluate.setups import contest, interactions

PAST = [(1, 0, -9), (1, 1, -8), (2, 0, -5), (3, 2, -5), (3, 3, -4)]
FUTURE = [(1, 2, 1), (1, 3, 2), (2, 1, 1), (3, 0, 3), (8, 1, 0), (9, 2, 0)]


@pytest.fixture
def evaluation() -> Evaluation:
    asked = contest(interactions(PAST), interactions(FUTURE), 5, genres={0: ["Action"]})
    answers = Rankings.from_rankers(asked.held_out, asked.rankers, 20)
    return Evaluation(
        version="new",
        champion=None,
        snapshot_id="snapshot",
        cutoff=asked.cutoff,
        left_out=2,
        overall=Comparison.from_figures(answers.measured((NDCG(10), Recall(20)))),
        catalogue={"challenger": {"coverage_at_20": 1.0}, "popularity": {"coverage_at_20": 0.5}},
        slices=slices(asked, answers, "popularity"),
        settings={"popularity": ""},
        thresholds=Thresholds(slice_users=3),
        verdict=Verdict(False, (Rule("NDCG@10", 0.1, 0.2, "0.2 of somebody"), Rule("a slice", 0.0, 0.0, "", False))),
    )


def test_it_is_read_back_as_it_was_written(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.write(tmp_path / "folder" / "evaluation.json")
    assert Evaluation.read(tmp_path / "folder" / "evaluation.json") == evaluation


def test_means_are_flat_and_the_challengers_have_the_plain_names(evaluation: Evaluation) -> None:
    assert set(evaluation.metrics) == {
        "ndcg_at_10", "recall_at_20", "coverage_at_20",
        "popularity_ndcg_at_10", "popularity_recall_at_20", "popularity_coverage_at_20",
    }  # fmt: skip
    assert evaluation.metrics["popularity_ndcg_at_10"] == evaluation.figures["popularity"]["ndcg_at_10"].mean
    assert evaluation.metrics["popularity_coverage_at_20"] == 0.5


def test_facts_name_every_rule(evaluation: Evaluation) -> None:
    facts = evaluation.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["promote"] is False
    assert facts["reasons"] == list(evaluation.verdict.reasons)
    assert facts["failures"] == [rule.sentence for rule in evaluation.verdict.failures]


@pytest.mark.parametrize("content", ["{}", '{"version": "old", "verdict": {}, "figures": {}}'])
def test_an_evaluation_of_another_version_of_the_project_gets_one_sentence(content: str, tmp_path: Path) -> None:
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(UserError, match=r"an evaluation of another version of this project \(.*\): train and evaluate"):
        Evaluation.read(tmp_path / "evaluation.json")


def test_an_evaluation_that_is_not_there_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no evaluation: evaluate the model first"):
        Evaluation.read(tmp_path / "evaluation.json")
