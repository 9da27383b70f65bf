"""The evaluation as a page that stands alone: tables, charts, and users to look at."""

from __future__ import annotations

import math
from collections.abc import Sequence

from components.evaluate.diagnostics import Diagnostics
from components.evaluate.examples import Example
from components.evaluate.gate import FAILED, NOT_ENOUGH, PASSED
from components.evaluate.results import Evaluation
from components.evaluate.slices import GENRE, METRICS, Slice
from steam_recsys.evaluation.comparison import CHALLENGER, CHAMPION, POPULARITY, Comparison
from steam_recsys.evaluation.intervals import Interval
from steam_recsys.evaluation.metrics import METRIC
from steam_recsys.reporting.charts import Axis, Bar, Series, bar_chart, line_chart, scatter_chart
from steam_recsys.reporting.html import Cell, beside, card, figure, listing, page, paragraph, section, table

RECALL = METRICS[1]
BASELINE = "a baseline"
ROLES = (CHALLENGER, BASELINE, CHAMPION)
"""What rankings are, in the order of their colours."""

MARKS = {PASSED: "✓ passed", FAILED: "✗ failed", NOT_ENOUGH: "– not enough evidence"}

EVERY_POWER = [(math.log10(1 + 10**power), f"{10**power:,}") for power in range(10)]
REVIEWS = Axis("reviews that recommend the game, on a logarithmic scale", [(0.0, "0"), *EVERY_POWER])


def html_report(evaluation: Evaluation, exhibits: Diagnostics) -> str:
    """The report; the same evaluation and exhibits make the same page."""
    outcome = "is promoted" if evaluation.verdict.promote else "is not promoted"
    return page(
        f"Model {evaluation.version} {outcome}",
        paragraph(
            f"Snapshot {evaluation.snapshot_id}, reviews from {evaluation.cutoff} on held out. Every game of the "
            f"catalogue was ranked for {evaluation.users:,} users; {evaluation.left_out:,} held-out reviews by users "
            f"without a history or of games that nobody had reviewed by then are measured apart, as slices. Champion "
            f"before: {'this very model' if evaluation.is_champion else evaluation.champion or 'none'}."
        ),
        section("The gate", _gate(evaluation)),
        section("Beside baselines and champion", *_overall(evaluation)),
        section("Slices", *_slices(evaluation.slices)),
        section("The model", *_model(exhibits)),
        section("Example users", beside(*map(_example, exhibits.examples))),
    )


def title_of(metric: str) -> str:
    """A metric's name as people write it.

    >>> title_of("ndcg_at_10"), title_of("hit_rate_at_10")
    ('NDCG@10', 'Hit rate@10')
    """
    name, _, places = metric.partition("_at_")
    words = name.upper() if name in ("ndcg", "mrr") else name.capitalize().replace("_", " ")
    return f"{words}@{places}" if places else words


def _gate(evaluation: Evaluation) -> str:
    rules = [
        (
            MARKS[rule.outcome],
            Cell(rule.about, rule.reason, number=False),
            rule.figure,
            rule.asked if rule.enough else "",
        )
        for rule in evaluation.verdict.rules
    ]
    failed = len(evaluation.verdict.failures)
    caption = f"{len(rules)} rules, {failed or 'none'} failed"
    return table(caption, ("outcome", "figure", "challenger", "asked for"), rules)


def _overall(evaluation: Evaluation) -> list[str]:
    overall = evaluation.overall
    metrics = list(next(iter(overall.figures.values()), {}))
    charts = [_bars_of_rankings(overall, metric) for metric in (METRIC.name, RECALL.name) if metric in metrics]
    whole = list(next(iter(evaluation.catalogue.values()), {}))
    rows = [
        [name, evaluation.settings.get(name, ""), *map(_cell, by_metric.values()), *evaluation.catalogue[name].values()]
        for name, by_metric in overall.figures.items()
    ]
    differences = [
        [name, *(_cell(figure, "+") for figure in by_metric.values())]
        for name, by_metric in overall.differences.items()
    ]
    return [
        beside(*charts),
        table(
            "Means over users with their 95 % intervals by the bootstrap, and figures of the whole catalogue",
            ("ranking", "settings", *map(title_of, metrics), *map(title_of, whole)),
            rows,
        ),
        table("The challenger less the other, user by user", ("other", *map(title_of, metrics)), differences),
    ]


def _bars_of_rankings(overall: Comparison, metric: str) -> str:
    title = f"{title_of(metric)} and its 95 % interval"
    rows = [(name, [(_role(name), _bar(figures[metric]))]) for name, figures in overall.figures.items()]
    return figure(title, bar_chart(title, title_of(metric), _roles([overall]), rows))


