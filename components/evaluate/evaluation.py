"""The stage: a challenger beside baselines and champion, all on the same held-out rows, and the gate's verdict."""

from __future__ import annotations

from pathlib import Path

from components.evaluate.diagnostics import Diagnostics
from components.evaluate.gate import NOT_ENOUGH, decide
from components.evaluate.rankings import Rankings
from components.evaluate.report import html_report
from components.evaluate.results import Evaluation
from components.evaluate.setup import EvaluationSetup
from components.evaluate.slices import slices
from components.evaluate.thresholds import DEFAULT, Thresholds
from steam_recsys.data.popularity import popularity
from steam_recsys.evaluation.beyond_accuracy import Coverage, Gini, Novelty
from steam_recsys.evaluation.comparison import Comparison
from steam_recsys.evaluation.metrics import METRIC, MRR, HitRate, Metric, Recall
from steam_recsys.logging import log

METRICS: tuple[Metric, ...] = (METRIC, Recall(20), MRR(10), HitRate(10))
NOVELTY, COVERAGE, GINI = Novelty(20), Coverage(20), Gini(20)
K = 20
"""The longest list that a metric looks at."""


def evaluate_model(
    snapshot: str | Path,
    model: str | Path,
    store: str,
    report: str | Path | None = None,
    thresholds: Thresholds = DEFAULT,
) -> Evaluation:
    """Score a model on the period that its training left out, and decide on its promotion.

    Every game of the catalogue is ranked for every user who reviewed a game before the cutoff and recommends another,
    known by then, from it on; the user's own games are excluded. Undated reviews count neither as history nor as held
    out. Users without a history and games without reviews are measured beside that, as slices.

    Args:
        snapshot: the snapshot that the model was trained on.
        model: the model's folder; the cutoff stands in its `model.json`.
        store: the store with the champion, if there is one.
        report: the HTML file to write, if any.
        thresholds: what the gate asks for.

    Raises:
        UserError: the folder holds no model, or no user can be asked.
    """
    contest = EvaluationSetup.load(snapshot, model, store)
    answers = Rankings.from_rankers(contest.held_out, contest.rankers, K)
    evaluated = _evaluated(contest, answers, thresholds)
    _tell(evaluated)
    if report is not None:
        Path(report).parent.mkdir(parents=True, exist_ok=True)
        Path(report).write_text(html_report(evaluated, Diagnostics.from_setup(contest, answers)), encoding="utf-8")
    return evaluated


def _evaluated(contest: EvaluationSetup, answers: Rankings, thresholds: Thresholds) -> Evaluation:
    overall, catalogue = _overall(contest, answers), _catalogue(contest, answers)
    parts = slices(contest, answers, overall.best_baseline(METRIC.name))
    coverage = {ranking: figures[COVERAGE.name] for ranking, figures in catalogue.items()}
    verdict = decide(overall, coverage, {part.title: part.comparison for part in parts}, thresholds)
    return Evaluation(
        version=contest.version,
        champion=contest.champion,
        snapshot_id=contest.snapshot_id,
        cutoff=contest.cutoff,
        left_out=answers.held_out.left_out,
        overall=overall,
        catalogue=catalogue,
        slices=parts,
        settings=contest.settings,
        thresholds=thresholds,
        verdict=verdict,
    )


def _overall(contest: EvaluationSetup, answers: Rankings) -> Comparison:
    known = popularity(contest.past, contest.games.ids)
    measured = answers.measured(METRICS)
    for name, ranked in answers.ranked.items():
        measured[name][NOVELTY.name] = NOVELTY.per_user(ranked, known)
    return Comparison.from_figures(measured)


def _catalogue(contest: EvaluationSetup, answers: Rankings) -> dict[str, dict[str, float]]:
    return {
        name: {metric.name: metric.of(ranked, len(contest.games)) for metric in (COVERAGE, GINI)}
        for name, ranked in answers.ranked.items()
    }


def _tell(evaluated: Evaluation) -> None:
    rules = evaluated.verdict.rules
    undecided = [rule for rule in rules if rule.outcome == NOT_ENOUGH]
    for rule in rules:
        if rule not in undecided:
            log("evaluate", rule.sentence)
    if undecided:
        log("evaluate", f"slices with too few users to decide anything: {len(undecided)}")
    log("evaluate", evaluated.outcome)
