"""The versions that a destination keeps: which one to roll back to, and which ones to drop."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from steam_recsys.errors import UserError

KEPT_VERSIONS = 3
"""How many versions a destination keeps: the current one and those that were current last."""

MAX_AGE_HOURS = 26.0
"""Hours since the last run that succeeded until which recommendations are on time: a day, and two for the run."""


def check_name(version: str) -> None:
    """Check that a version's name can be part of a table's and a collection's name.

    Raises:
        UserError: It cannot.
    """
    # PostgreSQL cuts names after 63 bytes: two long versions could become one. `popular_games` is a view.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,46}", version) or version == "games":
        raise UserError(
            f"The version {version!r} cannot name a table: "
            "use at most 47 letters, digits, dots, hyphens and underscores, and another name than games."
        )


@dataclass(frozen=True)
class VersionInfo:
    """A version and what it is made from.

    Attributes:
        version: Name, which is part of the names of its tables or collections.
        model_version: Model that made the predictions.
        snapshot_id: Snapshot that the predictions were made from.
        as_of: Day up to which recent popularity was counted.
        control_share: Share of the users who are in the control group and have no recommendations.
    """

    version: str
    model_version: str
    snapshot_id: str
    as_of: date
    control_share: float


@dataclass(frozen=True)
class KeptVersion(VersionInfo):
    """A version that can be made current.

    Versions are ordered by the numbers of a destination's switches, never by clocks: those of the machines that
    publish, and the database's after a failover, may disagree.

    Attributes:
        users: Number of users with personal recommendations.
        rows: Number of recommended games, summed over the users and their lists.
        overlap, coverage, popular_ten: How personal the version is, as in `Personalisation`; None if it is not known.
        published_at: Time when it first became current, for people to read.
        first_switch, last_switch: Numbers of the switches that first and last made it current.
        current: Whether readers see this version.
        refreshed_snapshot_id: Snapshot that the last refresh brought it up to; None if it was not refreshed.
    """

    users: int
    rows: int
    overlap: float | None
    coverage: float | None
    popular_ten: float | None
    published_at: datetime
    first_switch: int
    last_switch: int
    current: bool
    refreshed_snapshot_id: str | None = None

    @property
    def newest_snapshot_id(self) -> str:
        """Snapshot whose reviews its lists know."""
        return self.refreshed_snapshot_id or self.snapshot_id


Choice = Callable[[Sequence[KeptVersion]], str]
"""Chooses the version to make current from the kept versions."""


def find_current(kept: Sequence[KeptVersion]) -> KeptVersion | None:
    """The version that readers see; None before the first publication."""
    return next((version for version in kept if version.current), None)


def find_version(kept: Sequence[KeptVersion], version: str) -> KeptVersion | None:
    """A kept version by its name."""
    return next((each for each in kept if each.version == version), None)


def rollback_target(kept: Sequence[KeptVersion], version: str | None) -> str:
    """Choose the version to roll back to.

    Args:
        kept: Versions that the destination keeps.
        version: Requested version. None takes, of those published before the current one, the one that was current
            last: after a rollback and a new publication that is the version rolled back to, not the one rolled back
            from.

    Raises:
        UserError: The version is not kept, or no version was published before the current one.
    """
    if version is not None:
        if find_version(kept, version):
            return version
        newest_first = sorted(kept, key=lambda each: -each.first_switch)
        names = ", ".join(each.version for each in newest_first) or "none"
        raise UserError(f"The version {version} is not kept: choose one of {names}.")
    current = find_current(kept)
    before = [each for each in kept if current and each.first_switch < current.first_switch]
    if not before:
        first = current.version if current else "the first"
        raise UserError(f"There is no version before {first} to roll back to: publish a new one.")
    return max(before, key=lambda each: each.last_switch).version


def expired_versions(kept: Sequence[KeptVersion]) -> list[str]:
    """The versions to drop: all except the `KEPT_VERSIONS` that are or were current last."""
    newest_first = sorted(kept, key=lambda each: (each.current, each.last_switch), reverse=True)
    return [each.version for each in newest_first[KEPT_VERSIONS:]]
