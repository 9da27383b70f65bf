"""The evaluation stage: rank held-out users by the challenger, the baselines and the champion, and apply the gate."""

from __future__ import annotations

from pathlib import Path

from components.evaluate.gate import DEFAULT, Thresholds, decide
from components.evaluate.report import Diagnostics, html_report
from components.evaluate.results import Evaluation
from components.evaluate.setup import EvaluationSetup
from components.evaluate.slices import Rankings, compare_slices
from steam_recsys.data.popularity import popularity
from steam_recsys.evaluation.intervals import Comparison
from steam_recsys.evaluation.metrics import HEADLINE_METRIC, MRR, Coverage, Gini, HitRate, Metric, Novelty, Recall
from steam_recsys.logging import log
from steam_recsys.reporting.pages import write_page
from steam_recsys.rules import NOT_ENOUGH

METRICS: tuple[Metric, ...] = (HEADLINE_METRIC, Recall(20), MRR(10), HitRate(10))
NOVELTY, COVERAGE, GINI = Novelty(20), Coverage(20), Gini(20)
K = 20
"""Length of the rankings: the longest that a metric looks at."""


def evaluate_model(
    snapshot: str | Path,
    model: str | Path,
    store: str,
    report: str | Path | None = None,
    thresholds: Thresholds = DEFAULT,
) -> Evaluation:
    """Measure a model on the period that its training left out, and decide whether to promote it.

    The whole catalogue is ranked for every user who reviewed a game before the cutoff and recommends another known game
    after it; the user's own games are excluded. Undated reviews are neither history nor held out. Users without a
    history and games without reviews are measured separately, as slices.

    Args:
        snapshot: The snapshot that the model was trained on.
        model: Folder of the model, with the cutoff in its `model.json`.
        store: Store with the champion, if there is one.
        report: HTML file to write; None for no report.
        thresholds: The gate's parameters.

    Raises:
        UserError: The folder holds no model, or there is no user to rank for.
    """
    # 1. Read the snapshot and the models, and fit the baselines.
    setup = EvaluationSetup.load(snapshot, model, store)

    # 2. Rank the catalogue for the held-out users, and measure the rankings overall and on slices.
    rankings = Rankings.from_rankers(setup.held_out, setup.rankers, K)
    overall, catalogue = _overall(setup, rankings), _catalogue(setup, rankings)
    slices = compare_slices(setup, rankings, overall.best_baseline(HEADLINE_METRIC.name))

    # 3. Apply the gate.
    coverage = {ranking: figures[COVERAGE.name] for ranking, figures in catalogue.items()}
    verdict = decide(overall, coverage, {part.title: part.comparison for part in slices}, thresholds)
    evaluation = Evaluation(
        version=setup.version,
        champion=setup.champion,
        snapshot_id=setup.snapshot_id,
        cutoff=setup.cutoff,
        left_out=rankings.held_out.left_out,
        overall=overall,
        catalogue=catalogue,
        slices=slices,
        settings=setup.settings,
        thresholds=thresholds,
        verdict=verdict,
    )
    _log(evaluation)

    # 4. Write the report.
    if report is not None:
        write_page(report, html_report(evaluation, Diagnostics.from_setup(setup)))
    return evaluation


def _overall(setup: EvaluationSetup, rankings: Rankings) -> Comparison:
    figures = rankings.measure(METRICS)
    reviews = popularity(setup.past, setup.games.ids)
    for name, ranked in rankings.ranked.items():
        figures[name][NOVELTY.name] = NOVELTY.per_user(ranked, reviews)
    return Comparison.from_figures(figures)


def _catalogue(setup: EvaluationSetup, rankings: Rankings) -> dict[str, dict[str, float]]:
    return {
        name: {metric.name: metric.compute(ranked, len(setup.games)) for metric in (COVERAGE, GINI)}
        for name, ranked in rankings.ranked.items()
    }


def _log(evaluation: Evaluation) -> None:
    rules = evaluation.verdict.rules
    decided = [rule for rule in rules if rule.outcome != NOT_ENOUGH]
    for rule in decided:
        log("evaluate", str(rule))
    if len(decided) < len(rules):
        log("evaluate", f"slices with too few users to decide: {len(rules) - len(decided)}")
    log("evaluate", evaluation.outcome)
