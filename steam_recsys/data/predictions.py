"""Predictions in the store: a version's folder and files, its plan and shards, and how both are read and checked."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steam_recsys.data.schemas import POPULAR, RECOMMENDATIONS
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import Folder

PLAN_FILE = "plan.json"
"""The plan, written once all the files that the shards read are complete."""

POPULAR_FILE = "popular.parquet"
"""The fallback lists, in the schema `POPULAR`."""

CATALOGUE_FILE = "catalogue.parquet"
"""The games with their attributes, their recent popularity on the plan's day, and whether they are available."""

SHARDS_FOLDER = "recommendations"
"""The folder of the shards' predictions."""

BATCH_USERS = 16_384
"""Rows of a shard that are read at a time."""

_REMEDY = "predict again"


@dataclass(frozen=True)
class Plan:
    """What to predict.

    Attributes:
        version: Version of the publication.
        model_version: The champion.
        snapshot_id: The snapshot that users and games come from.
        as_of: ISO date of the day after the newest review.
        new_release_days: Days before `as_of` in which a new release came out.
        shards: The first and the last user id of each shard.
    """

    version: str
    model_version: str
    snapshot_id: str
    as_of: str
    new_release_days: int
    shards: list[tuple[int, int]]

    def facts(self) -> dict[str, Any]:
        """Return the plan as plain values for the journal and artifacts."""
        return {**asdict(self), "shards": len(self.shards)}

    def write(self, path: str | Path) -> None:
        """Write the plan as JSON."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(self.content())

    def content(self) -> bytes:
        """Return the plan as JSON."""
        return f"{json.dumps(asdict(self), indent=2)}\n".encode()

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """Read a plan from a file.

        Raises:
            UserError: The file does not exist.
        """
        try:
            content = json.loads(Path(path).read_text())
        except FileNotFoundError:
            raise UserError(f"{path} holds no plan: run the inference pipeline.") from None
        shards = [(first, last) for first, last in content.pop("shards")]
        return cls(**content, shards=shards)


@dataclass(frozen=True)
class Shard:
    """A shard of the predictions: its number and its range of users, from `first` to `last`, both included."""

    number: int
    first: int
    last: int

    @property
    def name(self) -> str:
        """The name of its file in the folder of predictions."""
        return shard_name(self.number)


@dataclass(frozen=True)
class ShardManifest:
    """A finished shard. The manifest is written after the shard's file: a shard without a manifest is not finished.

    Attributes:
        version: Version of the publication.
        model_version: The model that made the predictions.
        snapshot_id: The snapshot that the users and games come from.
        shard: Number of the shard.
        users: The first and the last user id of its range.
        rows: Number of users with recommendations.
        search: How games were retrieved: exactly, or approximately with which recall.
        sha256: Checksum of its file.
    """

    version: str
    model_version: str
    snapshot_id: str
    shard: int
    users: tuple[int, int]
    rows: int
    search: str
    sha256: str

    def describes(self, path: Path) -> bool:
        """Return whether a file is the shard's, byte for byte."""
        return path.exists() and sha256_of(path) == self.sha256

    def write(self, folder: Folder) -> None:
        """Write the manifest to a folder of predictions."""
        folder.write(_manifest_name(self.shard), f"{json.dumps(asdict(self), indent=2)}\n".encode())

    @classmethod
    def read(cls, folder: Folder, shard: int) -> ShardManifest | None:
        """Read a shard's manifest; None if the shard is not finished."""
        content = folder.read(_manifest_name(shard))
        if content is None:
            return None
        fields = json.loads(content)
        first, last = fields.pop("users")
        return cls(**fields, users=(first, last))


@dataclass(frozen=True)
class Predictions:
    """A complete folder of predictions: shards in the order of their users, and the fallback lists."""

    folder: Folder
    shards: list[Shard]

    @classmethod
    def open(cls, folder: Folder, ranges: Sequence[tuple[int, int]]) -> Predictions:
        """Open a folder of predictions.

        Args:
            folder: The folder.
            ranges: First and last user of each shard, in ascending order.

        Raises:
            UserError: A shard or the fallback lists are missing, or there are no ranges.
        """
        shards = [Shard(number, first, last) for number, (first, last) in enumerate(ranges)]
        if not shards:
            raise UserError(f"{folder.uri} has no shards, as the shop has no users: ingest some and {_REMEDY}.")
        names = set(folder.names(""))
        if missing := [name for name in (*(shard.name for shard in shards), POPULAR_FILE) if name not in names]:
            raise UserError(
                f"{folder.uri}/{missing[0]} is missing, one of {len(shards)} shards and the lists: {_REMEDY}."
            )
        return cls(folder, shards)

    def split(self, n: int) -> list[list[Shard]]:
        """Split the shards into n consecutive parts of about equal length, or into fewer if there are fewer shards."""
        n = min(n, len(self.shards))
        bounds = [round(number * len(self.shards) / n) for number in range(n + 1)]
        return [self.shards[start:end] for start, end in pairwise(bounds)]


