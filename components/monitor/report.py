"""The monitoring report: one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from markupsafe import Markup

from components.monitor.decision import Decision
from components.monitor.feedback import Feedback
from components.monitor.forecast import NOT_FORESEEN, Figures, Forecast, MeasuredRun, forecast
from steam_recsys.reporting.charts import Axis, Series, line_chart
from steam_recsys.reporting.pages import render
from steam_recsys.rules import FAILED, NOT_MEASURED

TITLES = {
    "reviews": "reviews",
    "users": "users",
    "games": "games",
    "source_age_days": "days since the source last changed",
    "model_age_days": "days of reviews that the model lacks",
    "judged_users": "users with new reviews",
    "ndcg": "realised NDCG@10",
    "popular_ndcg": "recent popularity's NDCG@10 on the same reviews",
    "hit_rate": "realised hit rate@10",
    "popular_hit_rate": "recent popularity's hit rate@10",
    "reviews_since_training": "reviews since the training",
    "ndcg_gain": "realised NDCG@10 minus recent popularity's",
    "above_floor": "realised NDCG@10 minus the required share of recent popularity's",
    "psi_games": "population stability index of the games",
    "psi_genres": "population stability index of the genres",
    "psi_history_lengths": "population stability index of the history lengths",
    "unknown_games_share": "share of new reviews of unknown games",
    "new_users_share": "share of new users among those with new reviews",
    "popularity_shift": "share of the most reviewed games that were not among them before",
    "vector_norm_change": "change of the mean vector length of the reviewed games",
    "catalogue_growth": "share of the catalogue's games that were added since the training",
    "games_without_vector_share": "share of the available games without a vector",
    "overlap": "overlap of two users' first ten published games",
    "coverage": "share of the games that are in any user's published top ten",
    "popular_ten": "share of users whose first ten published games are the most popular ones",
    "games_shown": "games shown to users in four weeks",
    "click_through": "share of the shown games that were clicked",
    "conversion": "share of the shown games that were bought",
    "conversion_gain": "share of users who buy a game, minus that of the control group",
    "conversion_gain_p": "always-valid p-value of that difference",
}
WITH_INTERVAL = (
    "ndcg", "popular_ndcg", "hit_rate", "popular_hit_rate", "ndcg_gain", "above_floor", "click_through", "conversion",
    "conversion_gain",
)  # fmt: skip

CHARTS = {
    "Realised NDCG@10": {"recommendations": "ndcg", "recent popularity": "popular_ndcg"},
    "Population stability index": {
        "games": "psi_games", "genres": "psi_genres", "history lengths": "psi_history_lengths",
    },
    "How personal the publications are": {
        "overlap of two users": "overlap", "games shown": "coverage", "users with the popular ten": "popular_ten",
    },
    "Click-through and conversion": {"clicked": "click_through", "bought": "conversion"},
    "Reviews": {"reviews": "reviews"},
}  # fmt: skip
"""The lines of each chart by label, with the names of their figures."""


def html_report(decision: Decision, runs: Sequence[MeasuredRun], feedback: Feedback) -> str:
    """Render the report.

    Args:
        decision: Whether to train again, and why.
        runs: What all runs measured, this run last.
        feedback: What users did with the recommendations.
    """
    now, previous = runs[-1], runs[-2].figures if len(runs) > 1 else {}
    expected = forecast(decision.rules, runs)
    return render(
        "monitoring.html",
        title=f"Monitoring of {now.model_version or 'a shop without a model'}",
        as_of=now.as_of,
        decision=decision,
        colour="good" if not decision.reasons else "attention",
        expected=expected,
        next_sentence=describe_next(expected),
        feedback=feedback,
        figures=[(title, _text(now.figures, name), _text(previous, name)) for name, title in TITLES.items()],
        charts={title: _chart(title, lines, runs) for title, lines in CHARTS.items()} if len(runs) > 1 else {},
    )


def describe_next(expected: Sequence[Forecast]) -> str:
    """Say which rule is the next to fail, after those that have failed already."""
    following = [each for each in expected if each.day is not None and each.rule.outcome != FAILED]
    if not following:
        if all(each.rule.outcome == FAILED or each.text.startswith(NOT_FORESEEN) for each in expected):
            return "At today's trend, no further limit is reached within a year."
        return "Which limit is reached next is not known yet: too little has been measured."
    return f"At today's trend, the next limit is reached {following[0].text}: {following[0].rule.about}."


def _chart(title: str, lines: Mapping[str, str], runs: Sequence[MeasuredRun]) -> Markup:
    first, days = runs[0].as_of, (runs[-1].as_of - runs[0].as_of).days
    series = []
    for label, name in lines.items():
        measured = [(run.as_of, value) for run in runs if (value := run.figures.get(name)) is not None]
        points = [((day - first).days, value) for day, value in measured]
        series.append(Series(label, points, [f"{label}, {day.isoformat()}: {value:,.4f}" for day, value in measured]))
    ticks = [(after, (first + timedelta(days=after)).isoformat()) for after in sorted({0, days // 2, days})]
    return line_chart(title, Axis("day after the newest review", ticks), Axis(title), series)


def _text(figures: Figures, name: str) -> str:
    value = figures.get(name)
    if value is None:
        return NOT_MEASURED
    text = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4f}"
    if name in WITH_INTERVAL:
        low, high = figures.get(f"{name}_lower"), figures.get(f"{name}_upper")
        return text if low is None or high is None else f"{text} ({low:.4f} to {high:.4f})"
    return text
