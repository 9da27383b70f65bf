"""Loading a version into a destination: several shards at a time, checked against the shop and counted on the way."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steam_recsys.arrays import Int32Array, Int64Array, contains
from steam_recsys.data.predictions import Predictions, Shard, check_shard, equal_lists, read_shard
from steam_recsys.data.schemas import POPULAR_LIST, RELEVANCE
from steam_recsys.database.connection import COPY_BUFFER, connect
from steam_recsys.database.copy import read_binary_copy
from steam_recsys.logging import progress
from steam_recsys.publications.control_group import in_control_group
from steam_recsys.publications.lease import APPLICATION
from steam_recsys.publications.personalisation import FIRST_GAMES, PersonalisationStats
from steam_recsys.publications.versions import KeptVersion

SAMPLED_USERS = 10_000
"""How many users versions are compared on: enough for a share to be known to within 0.01."""

CONNECTIONS = 4
"""How many parts of a version are loaded at the same time, each over its own connection."""

_IDS_SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False)])


@dataclass(frozen=True)
class KnownGames:
    """The games that the shop knows, to check predictions with.

    Attributes:
        games: Ids of its games, int32 [N].
        popular: The overall list of popular games, the most popular first, int32 [n].
    """

    games: pa.Array
    popular: Int32Array

    @classmethod
    def from_fallback_lists(cls, games: pa.Array, lists: pa.Table) -> KnownGames:
        """Take the shop's games, and the popular ones from a table in the schema POPULAR."""
        overall = lists.filter((pc.field("list") == POPULAR_LIST) & (pc.field("genre") == "")).sort_by("rank")
        return cls(games, overall["game_id"].to_numpy())


@dataclass(frozen=True)
class Stored:
    """What a destination says it holds of a version, and how much it was sent.

    Attributes:
        keys: What is counted, each once: `lists` or `users`.
        held: Number that the destination says it holds.
        sent: Number in the shards.
    """

    keys: str
    held: int
    sent: int


@dataclass(frozen=True)
class CurrentVersion:
    """The version that readers of a destination see, to compare a new one with.

    Attributes:
        version: Its name.
        users: Number of its users.
        rows: Number of recommended games, summed over the users and their lists.
        sample: First games of a sample of its users, by user.
        control_share: Share of the users who are in its control group.
    """

    version: str
    users: int
    rows: int
    sample: Mapping[int, list[int]]
    control_share: float = 0.0

    @classmethod
    def sampled(cls, current: KeptVersion, sample: Mapping[int, list[int]]) -> CurrentVersion:
        """Describe a kept version with the first games of a sample of its users, by user."""
        return cls(current.version, current.users, current.rows, sample, current.control_share)

    def without_control_group(self, share: float) -> CurrentVersion:
        """Return what is left of the version without the users of a larger control group, with this share of all."""
        if share <= self.control_share:
            return self
        ids = np.fromiter(self.sample, np.int64, len(self.sample))
        kept = ids[~in_control_group(ids, share)].tolist()
        # In a small shop the sample is all users, and the group may be far from its share of them.
        left = len(kept) / len(ids) if len(ids) else (1 - share) / (1 - self.control_share)
        return replace(
            self,
            users=round(left * self.users),
            rows=round(left * self.rows),
            sample={user: self.sample[user] for user in kept},
            control_share=share,
        )


@dataclass
class Defect:
    """A kind of error in a version: what it is, how often it occurs, and the first example."""

    about: str
    count: int = 0
    example: str = ""

    def add(self, count: int, example: str) -> None:
        """Count some more, with an example."""
        if count:
            self.count += count
            self.example = self.example or example


