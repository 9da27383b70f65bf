"""The evaluation as a page that stands alone."""

from __future__ import annotations

from components.evaluate.gate import Verdict
from components.evaluate.metrics import NDCG, Recall
from components.shared.html import page, paragraph, table

Figures = dict[str, tuple[float, float]]
"""Mean and standard error, by the metric's name."""

TITLES = {NDCG(10).name: "NDCG@10", Recall(20).name: "Recall@20"}


def html_report(title: str, summary: str, figures: dict[str, Figures], verdict: Verdict) -> str:
    """The report.

    Args:
        title: what became of the model.
        summary: what was measured on.
        figures: by ranking.
        verdict: the gate's.
    """
    metrics = list(next(iter(figures.values())))
    rows = [[name, *(f"{mean:.4f} ± {error:.4f}" for mean, error in of.values())] for name, of in figures.items()]
    rules = [
        (f"not worse than {rule.rival}", rule.challenger, rule.rival_mean, rule.error, _outcome(rule.passed))
        for rule in verdict.rules
    ]
    return page(
        title,
        paragraph(summary),
        table("Mean over users ± standard error", ("ranking", *(TITLES.get(name, name) for name in metrics)), rows),
        table("Gate, on NDCG@10", ("rule", "challenger", "rival", "error of the difference", "outcome"), rules),
    )


def _outcome(passed: bool) -> str:
    return "passed" if passed else "failed"
