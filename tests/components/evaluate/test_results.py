import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.evaluate.evaluation import METRICS
from components.evaluate.gate import Thresholds
from components.evaluate.results import Evaluation, user_metrics_table
from components.evaluate.slices import Rankings, compare_slices
from steam_recsys.data.histories import Histories
from steam_recsys.errors import UserError
from steam_recsys.evaluation.intervals import Comparison
from steam_recsys.evaluation.metrics import NDCG, Recall
from steam_recsys.evaluation.splits import HeldOut
from steam_recsys.rules import Rule, Verdict
from steam_recsys.storage.manifest import Artifact, seal
from tests.components.evaluate.setups import evaluation_setup, interactions
from tests.damage import damaged_contents

USERS = pa.table({"ranking": ["challenger"], "user_id": [4], "history": [1], "held_out": [2], "ndcg_at_10": [0.5]})

PAST = [(1, 0, -9), (1, 1, -8), (2, 0, -5), (3, 2, -5), (3, 3, -4)]
FUTURE = [(1, 2, 1), (1, 3, 2), (2, 1, 1), (3, 0, 3), (8, 1, 0), (9, 2, 0)]


@pytest.fixture
def evaluation() -> Evaluation:
    setup = evaluation_setup(interactions(PAST), interactions(FUTURE), 5, genres={0: ["Action"]})
    rankings = Rankings.from_rankers(setup.held_out, setup.rankers, 20)
    return Evaluation(
        version="new",
        champion=None,
        snapshot_id="snapshot",
        cutoff=setup.cutoff,
        left_out=2,
        overall=Comparison.from_figures(rankings.measure((NDCG(10), Recall(20)))),
        beyond_accuracy={
            "challenger": {"coverage_at_10": 1.0, "jaccard_at_10": 0.3},
            "popularity": {"coverage_at_10": 0.5, "jaccard_at_10": 0.6},
        },
        slices=compare_slices(setup, rankings, "popularity"),
        settings={"popularity": ""},
        thresholds=Thresholds(slice_users=3),
        verdict=Verdict(
            (
                Rule(about="NDCG@10", figure=0.1, at_least=0.2, reason="0.2 of a baseline"),
                Rule(about="a slice", figure=0.0, enough=False),
            )
        ),
    )


def test_reading_returns_what_was_written(evaluation: Evaluation, tmp_path: Path) -> None:
    evaluation.write(tmp_path / "folder", USERS)
    assert Evaluation.read(tmp_path / "folder" / "evaluation.json") == evaluation
    assert pq.read_table(tmp_path / "folder" / "user_metrics.parquet") == USERS
    Artifact.open(tmp_path / "folder", "evaluation", "evaluate again").verify()


def test_the_metrics_of_each_user_take_a_few_bytes(evaluation: Evaluation, tmp_path: Path) -> None:
    """So that the models of a shop with millions of users stay small."""
    random, users = np.random.default_rng(0), 100_000
    past = Histories.from_games(*random.integers(0, 300, (users, 3)))
    held_out = HeldOut(past, Histories.from_games(*random.integers(0, 300, (users, 2))), 0)
    hits = random.random((8, users, 20)) < 0.02
    figures = {
        f"ranking {number}": {metric.name: metric.per_user(each, np.full(users, 2)) for metric in METRICS}
        for number, each in enumerate(hits)
    }
    evaluation.write(tmp_path, user_metrics_table(held_out, figures))
    assert (tmp_path / "user_metrics.parquet").stat().st_size < 40 * users


def test_metrics_are_flat_and_those_of_the_challenger_have_no_prefix(evaluation: Evaluation) -> None:
    assert set(evaluation.metrics) == {
        "ndcg_at_10", "recall_at_20", "coverage_at_10", "jaccard_at_10",
        "popularity_ndcg_at_10", "popularity_recall_at_20", "popularity_coverage_at_10", "popularity_jaccard_at_10",
    }  # fmt: skip
    assert evaluation.metrics["popularity_ndcg_at_10"] == evaluation.figures["popularity"]["ndcg_at_10"].mean
    assert evaluation.metrics["popularity_coverage_at_10"] == 0.5


def test_facts_list_every_rule(evaluation: Evaluation) -> None:
    facts = evaluation.facts()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["promote"] is False
    assert facts["reasons"] == list(evaluation.verdict.sentences)
    assert facts["trades"] == list(evaluation.trades)
    assert facts["trades"][0].startswith("Compared with popularity: 50 % less overlap ")
    assert facts["failures"] == [str(rule) for rule in evaluation.verdict.failures]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{}", "is damaged, or of another release"),
        (b'{"version": "old", "verdict": {}, "figures": {}}', "is damaged, or of another release"),
        (seal({"version": "old", "verdict": {}, "figures": {}}), "is of another release"),
        (seal({"format": 2}), "has the format 2 of another release"),
    ],
)
def test_an_evaluation_by_another_version_of_the_project_is_reported(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "evaluation.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"evaluation\.json {reason}.*: train and evaluate again\.$"):
        Evaluation.read(tmp_path / "evaluation.json")


def test_a_damaged_evaluation_is_reported(evaluation: Evaluation, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    evaluation.write(tmp_path, USERS)
    for _, content in damaged_contents(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"^{path} (is|has) .*: train and evaluate again\.$"):
            Evaluation.read(path)


def test_a_missing_evaluation_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is missing: evaluate the model first"):
        Evaluation.read(tmp_path / "evaluation.json")
