"""Recorded runs of the training pipeline, with the facts of a real evaluation."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from psycopg2.extensions import connection as Connection
from psycopg2.extras import Json

from components.evaluate.gate import DEFAULT
from components.evaluate.results import Evaluation
from steam_recsys.evaluation.intervals import Comparison, Interval
from steam_recsys.rules import Rule, Verdict

FIGURES = {
    "challenger": (0.2033, 0.3723),
    "champion": (0.1999, 0.3701),
    "popularity": (0.1819, 0.3327),
    "recent popularity": (0.2036, 0.3682),
    "item-kNN": (0.0796, 0.1642),
}
"""NDCG@10 and Recall@20 by ranking."""


def stages_of(version: str, started_at: datetime, passed: bool = True) -> list[dict[str, Any]]:
    """Return the records of a training's stages for a model version."""
    train = {"stage": "train", "started_at": (started_at + timedelta(minutes=1)).isoformat(), "facts": {}}
    return [train, {"stage": "evaluate", "facts": facts_of(version, passed)}]


def facts_of(version: str, passed: bool = True) -> Mapping[str, Any]:
    """Return the evaluate stage's facts for a model."""
    figures = {
        ranking: {"ndcg_at_10": Interval(ndcg, ndcg, ndcg), "recall_at_20": Interval(recall, recall, recall)}
        for ranking, (ndcg, recall) in FIGURES.items()
    }
    ours = FIGURES["challenger"][0]
    differences = {
        ranking: {"ndcg_at_10": Interval(ours - ndcg, ours - ndcg - 0.003, ours - ndcg + 0.003)}
        for ranking, (ndcg, _) in FIGURES.items()
        if ranking != "challenger"
    }
    rules = (
        Rule(
            about="NDCG@10 of all users",
            figure=0.2033,
            at_least=0.2024 if passed else 0.2036,
            reason="the best baseline, recent popularity",
        ),
        Rule(about="NDCG@10 of few users", figure=0.0, reason="3 of at least 100 users", enough=False),
    )
    return Evaluation(
        version=version,
        champion="model-0",
        snapshot_id="snapshot",
        cutoff="2015-10-05",
        left_out=0,
        overall=Comparison(1676, figures, differences),
        beyond_accuracy={ranking: {"coverage_at_10": 0.5, "jaccard_at_10": 0.5} for ranking in figures},
        slices=(),
        settings={},
        thresholds=DEFAULT,
        verdict=Verdict(rules),
    ).facts()


def record_run(
    connection: Connection, run_id: str, started_at: datetime, stages: list[dict[str, Any]], pipeline: str = "training"
) -> None:
    """Record a successful run in the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO recsys.pipeline_runs (run_id, pipeline, state, started_at, finished_at, stages) "
            "VALUES (%s, %s, 'SUCCEEDED', %s, %s, %s)",
            [run_id, pipeline, started_at, started_at + timedelta(minutes=2), Json(stages)],
        )
