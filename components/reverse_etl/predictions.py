"""A folder of predictions: what it must hold, and its rows in checked batches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.shared.errors import UserError
from components.shared.predictions import POPULAR_FILE, shard_name
from components.shared.schemas import POPULAR, RECOMMENDATIONS
from components.shared.storage import Folder

BATCH_ROWS = 16_384

_AGAIN = "predict again"


@dataclass(frozen=True)
class Predictions:
    """A folder of predictions, whole: the names of its shards, in order, and beside them the fallback lists."""

    folder: Folder
    shards: list[str]

    @classmethod
    def open(cls, folder: Folder, shards: int) -> Predictions:
        """Look at a folder of predictions, which must hold so many shards.

        Raises:
            UserError: the folder, a shard or the fallback lists are missing.
        """
        predictions = cls(folder, [shard_name(number) for number in range(shards)])
        there = set(folder.names(""))
        if missing := [name for name in (*predictions.shards, POPULAR_FILE) if name not in there]:
            raise UserError(f"{folder.uri}/{missing[0]} is missing, one of {shards} shards and the lists: {_AGAIN}.")
        return predictions


def read_shard(path: Path) -> Iterator[pa.RecordBatch]:
    """A shard's rows in the schema RECOMMENDATIONS, in batches whose every list has been checked.

    Raises:
        UserError: the file is no shard, or a row is not as it must be.
    """
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=RECOMMENDATIONS.names):
                conformed = _conform(batch, RECOMMENDATIONS, path)
                _check_lists(conformed, path.name)
                yield conformed
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def read_popular(path: Path) -> pa.Table:
    """The fallback lists, in the schema POPULAR.

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
    return lists


def check_known(games: pa.Array, known: pa.Array, source: str) -> None:
    """Check that every game that a file names is one of the shop's; both int32.

    Raises:
        UserError: one is not.
    """
    unknown = games.filter(pc.invert(pc.is_in(games, value_set=known)))
    if len(unknown):
        raise UserError(
            f"{source} names game {unknown[0]}, which steam.games does not hold: extract a new snapshot and {_AGAIN}."
        )


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
    differ = pc.or_(pc.not_equal(lengths[0], lengths[1]), pc.not_equal(lengths[0], lengths[2]))
    _refuse(batch, shard, differ, "lists of games, scores and reasons that differ in length")
    _refuse(batch, shard, pc.less(lengths[0], 1), "an empty list of games")
    _refuse(batch, shard, pc.is_null(games.flatten()), "a game that is null", games)
    finite = pc.fill_null(pc.is_finite(scores.flatten()), False)
    _refuse(batch, shard, pc.invert(finite), "a score that is not a finite number", scores)


def _refuse(batch: pa.RecordBatch, shard: str, wrong: pa.Array, what: str, lists: pa.Array | None = None) -> None:
    """Raise where a mask over the rows, or over the elements of `lists`, is true anywhere."""
    place = pc.index(wrong, True).as_py()
    if place >= 0:
        row = place if lists is None else pc.list_parent_indices(lists)[place].as_py()
        raise UserError(f"{shard} gives user {batch.column('user_id')[row]} {what}: {_AGAIN}.")


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
    return UserError(f"{path} cannot be read as predictions ({reason}): {_AGAIN}.")
