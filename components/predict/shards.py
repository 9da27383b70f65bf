"""A snapshot by shards of users, in bounded memory: each shard's users, and the reviews that make their histories."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steam_recsys.arrays import Int64Array
from steam_recsys.data.interactions import REVIEW_COLUMNS, Interactions, latest_of_each_pair, read_reviews
from steam_recsys.data.schemas import HISTORIES
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import UserError
from steam_recsys.logging import progress

RECORD = np.dtype(list(REVIEW_COLUMNS.items()))
PROGRESS_REVIEWS = 10_000_000


def users_by_shard(snapshot: Snapshot, users_per_shard: int) -> Iterator[Int64Array]:
    """The user ids of each shard, int64, ascending.

    Raises:
        UserError: the snapshot's users are not in the order of their ids.
    """
    batches = snapshot.dataset("users").to_batches(batch_readahead=1, fragment_readahead=1)
    users = np.zeros(0, dtype=np.int64)
    for batch in batches:
        users = np.concatenate([users, batch["user_id"].to_numpy()])
        if (np.diff(users) <= 0).any():
            raise UserError(f"{snapshot.root} does not have its users in the order of their ids: extract it again.")
        while len(users) > users_per_shard:  # one is left to compare the next batch with
            yield users[:users_per_shard]
            users = users[users_per_shard:]
    if len(users):
        yield users


class ReviewsByShard:
    """The reviews of each shard's users, in a file without a name, which is gone with this process however that ends.

    Each batch of the snapshot is written in the order of the shards, so that a shard is read from one place a batch.
    """

    def __init__(self, snapshot: Snapshot, shards: Sequence[tuple[int, int]]) -> None:
        """Read the snapshot's reviews once; `shards` has the first and last user id of each shard, ascending."""
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it stays open
        self._ends: list[Int64Array] = []
        lasts = np.array([last for _, last in shards], dtype=np.int64)
        read = 0
        for batch in read_reviews(snapshot, REVIEW_COLUMNS):
            shard = np.searchsorted(lasts, batch["user_id"])
            order = np.argsort(shard, kind="stable")
            records = np.empty(len(order), dtype=RECORD)
            for name, column in batch.items():
                records[name] = column[order]
            self._file.write(records.data)
            self._ends.append(read + np.cumsum(np.bincount(shard, minlength=len(shards))))
            if (read + len(records)) // PROGRESS_REVIEWS > read // PROGRESS_REVIEWS:
                progress("plan", f"{read + len(records):,} reviews")
            read += len(records)

    def interactions(self, shard: int) -> Interactions:
        """A shard's, as `load_interactions` has them."""
        parts = [np.zeros(0, dtype=RECORD)]
        before = 0
        for ends in self._ends:
            start = int(ends[shard - 1]) if shard else before
            self._file.seek(start * RECORD.itemsize)
            parts.append(np.fromfile(self._file, RECORD, int(ends[shard]) - start))
            before = int(ends[-1])
        records = np.concatenate(parts)
        *columns, reviews = (np.ascontiguousarray(records[name]) for name in REVIEW_COLUMNS)
        return latest_of_each_pair(Interactions(*columns), reviews)


def histories_table(users: Int64Array, interactions: Interactions) -> pa.Table:
    """A shard's histories in the schema HISTORIES; interactions are ordered as `load_interactions` has them.

    Those of users who are not among the shard's are left out.
    """
    interactions = interactions.take(np.isin(interactions.users, users))
    offsets = np.append(np.searchsorted(interactions.users, users), len(interactions))
    columns = (interactions.games, interactions.recommended, interactions.hours)
    return pa.table([pa.array(users), *(_lists(offsets, column) for column in columns)], HISTORIES)


def _lists(offsets: Int64Array, values: npt.NDArray[np.generic]) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))
