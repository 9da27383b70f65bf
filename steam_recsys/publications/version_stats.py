"""What is counted of a version's recommendations on their way into a destination."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steam_recsys.arrays import Int64Array

FIRST_GAMES = 10
"""How many of a user's games churn looks at: those that are seen."""

SAMPLED_USERS = 10_000
"""Users whom a version is compared on: enough for a share to be known to within 0.01."""


@dataclass(frozen=True)
class Shown:
    """The version that a destination shows: its size, and the first games of a sample of its users."""

    version: str
    users: int
    rows: int
    sample: Mapping[int, list[int]]


@dataclass
class Defect:
    """Something that a version should not have: in words, how often it was met, and where it was met first."""

    about: str
    count: int = 0
    example: str = ""

    def met(self, count: int, example: str) -> None:
        """Count it."""
        if count:
            self.count += count
            self.example = self.example or example


@dataclass
class VersionStats:
    """Counts of one version, or of a part of it.

    Attributes:
        users: with recommendations.
        rows: games recommended, summed over the users.
        least_rows: of a user; 0 where there are no users.
        sampled_users: of the shown version's sample who are here again.
        replaced: the sum over those of the share of their first games that are no longer among them.
    """

    users: int = 0
    rows: int = 0
    least_rows: int = 0
    sampled_users: int = 0
    replaced: float = 0.0
    not_finite: Defect = field(default_factory=lambda: Defect("scores that are null or not finite"))
    repeated: Defect = field(default_factory=lambda: Defect("games that stand in a user's list twice"))
    unknown_games: Defect = field(default_factory=lambda: Defect("games that steam.games does not hold"))
    unknown_users: Defect = field(default_factory=lambda: Defect("users that steam.users does not hold"))

    @property
    def defects(self) -> tuple[Defect, ...]:
        """What no version may have, but for a few users who have left the shop since the snapshot."""
        return self.not_finite, self.repeated, self.unknown_games, self.unknown_users

    @property
    def churn(self) -> float:
        """The mean share of a sampled user's first games that are no longer among them."""
        return self.replaced / self.sampled_users if self.sampled_users else 0.0

    def add(self, other: VersionStats) -> None:
        """Count another part of the same version too."""
        leasts = [part.least_rows for part in (self, other) if part.users]
        self.least_rows = min(leasts, default=0)
        self.users += other.users
        self.rows += other.rows
        self.sampled_users += other.sampled_users
        self.replaced += other.replaced
        for mine, theirs in zip(self.defects, other.defects, strict=True):
            mine.met(theirs.count, theirs.example)


def count(
    batch: pa.RecordBatch, source: str, known_games: pa.Array, known_users: Int64Array, sample: Mapping[int, list[int]]
) -> VersionStats:
    """Count a batch of RECOMMENDATIONS, whose users ascend and whose lists are not empty.

    Args:
        batch: the recommendations.
        source: what to call the place that they come from.
        known_games: the shop's, int32.
        known_users: the shop's in the range of the batch, ascending.
        sample: the first games of users of the shown version.
    """
    users = batch.column("user_id").to_numpy()
    lists = batch.column("game_ids")
    starts = lists.offsets.to_numpy().astype(np.int64)
    lengths = np.diff(starts)
    games = lists.flatten().to_numpy()
    census = VersionStats(len(users), len(games), int(lengths.min(initial=np.iinfo(np.int64).max)) if len(users) else 0)

    scores = batch.column("scores").flatten()
    wrong = ~np.isfinite(scores.to_numpy(zero_copy_only=False))  # a null comes as a NaN
    _meet(census.not_finite, wrong, users, lengths, source)
    _meet(census.repeated, _repeated(games, lengths), users, lengths, source)
    for named in (lists.flatten(), batch.column("because").flatten().drop_null()):
        distinct = named.unique()
        unknown = distinct.filter(pc.invert(pc.is_in(distinct, value_set=known_games)))
        if len(unknown):
            census.unknown_games.met(len(unknown), f"game {unknown[0]} in {source}")
    places = np.searchsorted(known_users, users)
    places[places == len(known_users)] = 0
    strangers = users[known_users[places] != users] if len(known_users) else users
    if len(strangers):
        census.unknown_users.met(len(strangers), f"user {strangers[0]} in {source}")
    for user, before in _sampled(users, sample):
        place = int(np.searchsorted(users, user))
        now = games[starts[place] - starts[0] :][: min(FIRST_GAMES, lengths[place])]
        census.sampled_users += 1
        census.replaced += len(set(before) - set(now.tolist())) / len(before)
    return census


def _meet(defect: Defect, wrong: np.ndarray, users: Int64Array, lengths: Int64Array, source: str) -> None:
    """Count a mask over the elements of the users' lists."""
    if wrong.any():
        row = np.searchsorted(np.cumsum(lengths), np.argmax(wrong), side="right")
        defect.met(int(wrong.sum()), f"user {users[row]} in {source}")


def _repeated(games: np.ndarray, lengths: Int64Array) -> np.ndarray:
    """Which games stand earlier in the same list too: bool [games]."""
    uniform = len(lengths) and (lengths == lengths[0]).all()
    if uniform:  # sorting short rows is ten times faster than sorting pairs
        ordered = np.sort(games.reshape(len(lengths), -1), axis=1)
        if not (ordered[:, 1:] == ordered[:, :-1]).any():
            return np.zeros(len(games), dtype=np.bool_)
    pairs = np.repeat(np.arange(len(lengths)) << 32, lengths) + games
    order = np.argsort(pairs, kind="stable")
    repeated = np.zeros(len(games), dtype=np.bool_)
    repeated[order[1:]] = pairs[order[1:]] == pairs[order[:-1]]
    return repeated


def _sampled(users: Int64Array, sample: Mapping[int, list[int]]) -> Iterator[tuple[int, list[int]]]:
    if sample:
        for user in users[np.isin(users, np.fromiter(sample, np.int64, len(sample)))].tolist():
            yield user, sample[user]
