"""The monitoring report: one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from markupsafe import Markup

from components.monitor.decision import Decision
from steam_recsys.reporting.charts import Axis, Series, line_chart
from steam_recsys.reporting.pages import render
from steam_recsys.rules import Verdict

Figures = Mapping[str, float | None]

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
    "coverage": "share of the games that are among the first ten published of any user",
    "popular_ten": "share of users whose first ten published games are the most popular ones",
}
WITH_INTERVAL = ("ndcg", "popular_ndcg", "hit_rate", "popular_hit_rate")

CHARTS = {
    "Realised NDCG@10": {"recommendations": "ndcg", "recent popularity": "popular_ndcg"},
    "Population stability index": {
        "games": "psi_games", "genres": "psi_genres", "history lengths": "psi_history_lengths",
    },
    "How personal the publications are": {
        "overlap of two users": "overlap", "games shown": "coverage", "users with the popular ten": "popular_ten",
    },
    "Reviews": {"reviews": "reviews"},
}  # fmt: skip
"""The lines of each chart by label, with the names of their figures."""


def html_report(model_version: str | None, decision: Decision, runs: Sequence[tuple[date, Figures]]) -> str:
    """Render the report.

    Args:
        model_version: Version of the champion; None if there is none.
        decision: Whether to train again, and why.
        runs: Days and figures of all runs, this run last.
    """
    figures, previous = runs[-1][1], runs[-2][1] if len(runs) > 1 else {}
    return render(
        "monitoring.html",
        title=f"Monitoring of {model_version or 'a shop without a model'}",
        summary=" ".join([decision.summary, *decision.reasons]),
        verdict=decision.verdict or Verdict(()),
        figures=[(title, _text(figures, name), _text(previous, name)) for name, title in TITLES.items()],
        charts={title: _chart(title, lines, runs) for title, lines in CHARTS.items()} if len(runs) > 1 else {},
    )


def _chart(title: str, lines: Mapping[str, str], runs: Sequence[tuple[date, Figures]]) -> Markup:
    first = runs[0][0]
    series = [
        Series(label, [((day - first).days, value) for day, run in runs if (value := run.get(name)) is not None])
        for label, name in lines.items()
    ]
    return line_chart(title, Axis(f"days since {first.isoformat()}"), Axis(title), series)


def _text(figures: Figures, name: str) -> str:
    value = figures.get(name)
    if value is None:
        return "–"
    text = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4f}"
    if name in WITH_INTERVAL:
        low, high = figures.get(f"{name}_lower"), figures.get(f"{name}_upper")
        return text if low is None or high is None else f"{text} ({low:.4f} to {high:.4f})"
    return text
