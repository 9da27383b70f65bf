"""The evaluation report: one self-contained page with tables, charts, diagnostics of the model and example users."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from components.evaluate.results import Evaluation
from components.evaluate.setup import EvaluationSetup
from components.evaluate.slices import GENRE, METRICS, NO_REVIEW, Slice, rows_by_length
from steam_recsys.arrays import Float32Array, Float64Array, Int64Array
from steam_recsys.data.histories import Histories
from steam_recsys.data.popularity import popularity
from steam_recsys.evaluation.beyond_accuracy import (
    COVERAGE,
    TITLES,
    genres_of,
)
from steam_recsys.evaluation.intervals import CHALLENGER, CHAMPION, Comparison, Interval
from steam_recsys.evaluation.metrics import HEADLINE_METRIC, Recall
from steam_recsys.evaluation.rankers import BLOCK_SCORES, ModelRanker, rank
from steam_recsys.evaluation.splits import HeldOut
from steam_recsys.reporting.charts import COLOURS, Axis, Bar, Series, bar_chart, line_chart, scatter_chart
from steam_recsys.reporting.pages import render

BASELINE = "a baseline"
ROLES = (CHALLENGER, BASELINE, CHAMPION)
"""The legend of the bar charts, in the order of the colours."""

SCATTER = "Accuracy against coverage: one dot per ranking, the best at the top right"

RECALL = Recall(20).name
SLICE_METRIC_NAMES = [metric.name for metric in METRICS]

REVIEW_TICKS = [(math.log10(1 + 10**power), f"{10**power:,}") for power in range(10)]
"""Ticks of the axis of positive reviews, which is logarithmic."""

SCORED_USERS = 500
MAPPED_GAMES = 500
OTHER_GAMES = 500
"""Less popular games that are drawn beside the most popular ones in the chart of popularity against score."""

LABELLED_GAMES = 14
OTHER_GENRES = "other"

EXAMPLE_USERS = 10
RECOMMENDED_GAMES = 10
HISTORY_GAMES = 10
SEED = 0


@dataclass(frozen=True)
class GameMap:
    """The candidate vectors of the most popular games in two dimensions.

    Attributes:
        genres: The games by first genre, the most common genres first, all others as `OTHER_GENRES`.
        explained: Share of the vectors' variance that the two dimensions explain.
        labels: Names of the most popular games, the most popular first.
    """

    genres: tuple[Series, ...]
    explained: float
    labels: tuple[str, ...]


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
        curves: Mean loss over the course of each fit, in per cent of its steps, the last fit first.
        trials: Scale and validation NDCG@10 of each fit of the tuning.
        popularity: Each game's log10(1 + positive reviews) against its mean score over users.
        map: The map of games.
        examples: Example users.
    """

    curves: tuple[Series, ...]
    trials: tuple[tuple[float, float], ...]
    popularity: Series
    map: GameMap
    examples: tuple[Example, ...]

    @classmethod
    def from_setup(cls, setup: EvaluationSetup) -> Diagnostics:
        """Compute the diagnostics; the same setup gives the same ones."""
        reviews = popularity(setup.past, setup.games.ids)
        order = np.argsort(-reviews, kind="stable")
        scores = mean_scores(setup.challenger, setup.held_out.history)
        drawn = np.unique(np.concatenate([order[:MAPPED_GAMES], _spread(order[MAPPED_GAMES:], OTHER_GAMES)]))
        points = list(zip(np.log10(1 + reviews[drawn]).tolist(), scores[drawn].tolist(), strict=True))
        return cls(
            curves=learning_curves(setup.description),
            trials=tuple((trial["scale"], trial["ndcg_at_10"]) for trial in setup.description.get("history", ())),
            popularity=Series("", points, [setup.names[game] for game in drawn]),
            map=game_map(setup, order[:MAPPED_GAMES]),
            examples=example_users(setup),
        )


