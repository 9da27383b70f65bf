"""Runs of the training pipeline as the database remembers them, with what an evaluation really says."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from psycopg2.extensions import connection as Connection
from psycopg2.extras import Json

from components.evaluate.gate import Rule, Verdict
from components.evaluate.results import Evaluation
from components.evaluate.thresholds import DEFAULT
from steam_recsys.evaluation.comparison import Comparison
from steam_recsys.evaluation.intervals import Interval

FIGURES = {
    "challenger": (0.2033, 0.3723),
    "champion": (0.1999, 0.3701),
    "popularity": (0.1819, 0.3327),
    "recent popularity": (0.2036, 0.3682),
    "item-kNN": (0.0796, 0.1642),
}
"""NDCG@10 and Recall@20 by ranking."""


def stages_of(version: str, started_at: datetime, passed: bool = True) -> list[dict[str, Any]]:
    """What the stages of a training left that evaluated a model of that version."""
    train = {"stage": "train", "started_at": (started_at + timedelta(minutes=1)).isoformat(), "facts": {}}
    return [train, {"stage": "evaluate", "facts": facts_of(version, passed)}]


def facts_of(version: str, passed: bool = True) -> Mapping[str, Any]:
    """What the stage of the evaluation says of a model."""
    figures = {
        ranking: {"ndcg_at_10": Interval(ndcg, ndcg, ndcg), "recall_at_20": Interval(recall, recall, recall)}
        for ranking, (ndcg, recall) in FIGURES.items()
    }
    rules = (
        Rule("NDCG@10 of all users", 0.2033, 0.2024 if passed else 0.2036, "the best baseline, recent popularity"),
        Rule("NDCG@10 of few users", 0.0, 0.0, "3 of at least 100 users", enough=False),
    )
    return Evaluation(
        version=version,
        champion="model-0",
        snapshot_id="snapshot",
        cutoff="2015-10-05",
        left_out=0,
        overall=Comparison(1676, figures, {}),
        catalogue={ranking: {"coverage_at_20": 0.5} for ranking in figures},
        slices=(),
        settings={},
        thresholds=DEFAULT,
        verdict=Verdict(passed, rules),
    ).facts()


def remember_run(
    connection: Connection, run_id: str, started_at: datetime, stages: list[dict[str, Any]], pipeline: str = "training"
) -> None:
    """Write a run that succeeded into the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO recsys.pipeline_runs (run_id, pipeline, state, started_at, finished_at, stages) "
            "VALUES (%s, %s, 'SUCCEEDED', %s, %s, %s)",
            [run_id, pipeline, started_at, started_at + timedelta(minutes=2), Json(stages)],
        )
