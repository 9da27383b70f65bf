"""The monitoring report: one self-contained page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date

from components.monitor.decision import Decision
from steam_recsys.reporting.charts import Axis, Series, line_chart
from steam_recsys.reporting.html import figure, page, paragraph, section, table

Figures = Mapping[str, float | None]

_TITLES = {
    "reviews": "reviews",
    "users": "users",
    "games": "games",
    "source_age_days": "days since the source last changed",
    "model_age_days": "days of reviews that the model lacks",
    "judged_users": "users with new reviews to judge by",
    "ndcg": "realised NDCG@10",
    "popular_ndcg": "recent popularity's NDCG@10 on the same reviews",
    "hit_rate": "realised hit rate@10",
    "popular_hit_rate": "recent popularity's hit rate@10",
    "reviews_since_training": "reviews since the training",
    "psi_games": "population stability index of the games",
    "psi_genres": "the same of the genres",
    "psi_history_lengths": "the same of the history lengths",
    "unknown_games_share": "share of new reviews of unknown games",
    "new_users_share": "share of reviewing users who are new",
    "popularity_shift": "share of the most reviewed games that were not before",
    "vector_norm_change": "change of the mean length of the reviewed games' vectors",
    "catalogue_growth": "share of the catalogue's games that have come since the training",
    "games_without_vector_share": "share of the games on offer of which nothing at all is known",
}
_WITH_INTERVAL = ("ndcg", "popular_ndcg", "hit_rate", "popular_hit_rate")

_CHARTS = {
    "Realised NDCG@10": {"recommendations": "ndcg", "recent popularity": "popular_ndcg"},
    "Population stability index": {
        "games": "psi_games", "genres": "psi_genres", "history lengths": "psi_history_lengths",
    },
    "Reviews": {"reviews": "reviews"},
}  # fmt: skip
"""The lines of each chart, and the figures that they show."""


def html_report(model_version: str | None, decision: Decision, runs: Sequence[tuple[date, Figures]]) -> str:
    """The page.

    Args:
        model_version: the champion; None where there is none.
        decision: whether to train again.
        runs: the figures of runs and their days, this one's last.
    """
    rules = [(rule.outcome, rule.about, rule.figure, rule.limit, rule.evidence) for rule in decision.rules]
    figures, previous = runs[-1][1], runs[-2][1] if len(runs) > 1 else {}
    rows = [(title, _text(figures, name), _text(previous, name)) for name, title in _TITLES.items()]
    return page(
        f"Monitoring of {model_version or 'a shop without a model'}",
        paragraph(" ".join([verdict(decision), *decision.reasons])),
        section("Limits", table("How each came out", ("outcome", "figure", "is", "limit", "evidence"), rules)),
        section("Figures", table("This run and the one before", ("figure", "now", "before"), rows)),
        section("Over time", *_charts(runs)) if len(runs) > 1 else "",
    )


def verdict(decision: Decision) -> str:
    """The decision in a sentence."""
    if decision.resting:
        return "The model stays, as a training was tried a few days ago."
    return "The model is trained again." if decision.retrain else "The model stays."


def _charts(runs: Sequence[tuple[date, Figures]]) -> list[str]:
    return [figure(title, _chart(title, lines, runs)) for title, lines in _CHARTS.items()]


def _chart(title: str, lines: Mapping[str, str], runs: Sequence[tuple[date, Figures]]) -> str:
    first = runs[0][0]
    days = Axis(f"days since {first.isoformat()}")
    series = [
        Series(label, [((day - first).days, value) for day, run in runs if (value := run.get(name)) is not None])
        for label, name in lines.items()
    ]
    return line_chart(title, days, Axis(title), series)


def _text(figures: Figures, name: str) -> str:
    value = figures.get(name)
    if value is None:
        return "–"
    text = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4f}"
    if name in _WITH_INTERVAL:
        low, high = figures.get(f"{name}_lower"), figures.get(f"{name}_upper")
        return text if low is None or high is None else f"{text} ({low:.4f} to {high:.4f})"
    return text
