"""The stage: one shard of users → their recommendations, in a Parquet file of the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from steam_recsys.arrays import Int32Array, Int64Array
from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories, positions_of
from steam_recsys.data.predictions import (
    CATALOGUE_FILE,
    Plan,
    ShardManifest,
    histories_name,
    predictions_uri,
    sha256_of,
    shard_name,
)
from steam_recsys.data.schemas import RECOMMENDATIONS
from steam_recsys.logging import log, progress
from steam_recsys.model.approximate import with_fitting_search
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.folder import Folder, open_folder
from steam_recsys.storage.model_store import stored_model

RECOMMENDED_GAMES = 50
BATCH_USERS = 8192
SAMPLE_USERS = 512
PROGRESS_USERS = 100_000


@dataclass(frozen=True)
class Predicted:
    """A finished shard.

    Attributes:
        shard: its number.
        users: its users with recommendations.
        search: how their games were found, in words.
        finished_before: whether an earlier run had finished it.
    """

    shard: int
    users: int
    search: str
    finished_before: bool

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for the journal and artifacts."""
        return asdict(self)


def predict_shard(store: str, plan: Plan, shard: int) -> Predicted:
    """Recommend the best unseen games to each user of a shard.

    The shard's file appears whole or not at all, and is the same each time; its manifest follows it. A shard that has
    a manifest is left alone. A user without reviews gets the games that are popular now; a game that the user has
    reviewed, with or without a date, or that is not on offer, is never recommended.

    Args:
        store: the store with the model, the plan's files and, in the end, the shard.
        plan: the publication that the shard is part of.
        shard: its number in the plan.
    """
    folder = open_folder(predictions_uri(store, plan.version))
    if (finished := _finished(folder, plan, shard)) is not None:
        log("predict", f"shard {shard} is finished already")
        return Predicted(shard, finished.rows, finished.search, True)
    catalogue, game_ids = _catalogue(folder, store, plan.model_version)
    rows = 0
    with folder.local_path(histories_name(shard)) as histories, tempfile.NamedTemporaryFile(suffix=".parquet") as local:
        catalogue, search = with_fitting_search(catalogue, lambda: _sample(histories, game_ids), RECOMMENDED_GAMES)
        with pq.ParquetWriter(local.name, RECOMMENDATIONS, compression="zstd") as writer:
            for batch in _recommend(catalogue, game_ids, histories):
                writer.write_batch(batch)
                rows += batch.num_rows
        digest = sha256_of(Path(local.name))
        folder.put(Path(local.name), shard_name(shard))
    ShardManifest(
        plan.version, plan.model_version, plan.snapshot_id, shard, plan.shards[shard], rows, search, digest
    ).write(folder)
    return Predicted(shard, rows, search, False)


def _finished(folder: Folder, plan: Plan, shard: int) -> ShardManifest | None:
    """The manifest of a shard that is there, whole, and was made as the plan says."""
    manifest = ShardManifest.read(folder, shard)
    if manifest is None:
        return None
    made = (manifest.version, manifest.model_version, manifest.snapshot_id, manifest.users)
    if made != (plan.version, plan.model_version, plan.snapshot_id, plan.shards[shard]):
        return None
    with folder.local_path(shard_name(shard)) as path:
        return manifest if manifest.describes(path) else None


def _catalogue(folder: Folder, store: str, model_version: str) -> tuple[Scorer, Int32Array]:
    """The plan's catalogue, and the id of each of its positions."""
    with folder.local_path(CATALOGUE_FILE) as path, stored_model(store, model_version) as model:
        games = pq.read_table(path)
        recommender = TwoTowerArrays.load(model)
    popularity = games["popularity"].combine_chunks().flatten().to_numpy().reshape(len(games), -1).T
    catalogue = recommender.for_catalogue(Games.from_table(games), popularity)
    return catalogue.offering(np.asarray(games["on_offer"])), games["game_id"].to_numpy().astype(np.int32)


def _histories(batch: pa.RecordBatch, game_ids: Int32Array) -> Histories:
    """A batch in the schema HISTORIES."""
    games, recommended, hours = (batch[name] for name in ("game_ids", "recommended", "hours"))
    offsets = np.concatenate([[0], np.cumsum(games.value_lengths().to_numpy())]).astype(np.int64)
    return Histories(
        batch["user_id"].to_numpy(),
        offsets,
        positions_of(games.flatten().to_numpy(), game_ids),
        recommended.flatten().to_numpy(zero_copy_only=False),
        hours.flatten().to_numpy(),
    )


def _sample(path: Path, game_ids: Int32Array) -> Histories:
    """Some users of a file of histories, evenly spread over it."""
    with pq.ParquetFile(path) as file:
        chosen = np.unique(np.linspace(0, file.metadata.num_rows - 1, SAMPLE_USERS).astype(np.int64))
        parts, start = [], 0
        for batch in file.iter_batches(BATCH_USERS):
            mine = chosen[(chosen >= start) & (chosen < start + len(batch))] - start
            parts.append(batch.take(pa.array(mine)))
            start += len(batch)
    return _histories(pa.Table.from_batches(parts).combine_chunks().to_batches()[0], game_ids)


def _recommend(catalogue: Scorer, game_ids: Int32Array, path: Path) -> Iterator[pa.RecordBatch]:
    """Answers to a file of histories, a batch at a time."""
    users = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_USERS):
            yield _answers(catalogue, game_ids, _histories(batch, game_ids))
            if (users + len(batch)) // PROGRESS_USERS > users // PROGRESS_USERS:
                progress("predict", f"{users + len(batch):,} of {file.metadata.num_rows:,} users")
            users += len(batch)


def _answers(catalogue: Scorer, game_ids: Int32Array, history: Histories) -> pa.RecordBatch:
    recommended, scores, because = catalogue.recommend(history, RECOMMENDED_GAMES)
    found = recommended >= 0
    lengths = found.sum(axis=1)
    served = lengths > 0  # not those who have reviewed every game
    lengths = lengths[served]
    reasons = because[found]
    columns = [
        pa.array(history.users[served], pa.int64()),
        _lists(pa.array(game_ids[recommended[found]], pa.int32()), lengths),
        _lists(pa.array(scores[found], pa.float32()), lengths),
        _lists(pa.array(game_ids[reasons], pa.int32(), mask=reasons < 0), lengths),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=RECOMMENDATIONS)


def _lists(values: pa.Array, lengths: Int64Array) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
