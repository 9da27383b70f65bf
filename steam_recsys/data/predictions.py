"""Predictions in the store: a version's folder and files, its plan and shards, and how both are read and checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steam_recsys.arrays import Int64Array
from steam_recsys.data.schemas import (
    DISCOVERY,
    LISTS,
    NEW_RELEASES,
    POPULAR,
    POPULAR_LIST,
    RECOMMENDATIONS,
    RELEVANCE,
)
from steam_recsys.errors import ArtifactError, UserError
from steam_recsys.storage.folder import Folder, open_folder
from steam_recsys.storage.manifest import Artifact, FileDigest, UnreadableError, seal, unseal

PLAN_FILE = "plan.json"
"""The plan."""

POPULAR_FILE = "popular.parquet"
"""The fallback lists, in the schema `POPULAR`."""

CATALOGUE_FILE = "catalogue.parquet"
"""The games with their attributes, their recent popularity on the plan's day, and whether they are available."""

SHARDS_FOLDER = "recommendations"
"""The folder of the shards' predictions."""

BATCH_ROWS = 16_384
"""Rows of a shard that are read at a time."""

_REMEDY = "predict again"

_LIST_COLUMNS = ("game_ids", "taste", "popularity", "because")

_NAMES = pa.array(LISTS)


@dataclass(frozen=True)
class Plan:
    """What to predict.

    Attributes:
        version: Version of the publication.
        model_version: The champion.
        snapshot_id: The snapshot that users and games come from.
        as_of: ISO date of the day after the newest review.
        new_release_days: Days up to `as_of` in which a new release came out.
        control_share: Share of the users who are in the control group and get no recommendations.
        shards: The first and the last user id of each shard.
    """

    version: str
    model_version: str
    snapshot_id: str
    as_of: str
    new_release_days: int
    control_share: float
    shards: list[tuple[int, int]]

    def facts(self) -> dict[str, Any]:
        """Return the plan as plain values for the journal and artifacts."""
        return {**asdict(self), "shards": len(self.shards)}

    def write(self, path: str | Path) -> None:
        """Write the plan to a file."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(self.content())

    def content(self) -> bytes:
        """Return the content of the plan's file."""
        return seal(asdict(self))

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """Read a plan from a file.

        Raises:
            ArtifactError: The file does not exist, is damaged, or is of another version of this project.
        """
        try:
            return unseal(Path(path).read_bytes(), cls._decode)
        except FileNotFoundError:
            raise ArtifactError(f"{path} holds no plan: run the inference pipeline.") from None
        except UnreadableError as error:
            raise ArtifactError(f"{path} {error}: run the inference pipeline again.") from None

    @classmethod
    def _decode(cls, fields: dict[str, Any]) -> Plan:
        shards = [(first, last) for first, last in fields.pop("shards")]
        return cls(**fields, shards=shards)


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

    Shards have no common manifest because each is written by a task of its own.

    Attributes:
        version: Version of the publication.
        model_version: The model that made the predictions.
        snapshot_id: The snapshot that the users and games come from.
        shard: Number of the shard.
        user_range: The first and the last user id of its range.
        users: Number of users with recommendations.
        search: How games were retrieved: exactly, or approximately with which recall.
        sha256: Checksum of its file.
    """

    version: str
    model_version: str
    snapshot_id: str
    shard: int
    user_range: tuple[int, int]
    users: int
    search: str
    sha256: str

    def describes(self, path: Path) -> bool:
        """Return whether a file is the shard's, byte for byte."""
        return path.exists() and FileDigest.from_path(path).sha256 == self.sha256

    def write(self, folder: Folder) -> None:
        """Write the manifest to a folder of predictions."""
        folder.write(_manifest_name(self.shard), seal(asdict(self)))

    @classmethod
    def read(cls, folder: Folder, shard: int) -> ShardManifest | None:
        """Read a shard's manifest; None if the shard is not finished.

        Raises:
            ArtifactError: The manifest is damaged, or of another version of this project.
        """
        content = folder.read(_manifest_name(shard))
        if content is None:
            return None
        try:
            return unseal(content, cls._decode)
        except UnreadableError as error:
            raise ArtifactError(f"{folder.uri}/{_manifest_name(shard)} {error}: {_REMEDY}.") from None

    @classmethod
    def _decode(cls, fields: dict[str, Any]) -> ShardManifest:
        first, last = fields.pop("user_range")
        return cls(**fields, user_range=(first, last))


