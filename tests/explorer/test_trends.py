"""Trends over the publications, and what the last one changed."""

from datetime import UTC, date, datetime, timedelta

from explorer.schemas import Measurement, Publication, PublishingRun
from explorer.trends import Trend, published_versions, trends

NIGHT = datetime(2024, 3, 5, 4, tzinfo=UTC)


def published(version: str, night: int, users: int) -> Publication:
    at = NIGHT + timedelta(days=night)
    return Publication(version, "m", "s", users, 9, at.date(), at, at, False, 0.4, 0.2, 0.1)


def run(version: str | None, night: int, users: int | None, **figures: float | None) -> PublishingRun:
    return PublishingRun(
        NIGHT + timedelta(days=night), 60.0, version, users, *map(figures.get, ("overlap", "coverage"))
    )


def measured(**figures: float | None) -> Measurement:
    return Measurement(NIGHT, date(2024, 3, 5), "run", "m", False, [], figures)


def of(title: str, *values: float) -> Trend:
    """A trend of coverage, overlap or users with the given values."""
    runs = [run(str(night), night, int(value), overlap=value, coverage=value) for night, value in enumerate(values)]
    return next(trend for trend in trends(published_versions([], runs), []) if trend.title == title)


def test_what_runs_recorded_is_completed_by_kept_publications_in_the_order_of_time() -> None:
    found = published_versions([published("b", 2, 20), published("c", 1, 15)], [run("b", 2, 21), run("a", 0, 10)])
    assert [(each.users, each.seconds) for each in found] == [(10, 60.0), (15, None), (21, 60.0)]


def test_a_change_says_by_how_much_and_whether_it_is_for_the_better() -> None:
    changes = [(trend.last, trend.change, trend.tone) for trend in (
        of("Coverage", 0.1, 0.125), of("Overlap", 0.1, 0.125), of("Users", 1000, 2500), of("Users", 2500, 1000),
        of("Coverage", 0.1, 0.1), of("Coverage", 0.1),
    )]  # fmt: skip
    assert changes == [
        ("12.5 %", "▲ 2.5 points more", "up"),
        ("12.5 %", "▲ 2.5 points more", "down"),
        ("2,500", "▲ 1,500 more", ""),
        ("1,000", "▼ 1,500 less", ""),
        ("10.0 %", "no change", ""),
        ("10.0 %", None, ""),
    ]


def test_a_trend_has_a_line_from_the_second_value_on() -> None:
    assert of("Coverage", 0.1).line is None
    line = of("Coverage", 0.1, 0.3, 0.2).line
    assert line is not None
    assert "<title>Coverage: 10.0 % to 30.0 %, now 20.0 %</title>" in line


def test_quality_follows_the_measurements_that_had_users_to_measure() -> None:
    (quality, *_, seconds) = trends(published_versions([], [run("a", 0, None)]), [
        measured(ndcg=0.3), measured(ndcg=None), measured(ndcg=0.2),
    ])  # fmt: skip
    assert (quality.values, quality.change) == ((0.2, 0.3), "▲ 0.1000 more")
    assert seconds.last == "1 min"


def test_without_publications_there_is_nothing_to_show() -> None:
    assert [(trend.last, trend.change, trend.line) for trend in trends([], [])] == [(None, None, None)] * 5
