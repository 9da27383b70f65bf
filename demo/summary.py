"""The results of a demo, as `summary.json` and as tables."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.evaluate.results import Evaluation
from steam_recsys.evaluation.intervals import CHALLENGER, CHAMPION, LEVEL, Comparison
from steam_recsys.evaluation.metrics import HEADLINE_METRIC
from steam_recsys.publications.personalisation import FIRST_GAMES
from steam_recsys.storage.model_store import EVALUATION, champion, stored_model

OURS = "the model"
PIPELINES = ("ingestion", "training", "inference")


def write_summary(path: Path, url: str, store: str, raw: Path) -> dict[str, Any]:
    """Collect the results of each pipeline's last run from database and store, write them and return them."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        records = _stages(cursor)
        seconds, memory = _costs(records)
        summary = {
            "data": {"folder": str(raw.resolve()), **_data(cursor)},
            "gate": _gate(records),
            "model": _model(store),
            "publication": _publication(cursor),
            "monitoring": _monitoring(cursor),
            "seconds": seconds,
            "peak_memory_mb": memory,
        }
    path.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return summary


def gate_outcome(url: str) -> dict[str, Any]:
    """Return the gate's outcome for the last trained `model`: whether it `passed`, and the rules that it `failed`."""
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        return _gate(_stages(cursor))


def show_metrics(summary: dict[str, Any], title: str) -> None:
    """Print the model's metrics beside the baselines', and what the gate, the publication and monitoring found."""
    model = summary["model"]
    table = Table(box=None, pad_edge=False)
    for heading, justify in (("", "left"), ("NDCG@10", "right"), ("Recall@20", "right")):
        table.add_column(heading, justify=justify)  # type: ignore[arg-type]
    rankers = {**model["baselines"], OURS: model}
    for name in sorted(rankers, key=lambda name: -rankers[name]["ndcg_at_10"]):
        figures, style = rankers[name], "bold green" if name == OURS else ""
        mark = "▶" if name == OURS else " "
        table.add_row(f"{mark} {name}", f"{figures['ndcg_at_10']:.4f}", f"{figures['recall_at_20']:.4f}", style=style)
    console = Console()
    measured_on = f"Model {model['version']} on the reviews from {model['cutoff']} on ({title})"
    console.print(f"\n[bold]{escape(measured_on)}[/bold]", soft_wrap=True)
    console.print(table)
    for sentence in _sentences(summary):
        console.print(escape(sentence), soft_wrap=True, highlight=False)


def _sentences(summary: dict[str, Any]) -> Iterator[str]:
    yield from _outcome(summary)
    data = summary["data"]
    rejected = sum(data["rejected"].values())
    yield (
        f"{data['reviews']:,} reviews of {data['games']:,} games by {data['users']:,} known users, "
        f"{rejected:,} rows rejected; {summary['publication']['users']:,} users have recommendations."
    )
    yield how_personal(summary["publication"])
    if sentence := realised_quality(summary["monitoring"]):
        yield sentence


def realised_quality(figures: Mapping[str, float | None]) -> str:
    """Say how good the recommendations were by the reviews that came after them; empty if none came."""
    if not figures.get("judged_users") or None in (figures.get("ndcg"), figures.get("popular_ndcg")):
        return ""
    drift = figures.get("psi_games")  # unknown if there is no review since the champion's training
    return (
        f"Since the last publications, {figures['judged_users']:,.0f} users reviewed new games: NDCG@10 "
        f"{figures['ndcg']:.4f}, recent popularity {figures['popular_ndcg']:.4f}"
        f"{'' if drift is None else f'; drift of the games (PSI) {drift:.2f}'}."
    )


def how_personal(publication: Mapping[str, Any]) -> str:
    """Say how much the lists of two users have in common.

    Example:
        >>> how_personal({"popular_ten": 0.12, "overlap": 0.25, "coverage": 0.4})
        'Personal: 12 % of users get the popular ten; two users share 4.0 of 10 games; 40.0 % of the games are shown.'
    """
    popular_ten, overlap, coverage = (publication[name] for name in ("popular_ten", "overlap", "coverage"))
    if None in (popular_ten, overlap, coverage):
        return "Personal: there are too few users to compare their games."
    shared = FIRST_GAMES * 2 * overlap / (1 + overlap)  # of two lists of this length with that Jaccard index
    return (
        f"Personal: {popular_ten:.0%} of users get the popular ten; two users share {shared:.1f} of {FIRST_GAMES} "
        f"games; {coverage:.1%} of the games are shown."
    ).replace("%", " %")