def html_report(evaluation: Evaluation, diagnostics: Diagnostics) -> str:
    """Render the report; the same evaluation and diagnostics give the same page."""
    metrics = list(next(iter(evaluation.figures.values()), {}))
    by_genre = [part for part in evaluation.slices if part.kind == GENRE]
    others = [part for part in evaluation.slices if part.kind != GENRE]
    charts = {
        "trade": {SCATTER: _accuracy_against_coverage(evaluation)},
        "rankings": {
            f"{title_of(metric)} with 95 % intervals": _bars_of_rankings(evaluation.overall, metric)
            for metric in SLICE_METRIC_NAMES
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
        beyond_metrics={metric: title_of(metric) for metric in next(iter(evaluation.beyond_accuracy.values()), {})},
        slice_metrics=SLICE_METRIC_NAMES,
        slice_columns=[
            f"{title_of(metric)}, {column}"
            for metric in SLICE_METRIC_NAMES
            for column in ("challenger", "opponent", "difference")
        ],
    )


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


def mean_scores(ranker: ModelRanker, history: Histories) -> Float64Array:
    """Return each game's mean score over at most `SCORED_USERS` users, drawn at random: float64 [N]."""
    n_games = len(ranker.scorer)
    rows = np.random.default_rng(SEED).permutation(len(history))[:SCORED_USERS]
    block = max(1, BLOCK_SCORES // max(1, n_games))
    total = np.zeros(n_games)
    for start in range(0, len(rows), block):
        users = history.take(np.sort(rows[start : start + block]))
        total += ranker.scorer.scores(users).sum(axis=0, dtype=np.float64)
    return total / max(1, len(rows))


def game_map(setup: EvaluationSetup, positions: Int64Array) -> GameMap:
    """Map games by their candidate vectors.

    Args:
        setup: The evaluation's setup.
        positions: Positions in the catalogue, int64 [n], the most popular first.
    """
    points, explained = principal_components(setup.challenger.scorer.candidates[positions])
    firsts = [next(iter(genres_of(setup.games.attributes[game])), OTHER_GENRES) for game in positions.tolist()]
    counts = Counter(genre for genre in firsts if genre != OTHER_GENRES)
    shown = sorted(counts, key=lambda genre: (-counts[genre], genre))[: COLOURS - 1]
    groups: dict[str, list[int]] = {genre: [] for genre in (*shown, OTHER_GENRES)}
    for row, genre in enumerate(firsts):
        groups[genre if genre in shown else OTHER_GENRES].append(row)
    names = [setup.names[game] for game in positions.tolist()]
    genres = tuple(
        Series(genre, [(float(points[row, 0]), float(points[row, 1])) for row in rows], [names[row] for row in rows])
        for genre, rows in groups.items()
        if rows
    )
    return GameMap(genres, explained, tuple(names[:LABELLED_GAMES]))


def principal_components(vectors: Float32Array) -> tuple[Float64Array, float]:
    """Project vectors onto their first two principal components.

    Uses the singular value decomposition of the centred vectors (Jolliffe 2002, "Principal Component Analysis", section
    3.5). Each component points in the direction in which its largest weight is positive.

    Args:
        vectors: float32 [n, d].

    Returns:
        The projections, float64 [n, 2], zeros for missing components; and the share of the variance that they explain.
    """
    points = np.zeros((len(vectors), 2))
    if not vectors.size:
        return points, 0.0
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, spreads, directions = np.linalg.svd(centred, full_matrices=False)
    first = directions[:2]
    first = first * np.sign(first[np.arange(len(first)), np.abs(first).argmax(axis=1)])[:, None]
    points[:, : len(first)] = centred @ first.T
    variance = float((spreads**2).sum())
    return points, float((spreads[:2] ** 2).sum()) / variance if variance else 0.0


def example_users(setup: EvaluationSetup) -> tuple[Example, ...]:
    """Draw `EXAMPLE_USERS` at random, evenly from all lengths of history; the same setup gives the same users."""
    held_out = setup.held_out
    groups = [(NO_REVIEW, setup.future.newcomers)]
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
    ticks = [(0.0, "0"), *((x, label) for x, label in REVIEW_TICKS if x <= most)]
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


def _spread(order: Int64Array, count: int) -> Int64Array:
    """Return at most `count` elements, evenly spaced from the first to the last."""
    return order[np.linspace(0, len(order) - 1, min(count, len(order))).astype(np.int64)]