def predictions_uri(store: str, version: str) -> str:
    """Return the folder with the predictions of a version."""
    return f"{store.rstrip('/')}/predictions/{version}"


def histories_name(number: int) -> str:
    """Return the name of a shard's input, in the schema `HISTORIES`: all users by id, with or without reviews."""
    return f"histories/shard-{number:05}.parquet"


def shard_name(number: int) -> str:
    """Return the name of a shard's predictions, in the schema `RECOMMENDATIONS`."""
    return f"{SHARDS_FOLDER}/shard-{number:05}.parquet"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_shard(folder: Folder, shard: Shard, path: Path) -> None:
    """Check that a file has the checksum of the shard's manifest.

    Args:
        folder: Folder of predictions, with the shard's manifest.
        shard: The shard.
        path: Its file, fetched to this machine.

    Raises:
        UserError: The checksum differs, or the manifest is missing.
    """
    manifest = ShardManifest.read(folder, shard.number)
    if manifest is None:
        raise UserError(f"{folder.uri}/{shard.name} has no manifest, so it is not finished: {_REMEDY}.")
    if not manifest.describes(path):
        raise UserError(f"{folder.uri}/{shard.name} is damaged, its checksum is not that of its manifest: {_REMEDY}.")


def read_shard(path: Path, shard: Shard) -> Iterator[pa.RecordBatch]:
    """Read a shard's rows in batches in the schema RECOMMENDATIONS: each user once, ascending, in the shard's range.

    Raises:
        UserError: The file is not a shard, or a row is invalid.
    """
    before = shard.first - 1
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_USERS, columns=RECOMMENDATIONS.names):
                conformed = _conform(batch, RECOMMENDATIONS, path)
                _check_lists(conformed, path.name)
                before = _check_users(conformed, path.name, shard, before)
                if len(conformed):
                    yield conformed
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def read_popular(path: Path, known_games: pa.Array) -> pa.Table:
    """Read the fallback lists, in the schema POPULAR.

    Args:
        path: Their file.
        known_games: Ids of the shop's games, int32.

    Raises:
        UserError: The file cannot be read, or a list is invalid.
    """
    try:
        table = pq.read_table(path)
        lists = pa.Table.from_batches([_conform(batch, POPULAR, path) for batch in table.to_batches()], POPULAR)
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None
    if not pc.any(pc.equal(lists["genre"], "")).as_py():
        raise UserError(f"{path.name} has no overall list, whose genre is the empty string: {_REMEDY}.")
    if not pc.all(pc.is_finite(lists["score"])).as_py():
        raise UserError(f"{path.name} has a score that is not a finite number: {_REMEDY}.")
    for column in ("rank", "game_id"):
        duplicates = lists.group_by(["genre", column]).aggregate([([], "count_all")]).filter(pc.field("count_all") > 1)
        if len(duplicates):
            genre = duplicates["genre"][0].as_py()
            raise UserError(f"{path.name} has {column} {duplicates[column][0]} twice in the list {genre!r}: {_REMEDY}.")
    unknown = lists.filter(pc.invert(pc.is_in(lists["game_id"], value_set=known_games)))
    if len(unknown):
        raise UserError(
            f"{path.name} names game {unknown['game_id'][0]}, which steam.games does not hold: "
            f"extract a new snapshot and {_REMEDY}."
        )
    return lists


def _manifest_name(number: int) -> str:
    return f"manifests/shard-{number:05}.json"


def _conform(batch: pa.RecordBatch, schema: pa.Schema, path: Path) -> pa.RecordBatch:
    columns = {
        field.name: batch.column(field.name).cast(field.type) for field in schema if field.name in batch.schema.names
    }
    for name in schema.names:
        if name not in columns:
            raise UserError(f"{path.name} has no column {name}: {_REMEDY}.")
        if columns[name].null_count:
            raise UserError(f"{path.name} has a row whose {name} is null: {_REMEDY}.")
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
    """Check that the users ascend, after the last user of the batch before; the last user of this batch."""
    users = batch.column("user_id").to_numpy()
    wrong = np.flatnonzero(users <= np.concatenate([[before], users[:-1]]))
    if len(wrong):
        raise UserError(
            f"{name} has user {users[wrong[0]]} twice, out of order or before the first of its users, {shard.first}: "
            f"{_REMEDY} into an empty folder."
        )
    if len(users) and users[-1] > shard.last:
        raise UserError(f"{name} has user {users[-1]}, but is for those up to {shard.last}: {_REMEDY}.")
    return int(users[-1]) if len(users) else before


def _refuse(batch: pa.RecordBatch, shard: str, row: int, what: str) -> NoReturn:
    raise UserError(f"{shard} gives user {batch.column('user_id')[row]} {what}: {_REMEDY}.")


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
    return UserError(f"{path} cannot be read as predictions ({reason}): {_REMEDY}.")