@dataclass
class VersionStats:
    """Counts of one version, or of a part of it.

    Attributes:
        users: Number of users with recommendations.
        lists: Number of their lists.
        rows: Number of recommended games, summed over the lists.
        least_rows: Lowest number of games of a list; 0 if there are no lists.
        sampled_users: Number of users of the current version's sample who have recommendations again.
        replaced: Sum, over those users, of the share of their first games that are no longer among them.
        personalisation: What tells how personal the first games are.
    """

    users: int = 0
    lists: int = 0
    rows: int = 0
    least_rows: int = 0
    sampled_users: int = 0
    replaced: float = 0.0
    personalisation: PersonalisationStats = field(default_factory=PersonalisationStats)
    not_finite: Defect = field(default_factory=lambda: Defect("tastes and popularities that are null or not finite"))
    repeated: Defect = field(default_factory=lambda: Defect("games that stand in a user's list twice"))
    unknown_games: Defect = field(default_factory=lambda: Defect("games and reasons that steam.games does not hold"))
    unknown_users: Defect = field(default_factory=lambda: Defect("users that steam.users does not hold"))

    @property
    def defects(self) -> tuple[Defect, ...]:
        """All kinds of errors. Only unknown users are tolerated: a few leave the shop after the snapshot."""
        return self.not_finite, self.repeated, self.unknown_games, self.unknown_users

    @property
    def churn(self) -> float:
        """The mean share of a sampled user's first games that are no longer among them."""
        return self.replaced / self.sampled_users if self.sampled_users else 0.0

    def add(self, other: VersionStats) -> None:
        """Add the counts of another part of the same version."""
        leasts = [part.least_rows for part in (self, other) if part.lists]
        self.least_rows = min(leasts, default=0)
        self.users += other.users
        self.lists += other.lists
        self.rows += other.rows
        self.sampled_users += other.sampled_users
        self.replaced += other.replaced
        self.personalisation.add(other.personalisation)
        for mine, theirs in zip(self.defects, other.defects, strict=True):
            mine.add(theirs.count, theirs.example)


class LoadingStopped(Exception):
    """Another part has failed."""


class Loader:
    """Loads all shards of a version into one destination, once."""

    def __init__(self, predictions: Predictions, known: KnownGames, sample: Mapping[int, list[int]]) -> None:
        """Prepare a load.

        Args:
            predictions: The version's folder.
            known: The games that the shop knows.
            sample: First games of users of the destination's current version, by user.
        """
        self._predictions = predictions
        self._known = known
        self._sample = sample
        self._stats = VersionStats()
        self._done = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def run(self, load_part: Callable[[int, list[Shard]], int]) -> tuple[VersionStats, int]:
        """Load the parts in parallel; the first failure stops them all.

        Args:
            load_part: Loads the part with this number and these shards, and returns how many lists the destination
                received; 0 if the destination does not report it.

        Returns:
            The counts, and how many lists the destination received, as `load_part` returned them.
        """
        parts = self._predictions.split(CONNECTIONS)
        with ThreadPoolExecutor(len(parts)) as pool:
            futures = [pool.submit(load_part, number, part) for number, part in enumerate(parts)]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                self._stop.set()  # without effect if all parts are loaded
        failures = [error for future in futures if (error := future.exception())]
        for error in sorted(failures, key=lambda error: isinstance(error, LoadingStopped)):
            raise error
        return self._stats, sum(future.result() for future in futures)

    def batches(self, shard: Shard, known_users: Int64Array) -> Iterator[pa.RecordBatch]:
        """Read a shard in batches, and count them.

        Args:
            shard: A shard of one of the parts.
            known_users: Ids of the shop's users in the shard's range, ascending.

        Raises:
            UserError: The shard is damaged or invalid.
        """
        stats = VersionStats()
        folder = self._predictions.folder
        with folder.local_path(shard.name) as path:
            check_shard(folder, shard, path)
            for batch in read_shard(path, shard):
                if self._stop.is_set():
                    raise LoadingStopped
                stats.add(count_batch(batch, path.name, self._known, known_users, self._sample))
                yield batch
        with self._lock:
            self._stats.add(stats)
            self._done += 1
            done, users = self._done, self._stats.users
        progress("reverse_etl", f"shard {done} of {len(self._predictions.shards)}: {users:,} users so far")


