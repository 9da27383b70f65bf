"""Loading shards into a destination: several at a time, checked against the shop and counted on the way."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steam_recsys.arrays import Int64Array
from steam_recsys.data.predictions import Predictions, Shard, check_shard, read_shard
from steam_recsys.database.connection import COPY_BUFFER, connect
from steam_recsys.database.copy import read_binary_copy
from steam_recsys.logging import progress

FIRST_GAMES = 10
"""How many of a user's games churn compares: those that users see."""

SAMPLED_USERS = 10_000
"""How many users versions are compared on: enough for a share to be known to within 0.01."""


@dataclass(frozen=True)
class CurrentVersion:
    """The version that readers of a destination see: its size, and the first games of a sample of its users."""

    version: str
    users: int
    rows: int
    sample: Mapping[int, list[int]]


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
        rows: Number of recommended games, summed over the users.
        least_rows: Lowest number of games of a user; 0 if there are no users.
        sampled_users: Number of users of the current version's sample who have recommendations again.
        replaced: Sum, over those users, of the share of their first games that are no longer among them.
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
        """All kinds of errors. Only unknown users are tolerated: a few leave the shop after the snapshot."""
        return self.not_finite, self.repeated, self.unknown_games, self.unknown_users

    @property
    def churn(self) -> float:
        """The mean share of a sampled user's first games that are no longer among them."""
        return self.replaced / self.sampled_users if self.sampled_users else 0.0

    def add(self, other: VersionStats) -> None:
        """Add the counts of another part of the same version."""
        leasts = [part.least_rows for part in (self, other) if part.users]
        self.least_rows = min(leasts, default=0)
        self.users += other.users
        self.rows += other.rows
        self.sampled_users += other.sampled_users
        self.replaced += other.replaced
        for mine, theirs in zip(self.defects, other.defects, strict=True):
            mine.add(theirs.count, theirs.example)


def count(
    batch: pa.RecordBatch, source: str, known_games: pa.Array, known_users: Int64Array, sample: Mapping[int, list[int]]
) -> VersionStats:
    """Count a batch of recommendations.

    Args:
        batch: Rows in the schema RECOMMENDATIONS, with ascending users.
        source: Name of the file that the batch comes from.
        known_games: Ids of the shop's games, int32.
        known_users: Ids of the shop's users in the range of the batch, ascending.
        sample: First games of users of the current version, by user.
    """
    users = batch.column("user_id").to_numpy()
    lists = batch.column("game_ids")
    starts = lists.offsets.to_numpy().astype(np.int64)
    lengths = np.diff(starts)
    games = lists.flatten().to_numpy()
    stats = VersionStats(len(users), len(games), int(lengths.min(initial=np.iinfo(np.int64).max)) if len(users) else 0)

    scores = batch.column("scores").flatten()
    not_finite = ~np.isfinite(scores.to_numpy(zero_copy_only=False))  # a null comes as a NaN
    _add_elements(stats.not_finite, not_finite, users, lengths, source)
    _add_elements(stats.repeated, _repeated(games, lengths), users, lengths, source)
    for ids in (lists.flatten(), batch.column("because").flatten().drop_null()):
        distinct = ids.unique()
        unknown_games = distinct.filter(pc.invert(pc.is_in(distinct, value_set=known_games)))
        if len(unknown_games):
            stats.unknown_games.add(len(unknown_games), f"game {unknown_games[0]} in {source}")
    positions = np.searchsorted(known_users, users)
    positions[positions == len(known_users)] = 0
    unknown_users = users[known_users[positions] != users] if len(known_users) else users
    if len(unknown_users):
        stats.unknown_users.add(len(unknown_users), f"user {unknown_users[0]} in {source}")
    for user, before in _sampled(users, sample):
        row = int(np.searchsorted(users, user))
        now = games[starts[row] - starts[0] :][: min(FIRST_GAMES, lengths[row])]
        stats.sampled_users += 1
        stats.replaced += len(set(before) - set(now.tolist())) / len(before)
    return stats


def _add_elements(defect: Defect, wrong: np.ndarray, users: Int64Array, lengths: Int64Array, source: str) -> None:
    """Count the elements of the users' lists that a mask marks as wrong."""
    if wrong.any():
        row = np.searchsorted(np.cumsum(lengths), np.argmax(wrong), side="right")
        defect.add(int(wrong.sum()), f"user {users[row]} in {source}")


def _repeated(games: np.ndarray, lengths: Int64Array) -> np.ndarray:
    """Mark the games that occur earlier in the same list: bool [games]."""
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


CONNECTIONS = 4
"""How many parts of a version are loaded at the same time, each over its own connection."""

_IDS = pa.schema([pa.field("id", pa.int64(), nullable=False)])


class LoadingStopped(Exception):
    """Another part has failed."""


class Loader:
    """Loads all shards of a version into one destination, once."""

    def __init__(self, predictions: Predictions, known_games: pa.Array, sample: Mapping[int, list[int]]) -> None:
        """Prepare a load.

        Args:
            predictions: The version's folder.
            known_games: Ids of the shop's games, int32.
            sample: First games of users of the destination's current version, by user.
        """
        self._predictions = predictions
        self._known_games = known_games
        self._sample = sample
        self._stats = VersionStats()
        self._done = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def run(self, load_part: Callable[[int, list[Shard]], int]) -> tuple[VersionStats, int]:
        """Load the parts in parallel; the first failure stops them all.

        Args:
            load_part: Loads the part with this number and these shards, and returns how many users the destination
                received.

        Returns:
            The counts, and how many users the destination received.
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
                stats.add(count(batch, path.name, self._known_games, known_users, self._sample))
                yield batch
        with self._lock:
            self._stats.add(stats)
            self._done += 1
            done, users = self._done, self._stats.users
        progress("reverse_etl", f"shard {done} of {len(self._predictions.shards)}: {users:,} users so far")


# Each query has its own short connection. A publication that loads for long must not hold a lock on the shop's tables:
# an ALTER TABLE would wait behind it, and every reader behind that.


def known_games(shop: str) -> pa.Array:
    """Read the ids of all games of the shop, int32; `shop` is a reference such as `env:DATABASE_URL`."""
    return pa.array(_read_ids(shop, "SELECT game_id::bigint FROM steam.games"), pa.int32())


def known_users(shop: str, first: int, last: int) -> Int64Array:
    """Read the ids of the shop's users from `first` to `last`, both included, ascending."""
    return _read_ids(
        shop,
        f"SELECT user_id FROM steam.users WHERE user_id BETWEEN {int(first)} AND {int(last)} ORDER BY user_id",  # noqa: S608
    )


def _read_ids(shop: str, query: str) -> Int64Array:
    content = io.BytesIO()
    with connect(shop, application="steam-recsys publish") as connection, connection.cursor() as cursor:
        cursor.copy_expert(f"COPY ({query}) TO STDOUT WITH (FORMAT binary)", content, size=COPY_BUFFER)
    ids: Int64Array = read_binary_copy(content.getbuffer(), _IDS)["id"].to_numpy()
    return ids
