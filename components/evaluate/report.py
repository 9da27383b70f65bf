"""The evaluation report: one self-contained page with tables, charts and example users."""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from components.evaluate.diagnostics import Diagnostics
from components.evaluate.results import Evaluation
from components.evaluate.slices import GENRE, METRICS, Slice
from steam_recsys.evaluation.comparison import CHALLENGER, CHAMPION, Comparison
from steam_recsys.evaluation.intervals import Interval
from steam_recsys.evaluation.metrics import Recall
from steam_recsys.reporting.charts import Axis, Bar, bar_chart, line_chart, scatter_chart
from steam_recsys.reporting.pages import render

SLICE_METRICS = [metric.name for metric in METRICS]
RECALL = Recall(20).name

BASELINE = "a baseline"
ROLES = (CHALLENGER, BASELINE, CHAMPION)
"""The legend of the bar charts, in the order of the colours."""

POWERS = [(math.log10(1 + 10**power), f"{10**power:,}") for power in range(10)]


def html_report(evaluation: Evaluation, diagnostics: Diagnostics) -> str:
    """Render the report; the same evaluation and diagnostics give the same page."""
    metrics = list(next(iter(evaluation.figures.values()), {}))
    by_genre = [part for part in evaluation.slices if part.kind == GENRE]
    others = [part for part in evaluation.slices if part.kind != GENRE]
    charts = {
        "rankings": {
            f"{title_of(metric)} with 95 % intervals": _bars_of_rankings(evaluation.overall, metric)
            for metric in SLICE_METRICS
            if metric in metrics
        },
        "slices": {
            title: _bars_of_slices(title, slices)
            for title, slices in (
                ("Recall@20 by history and by age of the game", others),
                ("Recall@20 by genre", by_genre),
            )
        },
        "model": _model_charts(diagnostics),
    }
    return render(
        "evaluation.html",
        title=f"Model {evaluation.version} {'is' if evaluation.verdict.passed else 'is not'} promoted",
        evaluation=evaluation,
        diagnostics=diagnostics,
        charts=charts,
        metrics=[*map(title_of, metrics)],
        catalogue_metrics=[*map(title_of, next(iter(evaluation.catalogue.values()), {}))],
        slice_metrics=SLICE_METRICS,
        slice_columns=[
            f"{title_of(metric)}, {column}"
            for metric in SLICE_METRICS
            for column in ("challenger", "opponent", "difference")
        ],
    )


def title_of(metric: str) -> str:
    """Return a metric's usual spelling.

    Example:
        >>> title_of("ndcg_at_10"), title_of("hit_rate_at_10")
        ('NDCG@10', 'Hit rate@10')
    """
    name, _, k = metric.partition("_at_")
    title = name.upper() if name in ("ndcg", "mrr") else name.capitalize().replace("_", " ")
    return f"{title}@{k}" if k else title


def _bars_of_rankings(overall: Comparison, metric: str) -> Markup:
    title = f"{title_of(metric)} with 95 % intervals"
    rows = [(name, [(_role(name), _bar(figures[metric]))]) for name, figures in overall.figures.items()]
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
    curves = "Learning curves: mean loss over the course of each fit"
    popularity = "Popularity against score: one dot per game"
    games = (
        f"The most popular games by their first genre: two principal components of the candidate vectors, which "
        f"explain {100 * diagnostics.map.explained:.0f} % of their variance"
    )
    most = max((x for x, _ in diagnostics.popularity.points), default=0.0)
    ticks = [(0.0, "0"), *((x, label) for x, label in POWERS if x <= most)]
    reviews = Axis("positive reviews of the game, logarithmic", ticks)
    first, second = Axis("first component", ()), Axis("second component", ())
    return {
        curves: line_chart(curves, Axis("per cent of the steps"), Axis("loss"), diagnostics.curves),
        popularity: scatter_chart(popularity, reviews, Axis("mean score over users"), [diagnostics.popularity]),
        games: scatter_chart(games, first, second, diagnostics.map.genres, diagnostics.map.labels),
    }


def _roles(comparisons: Sequence[Comparison]) -> Sequence[str]:
    return ROLES if any(CHAMPION in comparison.figures for comparison in comparisons) else ROLES[:2]


def _role(ranking: str) -> int:
    return ROLES.index(ranking) if ranking in ROLES else ROLES.index(BASELINE)


def _bar(interval: Interval) -> Bar:
    return Bar(interval.mean, interval.low, interval.high)