def count_batch(
    batch: pa.RecordBatch, source: str, known: KnownGames, known_users: Int64Array, sample: Mapping[int, list[int]]
) -> VersionStats:
    """Count a batch of recommendations.

    Args:
        batch: Rows in the schema RECOMMENDATIONS, with all rows of each user, by ascending user.
        source: Name of the file that the batch comes from.
        known: The games that the shop knows.
        known_users: Ids of the shop's users in the range of the batch, ascending.
        sample: First games of users of the current version, by user.
    """
    owners: Int64Array = batch.column("user_id").to_numpy()
    lists = batch.column("game_ids")
    lengths = np.diff(lists.offsets.to_numpy().astype(np.int64))
    games: Int32Array = lists.flatten().to_numpy()
    stats = VersionStats(lists=len(batch), rows=len(games), least_rows=int(lengths.min()) if len(batch) else 0)

    for column in ("taste", "popularity"):
        # A null comes as a NaN.
        not_finite = ~np.isfinite(batch.column(column).flatten().to_numpy(zero_copy_only=False))
        if not_finite.any():
            row = np.searchsorted(np.cumsum(lengths), np.argmax(not_finite), side="right")
            stats.not_finite.add(int(not_finite.sum()), f"user {owners[row]} in {source}")
    for ids in (lists.flatten(), batch.column("because").flatten().drop_null()):
        distinct = ids.unique()
        unknown_games = distinct.filter(pc.invert(pc.is_in(distinct, value_set=known.games)))
        if len(unknown_games):
            count = pc.sum(pc.is_in(ids, value_set=unknown_games)).as_py()
            stats.unknown_games.add(count, f"game {unknown_games[0]} in {source}")
    for group in equal_lists(batch):
        ordered = np.sort(group.matrix(games), axis=1)
        repeated = ordered[:, 1:] == ordered[:, :-1]
        if repeated.any():
            user = owners[group.rows[repeated.any(axis=1).argmax()]]
            stats.repeated.add(int(repeated.sum()), f"user {user} in {source}")
        if group.name == RELEVANCE:
            users = owners[group.rows]
            stats.users += len(users)
            stats.personalisation.add(PersonalisationStats.count(users, group.matrix(games), known.popular))
            _compare(stats, users, group.matrix(games, min(FIRST_GAMES, group.length)), sample)
            unknown_users = users[~contains(known_users, users)]
            if len(unknown_users):
                stats.unknown_users.add(len(unknown_users), f"user {unknown_users[0]} in {source}")
    return stats


# Each query has its own short connection. A publication that loads for long must not hold a lock on the shop's tables:
# an ALTER TABLE would wait behind it, and every reader behind that.


def read_game_ids(shop: str) -> pa.Array:
    """Read the ids of all games of the shop, int32; `shop` is a reference such as `env:DATABASE_URL`."""
    return pa.array(_read_ids(shop, "SELECT game_id::bigint FROM steam.games"), pa.int32())


def read_user_ids(shop: str, first: int, last: int) -> Int64Array:
    """Read the ids of the shop's users from `first` to `last`, both included, ascending, int64 [n]."""
    return _read_ids(
        shop,
        f"SELECT user_id FROM steam.users WHERE user_id BETWEEN {int(first)} AND {int(last)} ORDER BY user_id",  # noqa: S608
    )


def _compare(stats: VersionStats, users: Int64Array, games: Int32Array, sample: Mapping[int, list[int]]) -> None:
    """Count how many of the sampled users' first games are new, from the users' first games now, int32 [users, k]."""
    if not sample:
        return
    for row in np.flatnonzero(np.isin(users, np.fromiter(sample, np.int64, len(sample)))):
        before = sample[int(users[row])]
        stats.sampled_users += 1
        stats.replaced += len(set(before) - set(games[row].tolist())) / len(before)


def _read_ids(shop: str, query: str) -> Int64Array:
    content = io.BytesIO()
    with connect(shop, application=APPLICATION) as connection, connection.cursor() as cursor:
        cursor.copy_expert(f"COPY ({query}) TO STDOUT WITH (FORMAT binary)", content, size=COPY_BUFFER)
    ids: Int64Array = read_binary_copy(content.getbuffer(), _IDS_SCHEMA)["id"].to_numpy()
    return ids
