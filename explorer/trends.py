"""Trends over the publications: quality, coverage, overlap, users and run times, with what the last one changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from explorer.schemas import Measurement, Publication, PublishingRun
from explorer.templating import decimals, duration, percent, thousands
from steam_recsys.reporting.charts import sparkline


@dataclass(frozen=True)
class PublishedVersion:
    """What was published at a time; figures are None if they are not known."""

    at: datetime
    users: int | None
    overlap: float | None
    coverage: float | None
    seconds: float | None


@dataclass(frozen=True)
class Trend:
    """A figure over time.

    Attributes:
        title: What it is.
        hint: How to read it.
        values: The values, the oldest first.
        text: Formats a value.
        difference: Formats the size of a difference.
        better: 1 if more is better, -1 if less is, 0 if neither.
        unit: What has one value each.
    """

    title: str
    hint: str
    values: tuple[float, ...]
    text: Callable[[float], str]
    difference: Callable[[float], str]
    better: int
    unit: str = "publication"

    @property
    def last(self) -> str | None:
        """The last value; None if there is none."""
        return self.text(self.values[-1]) if self.values else None

    @property
    def change(self) -> str | None:
        """How the last value differs from the one before; None if there is none before."""
        if len(self.values) < 2:
            return None
        change, amount = self.values[-1] - self.values[-2], self.difference(abs(self.values[-1] - self.values[-2]))
        if amount == self.difference(0.0):
            return "no change"
        return f"{'▲' if change > 0 else '▼'} {amount} {'more' if change > 0 else 'less'}"

    @property
    def tone(self) -> str:
        """The class of the change: `up` if it is for the better, `down` if for the worse, else empty."""
        if self.change in (None, "no change") or not self.better:
            return ""
        return "up" if (self.values[-1] - self.values[-2]) * self.better > 0 else "down"

    @property
    def span(self) -> str:
        """The lowest and highest value as text."""
        return f"{self.text(min(self.values))} to {self.text(max(self.values))}"

    @property
    def line(self) -> Markup | None:
        """The values as a line; None for less than two."""
        return sparkline(f"{self.title}: {self.span}, now {self.last}", self.values) if len(self.values) > 1 else None


def trends(published: Sequence[PublishedVersion], monitoring: Sequence[Measurement]) -> list[Trend]:
    """Return the trends.

    Args:
        published: The publications, the oldest first.
        monitoring: The last measurements, the newest first.
    """
    quality = tuple(value for each in reversed(monitoring) if (value := each.figures.get("ndcg")) is not None)
    return [
        Trend("Quality, NDCG@10", "How high users' next games stood in their lists: 1 is first, 0 not in the ten",
              quality, decimals, decimals, 1, "measurement"),
        Trend("Coverage", "Games that are in some user's first ten",
              _values(published, "coverage"), percent, _points, 1),
        Trend("Overlap", "Games in both of two users' first tens, divided by games in either",
              _values(published, "overlap"), percent, _points, -1),
        Trend("Users", "Users with recommendations of their own",
              _values(published, "users"), thousands, thousands, 0),
        Trend("Run time", "From the start of the run to its end",
              _values(published, "seconds"), duration, duration, -1),
    ]  # fmt: skip


def published_versions(kept: Sequence[Publication], runs: Sequence[PublishingRun]) -> list[PublishedVersion]:
    """Return what was published, the oldest first: what runs recorded, and kept publications without a record.

    Args:
        kept: The kept publications.
        runs: The runs that published.
    """
    recorded = {run.version for run in runs}
    found = [PublishedVersion(run.finished_at, run.users, run.overlap, run.coverage, run.seconds) for run in runs]
    found += [
        PublishedVersion(each.published_at, each.users, each.overlap, each.coverage, None)
        for each in kept
        if each.version not in recorded and each.published_at
    ]
    return sorted(found, key=lambda each: each.at)


def _values(published: Sequence[PublishedVersion], name: str) -> tuple[float, ...]:
    return tuple(value for each in published if (value := getattr(each, name)) is not None)


def _points(share: float) -> str:
    """Format the difference of two shares: 1.2 points."""
    return f"{100 * share:.1f} points"