def _slices(slices: Sequence[Slice]) -> list[str]:
    rows: list[list[object]] = []
    for part in slices:
        heading: list[object] = [part.title, part.comparison.users]
        for rival in part.comparison.differences or ("",):
            rows.append([*heading, rival, *_pairs(part.comparison, rival)])
            heading = ["", ""]
    by_genre = [part for part in slices if part.kind == GENRE]
    others = [part for part in slices if part.kind != GENRE]
    heads = [f"{title_of(metric.name)}, {who}" for metric in METRICS for who in ("challenger", "rival", "difference")]
    return [
        paragraph(
            "Users by the length of their history, beside the baseline that is best for them; games by their age and "
            "their genre, beside the baseline that is best on the whole, with only such games counted as right."
        ),
        beside(
            _bars_of_slices("Recall@20 by history and by age of the game", others),
            _bars_of_slices("Recall@20 by genre", by_genre),
        ),
        table(
            "Means over users with their 95 % intervals, and paired differences",
            ("slice", "users", "rival", *heads),
            rows,
        ),
    ]


def _pairs(comparison: Comparison, rival: str) -> Sequence[object]:
    """By metric the challenger's cell, the rival's and the difference's; empty ones where there are no users."""
    if not comparison.users:
        return [""] * 3 * len(METRICS)
    figures, differences = comparison.figures, comparison.differences[rival]
    return [
        cell
        for name in (metric.name for metric in METRICS)
        for cell in (_cell(figures[CHALLENGER][name]), _cell(figures[rival][name]), _cell(differences[name], "+"))
    ]


def _bars_of_slices(title: str, slices: Sequence[Slice]) -> str:
    rows = []
    for part in slices:
        figures = part.comparison.figures
        bars = [(_role(ranking), _bar(by_metric[RECALL.name])) for ranking, by_metric in figures.items()]
        rows.append((f"{part.name}, {part.comparison.users:,} users", bars))
    roles = _roles([part.comparison for part in slices])
    return figure(title, bar_chart(title, title_of(RECALL.name), roles, rows))


def _model(exhibits: Diagnostics) -> list[str]:
    lines = "Learning curves: the mean loss of each stretch of a fit"
    favour = f"{POPULARITY.capitalize()} against score: a dot a game"
    games = (
        f"The most popular games by their first genre: two principal components of the candidate vectors, with "
        f"{100 * exhibits.map.explained:.0f} % of their variance"
    )
    curves = line_chart(lines, Axis("per cent of the steps"), Axis("loss"), exhibits.curves)
    reviews = Axis(REVIEWS.label, [tick for tick in REVIEWS.ticks or () if tick[0] <= _widest(exhibits.favour)])
    scores = scatter_chart(favour, reviews, Axis("mean score over users"), [exhibits.favour])
    places = scatter_chart(games, Axis("first", ()), Axis("second", ()), exhibits.map.genres, exhibits.map.written)
    trials = table(
        "Fits that a choice was made from",
        ("scale", "NDCG@10 on validation rows"),
        [(f"{scale:g}", ndcg) for scale, ndcg in exhibits.trials],
    )
    return [beside(figure(lines, curves), figure(favour, scores), figure(games, places), trials)]


def _widest(series: Series) -> float:
    return max((x for x, _ in series.points), default=0.0)


def _example(example: Example) -> str:
    history = [f"{name}{'' if liked else ' (not recommended)'}" for name, liked in example.history]
    if example.older:
        history.append(f"and {example.older:,} before these")
    recommended = [f"{'✓ ' if hit else ''}{name}" for name, hit in example.recommended]
    had = listing("History, the newest first", history or ["nothing yet"])
    return card(
        f"User {example.user}, {example.group}",
        beside(
            had + listing("Taken up afterwards", example.taken_up),
            listing("Recommended", recommended, numbered=True),
        ),
    )


def _roles(comparisons: Sequence[Comparison]) -> Sequence[str]:
    return ROLES if any(CHAMPION in comparison.figures for comparison in comparisons) else ROLES[:2]


def _role(ranking: str) -> int:
    return ROLES.index(ranking) if ranking in ROLES else ROLES.index(BASELINE)


def _bar(interval: Interval) -> Bar:
    return Bar(interval.mean, interval.low, interval.high)


def _cell(interval: Interval, sign: str = "") -> Cell:
    return Cell(f"{interval.mean:{sign}.4f}", f"{interval.low:{sign}.4f} to {interval.high:{sign}.4f}")
