"""The evaluation as a page that stands alone."""

from __future__ import annotations

from collections.abc import Mapping

from components.evaluate.gate import Verdict
from components.evaluate.intervals import Interval
from components.evaluate.metrics import NDCG, Recall
from components.shared.html import page, paragraph, table

TITLES = {NDCG(10).name: "NDCG@10", Recall(20).name: "Recall@20"}


def html_report(
    title: str,
    summary: str,
    figures: Mapping[str, Mapping[str, Interval]],
    settings: Mapping[str, str],
    verdict: Verdict,
) -> str:
    """The report.

    Args:
        title: what became of the model.
        summary: what was measured on.
        figures: by ranking, then by metric.
        settings: the baselines', by ranking.
        verdict: the gate's.
    """
    metrics = list(next(iter(figures.values())))
    rows = [
        [name, settings.get(name, ""), *(str(interval) for interval in by_metric.values())]
        for name, by_metric in figures.items()
    ]
    rules = [
        (rule.demand, rule.challenger, rule.rival_mean, rule.error, "passed" if rule.passed else "failed")
        for rule in verdict.rules
    ]
    heads = ("ranking", "settings", *(TITLES.get(name, name) for name in metrics))
    return page(
        title,
        paragraph(summary),
        table("Mean over users, and its 95 % interval by the bootstrap", heads, rows),
        table("Gate, on NDCG@10", ("rule", "challenger", "rival", "error of the difference", "outcome"), rules),
    )
