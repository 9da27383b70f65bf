"""The evaluation report: one self-contained page with tables, charts, diagnostics of the model and example users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from components.evaluate.results import Evaluation
from components.evaluate.setup import EvaluationSetup
from components.evaluate.slices import GENRE, METRICS, NO_REVIEW, Slice, rows_by_length
from steam_recsys.arrays import BoolArray
from steam_recsys.data.popularity import popularity
from steam_recsys.evaluation.beyond_accuracy import COVERAGE, TITLES, genres_of
from steam_recsys.evaluation.intervals import BETTER, CHALLENGER, CHAMPION, LEVEL, WORSE, Comparison, Interval
from steam_recsys.evaluation.metrics import HEADLINE_METRIC, Recall
from steam_recsys.evaluation.rankers import rank
from steam_recsys.evaluation.splits import HeldOut
from steam_recsys.reporting.charts import Axis, Bar, Series, bar_chart, line_chart, scatter_chart
from steam_recsys.reporting.pages import render

BASELINE = "a baseline"
ROLES = (CHALLENGER, BASELINE, CHAMPION)
"""The legend of the bar charts, in the order of the colours."""

SCATTER = "Accuracy against coverage: one dot per ranking, the best at the top right"

RECALL = Recall(20).name
SLICE_METRIC_NAMES = [metric.name for metric in METRICS]

BESIDE = {BETTER: "better than", LEVEL: "level with", WORSE: "worse than"}

KNOWN_GAMES = 10
NEIGHBOURS = 5
"""The most reviewed games whose nearest games are shown, and the number of these."""

EXAMPLE_USERS = 10
RECOMMENDED_GAMES = 10
HISTORY_GAMES = 10
SEED = 0


@dataclass(frozen=True)
class Neighbours:
    """A game and those whose candidate vectors are nearest to its own by cosine.

    Attributes:
        game: The game's name.
        names: Names of the nearest games, the nearest first.
        sharing_genre: Number of these that share a genre with it; None if its genres are unknown.
    """

    game: str
    names: tuple[str, ...]
    sharing_genre: int | None


@dataclass(frozen=True)
class Example:
    """A held-out user with the challenger's recommendations.

    Attributes:
        user: Id of the user.
        group: Length of the history as text.
        history: The latest games before the cutoff, the newest first, each with whether the user recommends it.
        older: Number of games before those.
        recommended: The best games, the best first, each with whether the user recommended it after the cutoff.
        relevant: All games that the user recommended after the cutoff.
    """

    user: int
    group: str
    history: tuple[tuple[str, bool], ...]
    older: int
    recommended: tuple[tuple[str, bool], ...]
    relevant: tuple[str, ...]


@dataclass(frozen=True)
class Diagnostics:
    """What the report shows of a model besides its figures.

    Attributes:
        losses: Mean loss over the course of each fit, in per cent of its steps, the last fit first.
        checks: NDCG@10 on validation data over the course of each fit of the tuning, the chosen scale first.
        trials: Scale and validation NDCG@10 of each fit of the tuning, the best first.
        neighbours: The nearest games of the most reviewed ones.
        examples: Example users.
    """

    losses: tuple[Series, ...]
    checks: tuple[Series, ...]
    trials: tuple[tuple[float, float], ...]
    neighbours: tuple[Neighbours, ...]
    examples: tuple[Example, ...]

    @classmethod
    def from_setup(cls, setup: EvaluationSetup) -> Diagnostics:
        """Compute the diagnostics; the same setup gives the same ones."""
        trials = [(trial["scale"], trial["ndcg_at_10"]) for trial in setup.description.get("history", ())]
        return cls(
            losses=learning_curves(setup.description),
            checks=validation_curves(setup.description),
            trials=tuple(sorted(trials, key=lambda trial: -trial[1])),
            neighbours=nearest_games(setup),
            examples=example_users(setup),
        )


def html_report(evaluation: Evaluation, diagnostics: Diagnostics) -> str:
    """Render the report; the same evaluation and diagnostics give the same page."""
    metrics = list(next(iter(evaluation.figures.values()), {}))
    mean = HEADLINE_METRIC.name
    by_genre = [part for part in evaluation.slices if part.kind == GENRE and part.comparison.users]
    by_genre.sort(key=lambda part: -part.comparison.figures[CHALLENGER][RECALL].mean)
    others = [part for part in evaluation.slices if part.kind != GENRE]
    charts = {
        "trade": {SCATTER: _accuracy_against_coverage(evaluation)},
        "rankings": {
            f"{title_of(metric)} with 95 % intervals, the best first": _bars_of_rankings(evaluation.overall, metric)
            for metric in SLICE_METRIC_NAMES
            if metric in metrics
        },
        "slices": {
            title: _bars_of_slices(title, slices)
            for title, slices in (
                ("Recall@20 by history and by age of the game, with 95 % intervals", others),
                ("Recall@20 by genre, with 95 % intervals, the best first", by_genre),
            )
        },
        "model": _model_charts(diagnostics),
    }
    return render(
        "evaluation.html",
        title=f"Model {evaluation.version} {'passes' if evaluation.verdict.passed else 'does not pass'} the gate",
        evaluation=evaluation,
        summary=describe_result(evaluation),
        rankings=sorted(evaluation.figures, key=lambda name: -evaluation.figures[name][mean].mean),
        diagnostics=diagnostics,
        charts=charts,
        metrics=[*map(title_of, metrics)],
        beyond_metrics={metric: title_of(metric) for metric in next(iter(evaluation.beyond_accuracy.values()), {})},
        slice_metrics=SLICE_METRIC_NAMES,
        slice_columns=[
            f"{title_of(metric)}, {column}"
            for metric in SLICE_METRIC_NAMES
            for column in ("challenger", "opponent", "difference")
        ],
    )


def describe_result(evaluation: Evaluation) -> list[str]:
    """Compare the model with the best baseline and with the champion, in accuracy and in coverage."""
    metric, overall, beyond = HEADLINE_METRIC.name, evaluation.overall, evaluation.beyond_accuracy
    ours = overall.figures[CHALLENGER][metric]
    sentences = [f"NDCG@10 is {ours.mean:.4f} (95 % interval {ours.low:.4f} to {ours.high:.4f})."]
    for name in (overall.best_baseline(metric), CHAMPION):
        if name not in overall.figures:
            continue
        theirs, difference = overall.figures[name][metric], overall.differences[name][metric]
        role = f"the best baseline, {name}" if name != CHAMPION else "the champion"
        sentences.append(
            f"The model is {BESIDE[difference.outcome]} {role}, at {theirs}: user by user, the difference is "
            f"{difference.mean:+.4f} ({difference.low:+.4f} to {difference.high:+.4f}). It shows "
            f"{100 * beyond[CHALLENGER][COVERAGE]:.1f} % of the catalogue, {name} {100 * beyond[name][COVERAGE]:.1f} %."
        )
    return sentences


def title_of(metric: str) -> str:
    """Return a metric's usual spelling.

    Example:
        >>> title_of("ndcg_at_10"), title_of("hit_rate_at_10")
        ('NDCG@10', 'Hit rate@10')
    """
    if metric in TITLES:
        return TITLES[metric]
    name, _, k = metric.partition("_at_")
    title = name.upper() if name in ("ndcg", "mrr") else name.capitalize().replace("_", " ")
    return f"{title}@{k}" if k else title


def learning_curves(description: Mapping[str, Any]) -> tuple[Series, ...]:
    """Return the loss curves that `model.json` holds."""
    curves = {"last fit": description.get("losses", ())}
    curves |= {f"scale {trial['scale']:g}": trial["losses"] for trial in description.get("history", ())}
    return tuple(Series(name, _by_step(losses)) for name, losses in curves.items() if losses)


def validation_curves(description: Mapping[str, Any]) -> tuple[Series, ...]:
    """Return the curves of NDCG@10 on validation data that `model.json` holds."""
    chosen = description.get("scale")
    trials = sorted(description.get("history", ()), key=lambda trial: trial["scale"] != chosen)
    return tuple(
        Series(f"scale {trial['scale']:g}{', chosen' if trial['scale'] == chosen else ''}", points, names)
        for trial in trials
        if (points := _by_step(trial["checks"]))
        and (names := [f"after {x:.0f} % of the steps: {y:.4f}" for x, y in points])
    )


def nearest_games(setup: EvaluationSetup) -> tuple[Neighbours, ...]:
    """Return the nearest games of the most reviewed ones."""
    scorer = setup.challenger.scorer
    reviews = popularity(setup.past, setup.games.ids)
    known: BoolArray = np.asarray(scorer.candidates.any(axis=1))
    order = [game for game in np.argsort(-reviews, kind="stable").tolist() if known[game]][:KNOWN_GAMES]
    found = []
    for game in order:
        near = scorer.nearest(game, NEIGHBOURS, known)[0].tolist()
        genres, *theirs = (set(genres_of(setup.games.attributes[each])) for each in (game, *near))
        sharing_genre = sum(bool(genres & other) for other in theirs) if genres else None
        found.append(Neighbours(setup.names[game], tuple(setup.names[each] for each in near), sharing_genre))
    return tuple(found)


def example_users(setup: EvaluationSetup) -> tuple[Example, ...]:
    """Draw `EXAMPLE_USERS` at random, evenly from all lengths of history; the same setup gives the same users."""
    held_out = setup.held_out
    groups = [(NO_REVIEW, setup.future.cold_start_users)]
    groups += [(name, held_out.take(rows)) for name, rows in rows_by_length(held_out).items()]
    random = np.random.default_rng(SEED)
    drawn = [
        (turn, -number, row)
        for number, (_, group) in enumerate(groups)
        for turn, row in enumerate(random.permutation(len(group))[:EXAMPLE_USERS].tolist())
    ]
    chosen = sorted((-number, turn, row) for turn, number, row in sorted(drawn)[:EXAMPLE_USERS])
    return tuple(_example(setup, *groups[number], row) for number, _, row in chosen)


def _accuracy_against_coverage(evaluation: Evaluation) -> Markup:
    """Draw every ranking as a point: above is more accurate, to the right more of the catalogue is shown."""
    metric, roles = HEADLINE_METRIC.name, _roles([evaluation.overall])
    points: list[list[tuple[float, float]]] = [[] for _ in roles]
    names: list[list[str]] = [[] for _ in roles]
    for name, figures in evaluation.figures.items():
        points[_role(name)].append((100 * evaluation.beyond_accuracy[name][COVERAGE], figures[metric].mean))
        names[_role(name)].append(name)
    series = [Series(*one) for one in zip(roles, points, names, strict=True)]
    x, y = Axis("coverage@10, per cent of the catalogue"), Axis(title_of(metric))
    return scatter_chart(SCATTER, x, y, series, list(evaluation.figures), every_label=True)


def _bars_of_rankings(overall: Comparison, metric: str) -> Markup:
    title = f"{title_of(metric)} with 95 % intervals, the best first"
    best_first = sorted(overall.figures.items(), key=lambda item: -item[1][metric].mean)
    rows = [(name, [(_role(name), _bar(figures[metric]))]) for name, figures in best_first]
    return bar_chart(title, title_of(metric), _roles([overall]), rows)


def _bars_of_slices(title: str, slices: Sequence[Slice]) -> Markup:
    rows = [
        (
            f"{part.name}, {part.comparison.users:,} users",
            [(_role(name), _bar(figures[RECALL])) for name, figures in part.comparison.figures.items()],
        )
        for part in slices
    ]
    return bar_chart(title, title_of(RECALL), _roles([part.comparison for part in slices]), rows)


def _model_charts(diagnostics: Diagnostics) -> dict[str, Markup]:
    steps = Axis("per cent of the steps")
    loss = "Learning curves in training: mean loss over the course of each fit, less is better"
    checks = "Learning curves in validation: NDCG@10 on reviews that the fit did not see, more is better"
    charts = {loss: line_chart(loss, steps, Axis("loss"), diagnostics.losses)} if diagnostics.losses else {}
    if diagnostics.checks:
        charts[checks] = line_chart(checks, steps, Axis("NDCG@10"), diagnostics.checks)
    return charts


def _roles(comparisons: Sequence[Comparison]) -> Sequence[str]:
    return ROLES if any(CHAMPION in comparison.figures for comparison in comparisons) else ROLES[:2]


def _role(ranking: str) -> int:
    return ROLES.index(ranking) if ranking in ROLES else ROLES.index(BASELINE)


def _bar(interval: Interval) -> Bar:
    return Bar(interval.mean, interval.low, interval.high)


def _example(setup: EvaluationSetup, group: str, held_out: HeldOut, row: int) -> Example:
    user = held_out.take(np.array([row]))
    history, relevant = user.history, user.relevant.games
    ranked = rank(setup.challenger, history, RECOMMENDED_GAMES)[0]
    newest = np.arange(len(history.games))[::-1][:HISTORY_GAMES]
    return Example(
        user=int(history.users[0]),
        group=group,
        history=tuple((setup.names[history.games[index]], bool(history.recommended[index])) for index in newest),
        older=len(history.games) - len(newest),
        recommended=tuple((setup.names[game], bool(game in relevant)) for game in ranked[ranked >= 0]),
        relevant=tuple(setup.names[game] for game in relevant),
    )


def _by_step(losses: Sequence[float]) -> list[tuple[float, float]]:
    return [(100 * step / len(losses), loss) for step, loss in enumerate(losses, start=1)]
