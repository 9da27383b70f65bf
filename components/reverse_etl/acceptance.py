"""Acceptance: whether a version may become current. A pure function of counts and thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from steam_recsys.publications.loading import CurrentVersion, Stored, VersionStats
from steam_recsys.publications.personalisation import FIRST_GAMES
from steam_recsys.rules import Rule, Verdict


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Acceptance's parameters: how far a version may be from the current one.

    Attributes:
        user_coverage_floor: Share of the current version's users who must have recommendations again, and share of
            their number that the new version must reach. Also the share of the new version's users whom the shop must
            still have, because some leave between extraction and publication.
        rows_per_user_floor: Share of the current version's games per user that must be reached.
        churn_floor: Lowest churn: the mean share of a user's first ten games that are no longer among them. 0 accepts a
            version that changes nothing, for example if there are no new reviews.
        churn_ceiling: Highest churn. A new model may replace most games of most users. A version whose games were mixed
            up replaces nearly all of them, except what ten random games of 290 have in common with ten others.
        churn_users: Number of users of the current version, or of its sample, below which there is not enough evidence;
            also the number of users of the new version below which their overlap is not.
        overlap_ceiling: Highest overlap: the mean share of the first ten games of two users that both have. 1 accepts a
            version that recommends the same to everybody.
    """

    user_coverage_floor: float = 0.9
    rows_per_user_floor: float = 0.9
    churn_floor: float = 0.0
    churn_ceiling: float = 0.95
    churn_users: int = 100
    overlap_ceiling: float = 0.9


DEFAULT = Thresholds()
"""The defaults of the pipeline's parameters."""


def decide(stats: VersionStats, stored: Stored, current: CurrentVersion | None, thresholds: Thresholds) -> Verdict:
    """Check a version by itself, and compare it with the current one.

    Args:
        stats: Counts of the version, taken while it was loaded.
        stored: What the destination holds, where each user, or each user's list, is a unique key.
        current: The current version of the destination; None before the first publication.
        thresholds: Acceptance's parameters.
    """
    return Verdict(
        (*_content(stats, stored, thresholds), *(_comparison(stats, current, thresholds) if current else ()))
    )


def _content(stats: VersionStats, stored: Stored, thresholds: Thresholds) -> Iterator[Rule]:
    yield Rule(about="Users with recommendations", figure=stats.users, at_least=1)
    yield Rule(
        about=f"{stored.keys.capitalize()} in the destination, each once",
        figure=stored.held,
        at_least=stored.sent,
        at_most=stored.sent,
        reason=f"{stored.sent:,} in the shards",
    )
    yield Rule(about="Fewest games of a list", figure=stats.least_rows, at_least=1)
    personalisation = stats.personalisation
    yield Rule(
        about="Overlap of two users' first ten games",
        figure=personalisation.overlap or 0.0,
        at_most=thresholds.overlap_ceiling,
        reason=f"every pair of {len(personalisation.first_games):,} users",
        enough=stats.users >= thresholds.churn_users,
    )
    for defect in stats.defects:
        may_have_left = defect is stats.unknown_users
        yield Rule(
            about=f"{defect.about[0].upper()}{defect.about[1:]}",
            figure=defect.count,
            at_most=stats.users - thresholds.user_coverage_floor * stats.users if may_have_left else 0,
            reason=f"{defect.example}, for example" if defect.count else "",
        )


def _comparison(stats: VersionStats, current: CurrentVersion, thresholds: Thresholds) -> Iterator[Rule]:
    sampled = len(current.sample)
    enough_users, enough_sampled = (users >= thresholds.churn_users for users in (current.users, sampled))
    coverage_floor, rows_floor = thresholds.user_coverage_floor, thresholds.rows_per_user_floor
    yield Rule(
        about="Users compared with the current version",
        figure=stats.users,
        at_least=coverage_floor * current.users,
        reason=f"{coverage_floor:g} × {current.users:,} of {current.version}",
        enough=enough_users,
    )
    rows_before = current.rows / max(1, current.users)
    yield Rule(
        about="Games per user",
        figure=stats.rows / max(1, stats.users),
        at_least=rows_floor * rows_before,
        reason=f"{rows_floor:g} × {rows_before:.2f} of {current.version}",
        enough=enough_users,
    )
    yield Rule(
        about="Share of the current users who have recommendations again",
        figure=stats.sampled_users / max(1, sampled),
        at_least=coverage_floor,
        reason=f"{stats.sampled_users:,} of {sampled:,} users sampled from {current.version}",
        enough=enough_sampled,
    )
    yield Rule(
        about="Churn",
        figure=stats.churn,
        at_least=thresholds.churn_floor or None,
        at_most=thresholds.churn_ceiling,
        reason=f"first {FIRST_GAMES} games of {stats.sampled_users:,} users of {current.version}",
        enough=enough_sampled,
    )
