"""Loading shards into a destination: several at a time, checked against the shop and counted on the way."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import pyarrow as pa

from steam_recsys.arrays import Int64Array
from steam_recsys.database.connection import COPY_BUFFER, connect
from steam_recsys.database.copy import read_binary_copy
from steam_recsys.logging import progress
from steam_recsys.publications.predictions import Predictions, Shard, check_shard, read_shard
from steam_recsys.publications.version_stats import VersionStats, count

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