@dataclass(frozen=True)
class Predictions:
    """A complete folder of predictions.

    Attributes:
        folder: The folder.
        shards: The shards, in the order of their users.
        plan: What the shards were predicted from, with the fallback lists.
    """

    folder: Folder
    shards: list[Shard]
    plan: Artifact

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
        return cls(folder, shards, Artifact.open(folder, "plan", _REMEDY))

    def popular(self, known_games: pa.Array) -> pa.Table:
        """Read the fallback lists, see `read_popular`."""
        with self.plan.file(POPULAR_FILE) as path:
            return read_popular(path, known_games)

    def split(self, n: int) -> list[list[Shard]]:
        """Split the shards into n consecutive parts of about equal length, or into fewer if there are fewer shards."""
        n = min(n, len(self.shards))
        bounds = [round(number * len(self.shards) / n) for number in range(n + 1)]
        return [self.shards[start:end] for start, end in pairwise(bounds)]


def predictions_uri(store: str, version: str) -> str:
    """Return the folder with the predictions of a version."""
    return f"{store.rstrip('/')}/predictions/{version}"


def open_plan(store: str, version: str) -> Artifact:
    """Open the files of a plan in the store, to read them verified.

    Raises:
        ArtifactError: The plan is not complete, or was removed.
    """
    return Artifact.open(open_folder(predictions_uri(store, version)), "plan", "run the inference pipeline again")


def histories_name(number: int) -> str:
    """Return the name of a shard's input, in the schema `HISTORIES`: all users by id, with or without reviews."""
    return f"histories/shard-{number:05}.parquet"


def shard_name(number: int) -> str:
    """Return the name of a shard's predictions, in the schema `RECOMMENDATIONS`."""
    return f"{SHARDS_FOLDER}/shard-{number:05}.parquet"


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
    """Read a shard's rows in batches in the schema RECOMMENDATIONS, checked: sorted by user and by the order of LISTS.

    Each user has a list of relevance, and no list twice. All rows of a user are in the same batch.

    Raises:
        UserError: The file is not a shard, or a row is invalid.
    """
    before = (shard.first - 1, len(LISTS))
    waiting: pa.RecordBatch | None = None  # the last user's rows so far: the next batch may have more of them
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH_ROWS, columns=RECOMMENDATIONS.names):
                conformed = _conform(batch, RECOMMENDATIONS, path)
                _check_lengths(conformed, path.name)
                before = _check_keys(conformed, path.name, shard, before)
                if not len(conformed):
                    continue
                users = conformed.column("user_id").to_numpy()
                start = 0
                if waiting is not None:
                    start = int(np.searchsorted(users, waiting.column("user_id")[0].as_py(), side="right"))
                    waiting = pa.concat_batches([waiting, conformed.slice(0, start)])
                if start == len(conformed):
                    continue
                if waiting is not None:
                    yield waiting
                end = int(np.searchsorted(users, users[-1]))
                if end > start:
                    yield conformed.slice(start, end - start)
                waiting = conformed.slice(max(start, end))
            if waiting is not None:
                yield waiting
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


@dataclass(frozen=True)
class EqualLists:
    """The rows of a batch that have the same list at the same length, so that their elements form matrices.

    Attributes:
        name: Which of LISTS.
        rows: Their numbers in the batch, int64 [n].
        starts: Where the elements of each row start, int64 [n].
        length: Number of elements of each row.
    """

    name: str
    rows: Int64Array
    starts: Int64Array
    length: int

    def matrix(self, elements: npt.NDArray[Any], length: int | None = None) -> npt.NDArray[Any]:
        """Return the first elements of each row, [n, length]; None takes all.

        Args:
            elements: The elements of all rows of the batch, as `flatten` gives them.
            length: Number of elements, at most `self.length`.
        """
        length = self.length if length is None else length
        if length == 0:
            return np.empty((len(self.rows), 0), elements.dtype)
        # Copies each row as a whole, several times as fast as single elements.
        matrix: npt.NDArray[Any] = np.lib.stride_tricks.sliding_window_view(elements, length)[self.starts]
        return matrix


