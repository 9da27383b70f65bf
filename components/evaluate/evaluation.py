"""The evaluation stage: rank held-out users by the challenger, the baselines and the champion, and apply the gate."""

from __future__ import annotations

from pathlib import Path

from components.evaluate.gate import ALL_USERS, DEFAULT, Thresholds, decide
from components.evaluate.report import Diagnostics, html_report
from components.evaluate.results import Evaluation, user_metrics_table
from components.evaluate.setup import EvaluationSetup
from components.evaluate.slices import Rankings, compare_slices
from steam_recsys.evaluation.beyond_accuracy import Reference, measure_lists
from steam_recsys.evaluation.intervals import Comparison, UserFigures
from steam_recsys.evaluation.metrics import HEADLINE_METRIC, MRR, Gini, HitRate, Metric, Novelty, Recall
from steam_recsys.evaluation.popularity_matches import PopularityMatches
from steam_recsys.evaluation.rankers import ModelRanker
from steam_recsys.logging import log
from steam_recsys.reporting.pages import write_page
from steam_recsys.rules import NOT_ENOUGH

METRICS: tuple[Metric, ...] = (HEADLINE_METRIC, Recall(20), MRR(10), HitRate(10))
NOVELTY, GINI = Novelty(10), Gini(10)
RANKING_LENGTH = 20
"""Length of the rankings: the longest that a metric looks at."""


def evaluate_model(
    snapshot: str | Path,
    model: str | Path,
    store: str,
    folder: str | Path | None = None,
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
        folder: Folder to write the evaluation to, with the metrics of each user; None to write nothing.
        report: HTML file to write; None for no report.
        thresholds: The gate's parameters.

    Raises:
        UserError: The folder holds no model, or there is no user to rank for.
    """
    # 1. Read the snapshot and the models, and fit the baselines.
    setup = EvaluationSetup.load(snapshot, model, store)

    # 2. Rank the catalogue for the held-out users, and measure the rankings: accuracy, beyond accuracy, and on slices.
    reference = _reference(setup)
    matches = PopularityMatches.from_held_out(setup.held_out, reference.popularity)
    rankings = Rankings.from_matches(setup.held_out, setup.rankers, RANKING_LENGTH, matches)
    figures, beyond = _figures(rankings, reference), _beyond_accuracy(rankings, reference, matches)
    overall = Comparison.from_figures(figures)
    slices = compare_slices(setup, rankings, overall.best_baseline(HEADLINE_METRIC.name))

    # 3. Apply the gate.
    verdict = decide(overall, beyond, {part.title: part.comparison for part in slices}, thresholds)
    evaluation = Evaluation(
        version=setup.version,
        champion=setup.champion,
        snapshot_id=setup.snapshot_id,
        cutoff=setup.cutoff,
        left_out=rankings.held_out.left_out,
        overall=overall,
        beyond_accuracy=beyond,
        slices=slices,
        settings=setup.settings,
        thresholds=thresholds,
        verdict=verdict,
    )
    _log(evaluation)

    # 4. Write the evaluation and its report.
    if folder is not None:
        evaluation.write(folder, user_metrics_table(rankings.held_out, figures))
    if report is not None:
        write_page(report, html_report(evaluation, Diagnostics.from_setup(setup)))
    return evaluation


def _reference(setup: EvaluationSetup) -> Reference:
    """Collect what lists are measured against; without taste, a model's list would be sorted by its own prior."""
    models = [ranker for ranker in setup.rankers.values() if isinstance(ranker, ModelRanker)]
    priors = [model.scorer.popularity_prior for model in models]
    return Reference.from_past(setup.past, setup.games, setup.day, priors)


def _figures(rankings: Rankings, reference: Reference) -> UserFigures:
    figures = rankings.measure(METRICS)
    for name, ranked in rankings.ranked.items():
        figures[name][NOVELTY.name] = NOVELTY.per_user(ranked, reference.reviews)
    return figures


def _beyond_accuracy(
    rankings: Rankings, reference: Reference, matches: PopularityMatches
) -> dict[str, dict[str, float]]:
    return {
        name: measure_lists(ranked, rankings.held_out, reference)
        | {GINI.name: GINI.compute(ranked, len(reference.reviews))}
        | matches.figures(rankings.auc[name])
        for name, ranked in rankings.ranked.items()
    }


def _log(evaluation: Evaluation) -> None:
    rules = evaluation.verdict.rules
    shown = [rule for rule in rules if rule.outcome != NOT_ENOUGH or ALL_USERS in rule.about]
    for rule in shown:
        log("evaluate", str(rule))
    if len(shown) < len(rules):
        log("evaluate", f"slices with too little evidence to decide: {len(rules) - len(shown)}")
    for sentence in evaluation.trades:
        log("evaluate", sentence)
    log("evaluate", evaluation.outcome)
