"""The training set on disk: what training reads its examples from, some of the users at a time, in Parquet.

A row a user, integers only: games are rows of the vocabulary. The users stand in row groups, and as many groups as fit
the memory are a window. An epoch deals the groups out to windows anew and shuffles the users of each window, so that
the memory is that of one window whatever the number of users; where one window holds all of them, all are shuffled.
"""

from __future__ import annotations

import tempfile
import weakref
from dataclasses import dataclass
from typing import IO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from steam_recsys.arrays import Int32Array, Int64Array
from steam_recsys.data.histories import Histories, positions_of
from steam_recsys.data.interactions import Interactions

WINDOW_INTERACTIONS = 1 << 22
"""How many a window holds; nine bytes each."""

GROUP_USERS = 1 << 12
"""The most users that stay together when the groups are dealt out."""

SCHEMA = pa.schema(
    [pa.field("user_id", pa.int64(), nullable=False)]
    + [
        pa.field(name, pa.list_(pa.field("item", kind, nullable=False)), nullable=False)
        for name, kind in (("games", pa.int32()), ("periods", pa.int32()), ("recommended", pa.bool_()))
    ]
)


@dataclass(frozen=True)
class Examples:
    """Some of the users.

    Attributes:
        histories: their games as rows of the vocabulary, in the order of time; the hours are left out, unknown.
        periods: int32, the period of each of the histories' games.
    """

    histories: Histories
    periods: Int32Array

    def take(self, rows: Int64Array) -> Examples:
        """Those in some rows."""
        kept = self.histories
        lengths = kept.offsets[rows + 1] - kept.offsets[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(kept.offsets[rows] - offsets[:-1], lengths) + np.arange(offsets[-1])
        columns = (column[places] for column in (kept.games, kept.recommended, kept.hours))
        return Examples(Histories(kept.users[rows], offsets, *columns), self.periods[places])


@dataclass(frozen=True)
class TrainingSet:
    """A file without a name, which is gone when this object is, or the process, however it ends.

    Attributes:
        file: open for reading.
        users: how many it holds.
        groups: how many row groups; a multiple of the windows.
        windows: how many make up an epoch.
    """

    file: IO[bytes]
    users: int
    groups: int
    windows: int

    @classmethod
    def write(cls, interactions: Interactions, periods: Int32Array, game_ids: Int32Array) -> TrainingSet:
        """Write down the users who recommend something.

        Args:
            interactions: ordered by user, then in the order of time.
            periods: int32, of each.
            game_ids: the vocabulary, int32 [V], ascending.
        """
        starts = np.flatnonzero(np.diff(interactions.users, prepend=interactions.users[0] - 1))
        lengths = np.diff(starts, append=len(interactions))
        learns = np.logical_or.reduceat(interactions.recommended, starts)
        learnt_from = np.flatnonzero(learns)
        windows = min(len(learnt_from), -(-int(lengths[learnt_from].sum()) // WINDOW_INTERACTIONS))
        groups = windows * max(1, -(-len(learnt_from) // (windows * GROUP_USERS)))
        file = tempfile.TemporaryFile()  # noqa: SIM115 - it stays open
        training_set = cls(file, len(learnt_from), groups, windows)
        weakref.finalize(training_set, file.close)
        with pq.ParquetWriter(file, SCHEMA, use_dictionary=False, write_statistics=False) as writer:
            for users in np.array_split(learnt_from, groups):
                rows = slice(starts[users[0]], starts[users[-1]] + lengths[users[-1]])
                mine = np.repeat(*(array[users[0] : users[-1] + 1] for array in (learns, lengths)))
                offsets = np.concatenate([[0], np.cumsum(lengths[users])])
                columns = (
                    positions_of(interactions.games[rows][mine], game_ids),
                    periods[rows][mine],
                    interactions.recommended[rows][mine],
                )
                table = [pa.array(interactions.users[starts[users]]), *(_lists(offsets, column) for column in columns)]
                writer.write_table(pa.table(table, SCHEMA), row_group_size=len(users))
        return training_set

    def window(self, number: int, dealing: np.random.Generator) -> Examples:
        """One of an epoch's windows, from 0; equal generators deal equally."""
        dealt = dealing.permutation(self.groups).reshape(self.windows, -1)
        return self.read(np.sort(dealt[number]))

    def read(self, groups: Int64Array | None = None) -> Examples:
        """The users in some of the row groups; all of them, at once, where none are named."""
        reader = pq.ParquetFile(self.file)
        table = reader.read() if groups is None else reader.read_row_groups(groups.tolist())
        lists = {name: table[name].combine_chunks() for name in SCHEMA.names[1:]}
        games, periods, recommended = (column.values.to_numpy(zero_copy_only=False) for column in lists.values())
        offsets = lists["games"].offsets.to_numpy().astype(np.int64)
        hours = np.broadcast_to(np.float32(np.nan), games.shape)
        return Examples(Histories(table["user_id"].to_numpy(), offsets, games, recommended, hours), periods)


def _lists(offsets: Int64Array, values: npt.NDArray[np.generic]) -> pa.Array:
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values))
