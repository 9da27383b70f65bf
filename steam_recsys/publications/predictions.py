"""A folder of predictions: what it must hold, and its rows in checked batches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steam_recsys.data.predictions import POPULAR_FILE, ShardManifest, shard_name
from steam_recsys.data.schemas import POPULAR, RECOMMENDATIONS
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import Folder

BATCH_ROWS = 16_384

_AGAIN = "predict again"


@dataclass(frozen=True)
class Shard:
    """A shard: its number, and the range of users that it is for, both ends included."""

    number: int
    first: int
    last: int

    @property
    def name(self) -> str:
        """Its file's, in the folder of predictions."""
        return shard_name(self.number)


@dataclass(frozen=True)
class Predictions:
    """A folder of predictions, whole: its shards, in the order of their users, and beside them the fallback lists."""

    folder: Folder
    shards: list[Shard]

    @classmethod
    def open(cls, folder: Folder, ranges: Sequence[tuple[int, int]]) -> Predictions:
        """Look at a folder of predictions, which must hold a shard for each range of users.

        Raises:
            UserError: a shard or the fallback lists are missing, or no range is given.
        """
        shards = [Shard(number, first, last) for number, (first, last) in enumerate(ranges)]
        if not shards:
            raise UserError(f"No shards are planned for {folder.uri}, the shop has no users: ingest some and {_AGAIN}.")
        there = set(folder.names(""))
        if missing := [name for name in (*(shard.name for shard in shards), POPULAR_FILE) if name not in there]:
            raise UserError(
                f"{folder.uri}/{missing[0]} is missing, one of {len(shards)} shards and the lists: {_AGAIN}."
            )
        return cls(folder, shards)

    def parts(self, n: int) -> list[list[Shard]]:
        """The shards in n runs of about as many each; fewer where there are fewer shards."""
        n = min(n, len(self.shards))
        bounds = [round(number * len(self.shards) / n) for number in range(n + 1)]
        return [self.shards[start:end] for start, end in pairwise(bounds)]


def check_whole(folder: Folder, shard: Shard, path: Path) -> None:
    """Check that a file is, byte for byte, the shard that was predicted.

    Args:
        folder: of the predictions, with the shard's manifest.
        shard: the shard.
        path: its file, fetched to this machine.

    Raises:
        UserError: it is not, or has no manifest.
    """
    manifest = ShardManifest.read(folder, shard.number)
    if manifest is None:
        raise UserError(f"{folder.uri}/{shard.name} has no manifest, so it is not finished: {_AGAIN}.")
    if not manifest.describes(path):
        raise UserError(f"{folder.uri}/{shard.name} is damaged, it has not the checksum of its manifest: {_AGAIN}.")


def read_shard(path: Path, shard: Shard) -> Iterator[pa.RecordBatch]:
    """A shard's rows in the schema RECOMMENDATIONS, in batches: each user once, in ascending order, in its range.

    Raises:
        UserError: the file is no shard, or a row is not as it must be.
    """
    before = shard.first - 1
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=RECOMMENDATIONS.names):
                conformed = _conform(batch, RECOMMENDATIONS, path)
                _check_lists(conformed, path.name)
                before = _check_users(conformed, path.name, shard, before)
                if len(conformed):
                    yield conformed
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def read_popular(path: Path, known_games: pa.Array) -> pa.Table:
    """The fallback lists, in the schema POPULAR, of games that are among the shop's; both int32.

    Raises:
        UserError: the file cannot be read, or a list is not as it must be.
    """
    try:
        table = pq.read_table(path)
        lists = pa.Table.from_batches([_conform(batch, POPULAR, path) for batch in table.to_batches()], POPULAR)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None
    if not pc.any(pc.equal(lists["genre"], "")).as_py():
        raise UserError(f"{path.name} has no overall list, whose genre is the empty string: {_AGAIN}.")
    if not pc.all(pc.is_finite(lists["score"])).as_py():
        raise UserError(f"{path.name} has a score that is not a finite number: {_AGAIN}.")
    for column in ("rank", "game_id"):
        twice = lists.group_by(["genre", column]).aggregate([([], "count_all")]).filter(pc.field("count_all") > 1)
        if len(twice):
            genre = twice["genre"][0].as_py()
            raise UserError(f"{path.name} has {column} {twice[column][0]} twice in the list {genre!r}: {_AGAIN}.")
    unknown = lists.filter(pc.invert(pc.is_in(lists["game_id"], value_set=known_games)))
    if len(unknown):
        raise UserError(
            f"{path.name} names game {unknown['game_id'][0]}, which steam.games does not hold: "
            f"extract a new snapshot and {_AGAIN}."
        )
    return lists


def _conform(batch: pa.RecordBatch, schema: pa.Schema, path: Path) -> pa.RecordBatch:
    columns = {
        field.name: batch.column(field.name).cast(field.type) for field in schema if field.name in batch.schema.names
    }
    for name in schema.names:
        if name not in columns:
            raise UserError(f"{path.name} has no column {name}: {_AGAIN}.")
        if columns[name].null_count:
            raise UserError(f"{path.name} has a row whose {name} is null: {_AGAIN}.")
    return pa.record_batch([columns[name] for name in schema.names], schema=schema)


def _check_lists(batch: pa.RecordBatch, shard: str) -> None:
    games, scores, because = (batch.column(name) for name in ("game_ids", "scores", "because"))
    lengths = [pc.list_value_length(lists) for lists in (games, scores, because)]
    for other in lengths[1:]:
        if not lengths[0].equals(other):
            row = pc.index(pc.not_equal(lengths[0], other), True).as_py()
            _refuse(batch, shard, row, "lists of games, scores and reasons that differ in length")
    if games.flatten().null_count:
        element = pc.index(pc.is_null(games.flatten()), True)
        _refuse(batch, shard, pc.list_parent_indices(games)[element.as_py()].as_py(), "a game that is null")


def _check_users(batch: pa.RecordBatch, name: str, shard: Shard, before: int) -> int:
    """Check that the users follow each other and the one before; the last of them."""
    users = batch.column("user_id").to_numpy()
    late = np.flatnonzero(users <= np.concatenate([[before], users[:-1]]))
    if len(late):
        raise UserError(
            f"{name} has user {users[late[0]]} twice, out of order or before the first of its users, {shard.first}: "
            f"{_AGAIN} into an empty folder."
        )
    if len(users) and users[-1] > shard.last:
        raise UserError(f"{name} has user {users[-1]}, but is for those up to {shard.last}: {_AGAIN}.")
    return int(users[-1]) if len(users) else before


def _refuse(batch: pa.RecordBatch, shard: str, row: int, what: str) -> NoReturn:
    raise UserError(f"{shard} gives user {batch.column('user_id')[row]} {what}: {_AGAIN}.")


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
    return UserError(f"{path} cannot be read as predictions ({reason}): {_AGAIN}.")