def equal_lists(batch: pa.RecordBatch) -> Iterator[EqualLists]:
    """Group the rows of a batch in the schema RECOMMENDATIONS by list and length, in ascending order."""
    offsets: Int64Array = batch.column("game_ids").offsets.to_numpy().astype(np.int64)
    lengths = np.diff(offsets)
    width = 1 + int(lengths.max(initial=0))
    keys = _list_codes(batch) * width + lengths
    for key in np.unique(keys).tolist():
        rows: Int64Array = np.flatnonzero(keys == key)
        yield EqualLists(LISTS[key // width], rows, offsets[rows] - offsets[0], key % width)


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
    unknown_lists = lists.filter(pc.invert(pc.is_in(lists["list"], pa.array([POPULAR_LIST, DISCOVERY, NEW_RELEASES]))))
    if len(unknown_lists):
        raise UserError(f"{path.name} has the unknown list {unknown_lists['list'][0].as_py()!r}: {_REMEDY}.")
    if not pc.any(pc.and_(pc.equal(lists["list"], POPULAR_LIST), pc.equal(lists["genre"], ""))).as_py():
        raise UserError(
            f"{path.name} has no overall list of popular games, whose genre is the empty string: {_REMEDY}."
        )
    if not pc.all(pc.is_finite(lists["score"])).as_py():
        raise UserError(f"{path.name} has a score that is not a finite number: {_REMEDY}.")
    for column in ("rank", "game_id"):
        counts = lists.group_by(["list", "genre", column]).aggregate([([], "count_all")])
        duplicates = counts.filter(pc.field("count_all") > 1)
        if len(duplicates):
            name, genre = (duplicates[key][0].as_py() for key in ("list", "genre"))
            raise UserError(
                f"{path.name} has {column} {duplicates[column][0]} twice in the list {name} of the genre {genre!r}: "
                f"{_REMEDY}."
            )
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


def _check_lengths(batch: pa.RecordBatch, shard: str) -> None:
    games, *others = (batch.column(name) for name in _LIST_COLUMNS)
    lengths = pc.list_value_length(games)
    for other in map(pc.list_value_length, others):
        if not lengths.equals(other):
            row = pc.index(pc.not_equal(lengths, other), True).as_py()
            _refuse(batch, shard, row, "games, taste, popularity and reasons that differ in number")
    if games.flatten().null_count:
        element = pc.index(pc.is_null(games.flatten()), True)
        _refuse(batch, shard, pc.list_parent_indices(games)[element.as_py()].as_py(), "a game that is null")


def _check_keys(batch: pa.RecordBatch, name: str, shard: Shard, before: tuple[int, int]) -> tuple[int, int]:
    """Check that users and their lists ascend, after the last user and list of the batch before; return the last."""
    if not len(batch):
        return before
    users, codes = batch.column("user_id").to_numpy(), _list_codes(batch)
    unknown = np.flatnonzero(codes < 0)
    if len(unknown):
        found = batch.column("list")[int(unknown[0])]
        raise UserError(f"{name} has the unknown list {found.as_py()!r}: choose one of {', '.join(LISTS)}.")
    users_before = np.concatenate([[before[0]], users[:-1]])
    codes_before = np.concatenate([[before[1]], codes[:-1]])
    wrong = np.flatnonzero((users < users_before) | ((users == users_before) & (codes <= codes_before)))
    if len(wrong):
        raise UserError(
            f"{name} has the list {LISTS[codes[wrong[0]]]} of user {users[wrong[0]]} twice, out of order or before the "
            f"first of its users, {shard.first}: {_REMEDY} into an empty folder."
        )
    if users[-1] > shard.last:
        raise UserError(f"{name} has user {users[-1]}, but is for those up to {shard.last}: {_REMEDY}.")
    incomplete = np.flatnonzero((users > users_before) & (codes != LISTS.index(RELEVANCE)))
    if len(incomplete):
        raise UserError(f"{name} has no list {RELEVANCE} of user {users[incomplete[0]]}: {_REMEDY}.")
    return int(users[-1]), int(codes[-1])


def _list_codes(batch: pa.RecordBatch) -> Int64Array:
    """Return the place of each row's list among LISTS, -1 if it is unknown."""
    codes: Int64Array = pc.index_in(batch.column("list"), _NAMES).fill_null(-1).to_numpy().astype(np.int64)
    return codes


def _refuse(batch: pa.RecordBatch, shard: str, row: int, what: str) -> NoReturn:
    raise UserError(f"{shard} gives user {batch.column('user_id')[row]} {what}: {_REMEDY}.")


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
    return UserError(f"{path} cannot be read as predictions ({reason}): {_REMEDY}.")