def _outcome(summary: dict[str, Any]) -> Iterator[str]:
    """Say whether the trained model passed the gate, and how the champion compares with the best baseline."""
    gate, model = summary["gate"], summary["model"]
    if gate["passed"]:
        yield f"Model {gate['model']} passed the gate."
    else:
        yield f"Model {gate['model']} did not pass the gate, the champion stays {model['version']}:"
        yield from (f"  ✗ {failed}" for failed in gate["failed"])
    beside = model["beside_best_baseline"]
    outcome = f"{beside['outcome']} {'with' if beside['outcome'] == LEVEL else 'than'}"
    yield (
        f"By NDCG@10 the model is {outcome} the best baseline, {beside['baseline'].replace('_', ' ')}: user by user "
        f"{beside['difference']:+.4f}, 95 % interval {beside['low']:+.4f} to {beside['high']:+.4f}."
    )


def compare_with_best_baseline(overall: Comparison) -> dict[str, Any]:
    """Compare the challenger with the baseline of highest NDCG@10 by the interval of their paired difference."""
    baseline = overall.best_baseline(HEADLINE_METRIC.name)
    difference = overall.differences[baseline][HEADLINE_METRIC.name]
    return {
        "baseline": _key(baseline), "outcome": difference.outcome,
        "difference": difference.mean, "low": difference.low, "high": difference.high,
    }  # fmt: skip


def _key(ranking: str) -> str:
    return ranking.replace(" ", "_")


def _data(cursor: psycopg2.extensions.cursor) -> dict[str, Any]:
    counts = {}
    for table in ("reviews", "users", "games"):
        cursor.execute(f"SELECT count(*) FROM steam.{table}")  # noqa: S608 - one of three names
        counts[table] = _one(cursor)
    cursor.execute("SELECT coalesce(jsonb_object_agg(reason, rows), '{}') FROM "
                   "(SELECT reason, count(*) AS rows FROM steam.rejected_rows GROUP BY reason) AS counted")  # fmt: skip
    return {**counts, "rejected": _one(cursor)}


def _model(store: str) -> dict[str, Any]:
    with stored_model(store, champion(store).version) as folder:
        evaluation = Evaluation.read(folder / EVALUATION)
    means = {
        _key(ranking): {name: figures[name].mean for name in ("recall_at_20", "ndcg_at_10")}
        for ranking, figures in evaluation.figures.items()
        if ranking != CHAMPION
    }
    beside = compare_with_best_baseline(evaluation.overall)
    return {
        "version": evaluation.version, "cutoff": evaluation.cutoff, **means.pop(CHALLENGER), "baselines": means,
        "beside_best_baseline": beside,
    }  # fmt: skip


def _gate(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """See `gate_outcome`."""
    facts = [record["facts"] for record in records if record["stage"] == "evaluate"][-1]
    return {"model": facts["version"], "passed": facts["promote"], "failed": facts["failures"]}


def _publication(cursor: psycopg2.extensions.cursor) -> dict[str, Any]:
    cursor.execute("SELECT version, users, rows, overlap, coverage, popular_ten FROM recsys.publications WHERE current")
    row = cursor.fetchone()
    assert row is not None
    assert cursor.description is not None
    return {column.name: figure for column, figure in zip(cursor.description, row, strict=True)}


def _monitoring(cursor: psycopg2.extensions.cursor) -> dict[str, float | None]:
    """Return the figures of the last run of the monitoring."""
    cursor.execute("SELECT figures FROM recsys.monitoring ORDER BY measured_at DESC LIMIT 1")
    return dict(_one(cursor))


def _stages(cursor: psycopg2.extensions.cursor) -> list[dict[str, Any]]:
    """Read each stage's journal record from the last run of each pipeline, in order."""
    cursor.execute(
        "SELECT DISTINCT ON (pipeline) pipeline, stages FROM recsys.pipeline_runs ORDER BY pipeline, finished_at DESC"
    )
    runs = dict(cursor.fetchall())
    return [record for pipeline in PIPELINES for record in runs.get(pipeline, ())]


def _costs(records: Sequence[dict[str, Any]]) -> tuple[dict[str, float], dict[str, float]]:
    """Return seconds and peak memory per stage: the sum and the maximum over its tasks."""
    seconds: dict[str, float] = defaultdict(float)
    memory: dict[str, float] = defaultdict(float)
    for record in records:
        seconds[record["stage"]] = round(seconds[record["stage"]] + record["seconds"], 3)
        memory[record["stage"]] = max(memory[record["stage"]], record["peak_memory_mb"])
    return dict(seconds), dict(memory)


def _one(cursor: psycopg2.extensions.cursor) -> Any:
    row = cursor.fetchone()
    assert row is not None
    return row[0]
