"""Versions that a destination keeps: which of them to go back to, and which to drop."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from steam_recsys.errors import UserError

KEPT_VERSIONS = 3
"""How many versions stay in a destination, the current one included: those that were current last."""


def check_name(version: str) -> None:
    """Check that a version's name can be part of a table's and a collection's.

    Raises:
        UserError: it cannot.
    """
    # PostgreSQL cuts names after 63 bytes, which would make two long versions one. `popular_games` is a view.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,46}", version) or version == "games":
        raise UserError(
            f"The version {version!r} cannot name a table: "
            "use at most 47 letters, digits, dots, hyphens and underscores, and another name than games."
        )


@dataclass(frozen=True)
class VersionInfo:
    """A version to be, and what it is made from.

    Attributes:
        version: names its tables or collections; letters, digits, dots, hyphens and underscores.
        model_version: the model that made the predictions.
        snapshot_id: the snapshot that they were made from.
        as_of: the day that recent popularity was counted up to.
    """

    version: str
    model_version: str
    snapshot_id: str
    as_of: date


@dataclass(frozen=True)
class KeptVersion(VersionInfo):
    """A version that can be made current.

    A destination's switches are numbered, and the numbers alone order its versions: the clocks of the machines that
    publish, and the database's own after a failover, need not agree.

    Attributes:
        users: users with recommendations of their own.
        rows: games recommended, summed over the users.
        published_at: when it first became current, for people to read.
        first_switch, last_switch: the numbers of the switches that first and last made it current.
        current: whether it is the one that readers see.
    """

    users: int
    rows: int
    published_at: datetime
    first_switch: int
    last_switch: int
    current: bool


Choice = Callable[[Sequence[KeptVersion]], str]
"""Chooses the version to make current from those that are kept."""


def current(kept: Sequence[KeptVersion]) -> KeptVersion | None:
    """The version that readers see; None before the first publication."""
    return next((version for version in kept if version.current), None)


def named(kept: Sequence[KeptVersion], version: str) -> KeptVersion | None:
    """A kept version by its name."""
    return next((each for each in kept if each.version == version), None)


def rollback_target(kept: Sequence[KeptVersion], version: str | None) -> str:
    """The version to go back to: the one asked for, or else that which was current last of those before the current.

    After a rollback and a new publication, that is the version rolled back to, not the one rolled back from.

    Raises:
        UserError: the version is not kept, or there is none to go back to.
    """
    if version is not None:
        if named(kept, version):
            return version
        newest_first = sorted(kept, key=lambda each: -each.first_switch)
        names = ", ".join(each.version for each in newest_first) or "none"
        raise UserError(f"The version {version} is not kept: choose one of {names}.")
    now = current(kept)
    before = [each for each in kept if now and each.first_switch < now.first_switch]
    if not before:
        first = now.version if now else "the first"
        raise UserError(f"There is no version before {first} to roll back to: publish a new one.")
    return max(before, key=lambda each: each.last_switch).version


def expired(kept: Sequence[KeptVersion]) -> list[str]:
    """The versions to drop: all but the current one and those that were current last."""
    newest_first = sorted(kept, key=lambda each: (each.current, each.last_switch), reverse=True)
    return [each.version for each in newest_first[KEPT_VERSIONS:]]
