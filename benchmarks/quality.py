"""`make benchmark-quality`: the model beside its baselines on public data, the default configuration in every row.

Nothing is chosen on a test split: what the model and the baselines choose, they choose within what may be known.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.datasets import Protocol, protocols
from benchmarks.record import Row as Record
from benchmarks.record import show, write
from benchmarks.tutorial import TutorialRanker
from components.train.tensorflow_runtime import get_workers
from components.train.trainer import Trainer
from components.train.training import tune_and_fit
from components.train.two_tower_model import ModelConfig
from steam_recsys.arrays import Float64Array
from steam_recsys.data.popularity import popularity_as_of
from steam_recsys.errors import UserError
from steam_recsys.evaluation.baselines import tuned_baselines
from steam_recsys.evaluation.holdout import hold_out
from steam_recsys.evaluation.intervals import Interval, intervals
from steam_recsys.evaluation.metrics import NDCG, Recall, measure
from steam_recsys.evaluation.rankers import ModelRanker, Ranker

METRICS = (NDCG(10), Recall(20))
OURS = "ours"
SEED = 0
MUST: dict[tuple[str, str], float | None] = {
    ("ML-100K, random 80/20", "ndcg_at_10"): 0.444,
    ("ML-100K, last item out", "ndcg_at_10"): 0.076,
    ("steam-ucsd, last 10 % of time", "ndcg_at_10"): 0.208,
    ("steam-ucsd, last 10 % of time", "recall_at_20"): 0.390,
    ("Steam-200k, random 80/20", "ndcg_at_10"): None,
}
"""What must be reached: what the best baseline is known to reach, or, for None, what it reaches in the same run."""


@dataclass(frozen=True)
class Row:
    """One ranking of one protocol: its metrics' intervals, and those of the differences of ours to it."""

    ranking: str
    settings: str
    figures: dict[str, Interval]
    differences: dict[str, Interval]


def rows_of(protocol: Protocol) -> list[Row]:
    """Train, rank and measure everything on one protocol."""
    games = protocol.games
    past, as_of = protocol.test.past, protocol.test.as_of
    held_out = hold_out(past, protocol.test.future, games.ids)
    fitted, _ = tune_and_fit(past, protocol.validation, games, ModelConfig(), Trainer(SEED, get_workers()), "benchmark")
    scorer = fitted.model.for_catalogue(games, popularity_as_of(past, games.ids, as_of))
    rankers: dict[str, tuple[str, Ranker]] = {
        OURS: (_chosen(fitted.config), ModelRanker(scorer)),
        "TFRS tutorial": ("", TutorialRanker.trained_on(past, games.ids, SEED)),
    }
    for baseline in tuned_baselines(past, as_of, protocol.validation, games.ids):
        rankers[baseline.name] = baseline.settings, baseline.ranker
    measured = {name: measure(ranker, held_out, METRICS) for name, (_, ranker) in rankers.items()}
    return [
        Row(name, rankers[name][0], intervals(figures), intervals(_differences(measured[OURS], figures)))
        for name, figures in measured.items()
    ]


def results(protocol: str, rows: list[Row]) -> list[Record]:
    """The row's figures for the record: ours beside the best other, and whether what must be reached is."""
    ours = next(row for row in rows if row.ranking == OURS)
    found: list[Record] = []
    for metric in METRICS:
        peer = max((row for row in rows if row.ranking != OURS), key=lambda row: row.figures[metric.name].mean)
        figure, best = ours.figures[metric.name].mean, peer.figures[metric.name].mean
        asked = (protocol, metric.name) in MUST
        must = (MUST[protocol, metric.name] or best) if asked else None
        found.append(
            {
                "what": f"{protocol}, {metric.name}",
                "ours": round(figure, 4),
                "peer": round(best, 4),
                "peer_name": peer.ranking,
                "ratio": round(figure / best, 4),
                "must": must and round(must, 4),
                "met": must is None or round(figure, 4) >= round(must, 4),
            }
        )
    return found


def markdown(protocol: str, rows: list[Row]) -> str:
    """The row as a table."""
    lines = [
        f"### {protocol}",
        "",
        "| ranking | settings | NDCG@10 | Recall@20 | ours − it, NDCG@10 | ours − it, Recall@20 |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [str(row.figures[metric.name]) for metric in METRICS]
        cells += ["" if row.ranking == OURS else str(row.differences[metric.name]) for metric in METRICS]
        lines.append(f"| {row.ranking} | {row.settings} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _differences(ours: dict[str, Float64Array], others: dict[str, Float64Array]) -> dict[str, Float64Array]:
    return {name: ours[name] - others[name] for name in ours}


def _chosen(config: ModelConfig) -> str:
    weights = config.history_weights
    words = f"scale {config.scale:g}, links times {config.link_weight:g} (λ = {config.link_regularisation:g})"
    return f"{words}, recency {weights.recency:g}"


def main() -> None:
    """Read the command line, run, print the tables and write them down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="the data sets' folder (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("local/benchmarks"), help="for the results (%(default)s)")
    options = parser.parse_args()
    try:
        found = protocols(options.data)
    except UserError as error:
        sys.exit(f"benchmark: {error}")
    options.output.mkdir(parents=True, exist_ok=True)
    record: list[Record] = []
    tables = []
    for protocol in found:
        print(f"[benchmark] {protocol.name}", flush=True)
        rows = rows_of(protocol)
        record += results(protocol.name, rows)
        tables.append(markdown(protocol.name, rows))
        print(tables[-1], flush=True)
        write(options.output / "quality.json", record)
        (options.output / "quality.md").write_text("\n".join(tables))
    for line in record:
        show(line)


if __name__ == "__main__":
    main()
