"""Acceptance: whether a version may become current. A pure function of what was counted and of limits."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from components.reverse_etl.limits import Limits
from steam_recsys.publications.version_stats import FIRST_GAMES, CurrentVersion, VersionStats

ACCEPTED, REFUSED, NOT_ENOUGH = "accepted", "refused", "not enough evidence"


@dataclass(frozen=True)
class Rule:
    """A demand on a version, and how it came out.

    Attributes:
        about: the figure, in words.
        figure: the version's.
        least, most: what is let through.
        reason: where the bounds come from, or an example of what is wrong, with numbers.
        enough: whether there is enough evidence for a decision.
    """

    about: str
    figure: float
    least: float = 0.0
    most: float = math.inf
    reason: str = ""
    enough: bool = True

    @property
    def outcome(self) -> str:
        """How it came out; a figure that is not a number is refused."""
        if not self.enough:
            return NOT_ENOUGH
        return ACCEPTED if self.least <= self.figure <= self.most else REFUSED

    @property
    def finding(self) -> str:
        """The figure beside what is asked for."""
        least, most = self.least, self.most
        if isinstance(self.figure, int):  # a count: the whole numbers that are let through
            least, most = math.ceil(least), most if most == math.inf else math.floor(most)
        bounds = [f"at least {_number(least)}"] if least else []
        bounds += [f"at most {_number(most)}"] if most < math.inf else []
        asked = f", {' and '.join(bounds)} asked for" if self.enough else ""
        reason = f" ({self.reason})" if self.reason else ""
        return f"{self.about}: {_number(self.figure)}{asked}{reason}"


@dataclass(frozen=True)
class Verdict:
    """The decision and all rules that it follows from."""

    rules: tuple[Rule, ...]

    @property
    def accepted(self) -> bool:
        """Whether the version may become current: no rule refuses it."""
        return not self.refusals

    @property
    def reasons(self) -> tuple[str, ...]:
        """Each rule's finding and how it came out."""
        return tuple(f"{rule.finding}: {rule.outcome}" for rule in self.rules)

    @property
    def refusals(self) -> tuple[Rule, ...]:
        """The rules that refuse it."""
        return tuple(rule for rule in self.rules if rule.outcome == REFUSED)


def decide(census: VersionStats, stored: int, shown: CurrentVersion | None, limits: Limits) -> Verdict:
    """Accept a version if no rule refuses it: of its own content, and against the version that is shown.

    Args:
        census: what was counted on its way.
        stored: users whom the destination says it holds; its key lets each in once.
        shown: the version that the destination shows now; None before the first.
        limits: how far from that it may be.
    """
    return Verdict((*_content(census, stored, limits), *(_against(census, shown, limits) if shown else ())))


def _content(census: VersionStats, stored: int, limits: Limits) -> Iterator[Rule]:
    yield Rule("users with recommendations", census.users, least=1)
    yield Rule(
        "users in the destination, each once", stored, census.users, census.users, f"{census.users:,} in the shards"
    )
    yield Rule("least games of a user", census.least_rows, least=1)
    for defect in census.defects:
        may_be_gone = defect is census.unknown_users
        most = census.users - limits.user_coverage_floor * census.users if may_be_gone else 0
        yield Rule(defect.about, defect.count, most=most, reason=f"{defect.example} for one" if defect.count else "")


def _against(census: VersionStats, shown: CurrentVersion, limits: Limits) -> Iterator[Rule]:
    enough, sampled = (users >= limits.churn_users for users in (shown.users, len(shown.sample)))
    floor = limits.user_coverage_floor
    reason = f"{floor:g} × {shown.users:,} of {shown.version}"
    yield Rule("users against the version that is shown", census.users, floor * shown.users, math.inf, reason, enough)

    per_user, before = census.rows / max(1, census.users), shown.rows / max(1, shown.users)
    reason = f"{limits.rows_per_user_floor:g} × {before:.2f} of {shown.version}"
    yield Rule("games per user", per_user, limits.rows_per_user_floor * before, math.inf, reason, enough)

    kept = census.sampled_users / max(1, len(shown.sample))
    reason = f"{census.sampled_users:,} of {len(shown.sample):,} users sampled from {shown.version}"
    yield Rule("share of its users who have recommendations again", kept, floor, math.inf, reason, sampled)

    reason = f"of the first {FIRST_GAMES} games of {census.sampled_users:,} users of {shown.version}"
    yield Rule("churn", census.churn, limits.churn_floor, limits.churn_ceiling, reason, sampled)


def _number(figure: float) -> str:
    return f"{figure:,.0f}" if float(figure).is_integer() else f"{figure:,.4f}"
