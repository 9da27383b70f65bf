"""Shards → a destination, several at a time, checked and counted on their way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

import pyarrow as pa

from steam_recsys.arrays import Int64Array
from steam_recsys.logging import progress
from steam_recsys.publications.predictions import Predictions, Shard, check_whole, read_shard
from steam_recsys.publications.version_stats import VersionStats, count

CONNECTIONS = 4
"""Parts that are loaded at the same time, each on a connection of its own."""

Part = Sequence[Shard]


class Stopped(Exception):
    """Another part has failed."""


class Loading:
    """One pass over all shards of a version on their way into one destination."""

    def __init__(self, predictions: Predictions, known_games: pa.Array, sample: Mapping[int, list[int]]) -> None:
        """Prepare a pass.

        Args:
            predictions: the version's folder.
            known_games: the shop's, int32.
            sample: the first games of users of the version that the destination shows.
        """
        self._predictions = predictions
        self._known_games = known_games
        self._sample = sample
        self._census = VersionStats()
        self._done = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def run(self, load: Callable[[int, Part], int]) -> tuple[VersionStats, int]:
        """Load the parts in parallel; the first failure ends them all.

        Args:
            load: loads a part, of which it is given the number and the shards; returns the users that arrived.

        Returns:
            What was counted on the way, and the users that arrived.
        """
        parts = self._predictions.parts(CONNECTIONS)
        with ThreadPoolExecutor(len(parts)) as pool:
            futures = [pool.submit(load, number, part) for number, part in enumerate(parts)]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                self._stop.set()  # nothing waits for it any more where all went well
        failures = [error for future in futures if (error := future.exception())]
        for error in sorted(failures, key=lambda error: isinstance(error, Stopped)):
            raise error
        return self._census, sum(future.result() for future in futures)

    def batches(self, shard: Shard, known: Int64Array) -> Iterator[pa.RecordBatch]:
        """A shard's recommendations, counted.

        Args:
            shard: of one of the parts.
            known: the ids of the shop's users in its range, ascending.

        Raises:
            UserError: the shard is damaged, or not as it must be.
        """
        census = VersionStats()
        folder = self._predictions.folder
        with folder.local_path(shard.name) as path:
            check_whole(folder, shard, path)
            for batch in read_shard(path, shard):
                if self._stop.is_set():
                    raise Stopped
                census.add(count(batch, path.name, self._known_games, known, self._sample))
                yield batch
        with self._lock:
            self._census.add(census)
            self._done += 1
            done, users = self._done, self._census.users
        progress("reverse_etl", f"shard {done} of {len(self._predictions.shards)}: {users:,} users so far")
