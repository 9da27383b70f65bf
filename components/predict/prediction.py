"""The second step of prediction: the recommendations of one shard of users, as a Parquet file in the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from steam_recsys.arrays import Int32Array, offsets_from_lengths
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
from steam_recsys.data.schemas import RECOMMENDATIONS, list_array
from steam_recsys.logging import log, progress
from steam_recsys.model.approximate import choose_retrieval
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.folder import Folder, open_folder
from steam_recsys.storage.model_store import stored_model

RECOMMENDED_GAMES = 50
BATCH_USERS = 8192
SAMPLE_USERS = 512
PROGRESS_USERS = 100_000


@dataclass(frozen=True)
class PredictedShard:
    """A finished shard.

    Attributes:
        shard: Number of the shard.
        users: Number of users with recommendations.
        search: How games were retrieved, as text.
        finished_before: Whether an earlier run had already finished it.
    """

    shard: int
    users: int
    search: str
    finished_before: bool

    def facts(self) -> dict[str, Any]:
        """Return plain values for the journal and artifacts."""
        return asdict(self)


def predict_shard(store: str, plan: Plan, shard: int) -> PredictedShard:
    """Recommend the best new games to each user of a shard.

    Games that are not available, and games that the user has reviewed, with or without a date, are never recommended. A
    user without reviews gets the games that are popular now. The same plan gives the same file, which appears whole or
    not at all; its manifest follows it. A shard that has a manifest is not predicted again.

    Args:
        store: Store with the model and the plan's files; the shard is written to it.
        plan: The publication that the shard belongs to.
        shard: Number of the shard in the plan.
    """
    # 1. Return the result of an earlier run, if it is complete.
    folder = open_folder(predictions_uri(store, plan.version))
    if (finished := _finished(folder, plan, shard)) is not None:
        log("predict", f"shard {shard} is already finished")
        return PredictedShard(shard, finished.rows, finished.search, finished_before=True)

    # 2. Load the model for the plan's catalogue.
    scorer, game_ids = _load_scorer(folder, store, plan.model_version)

    # 3. Recommend games to the users, batch by batch.
    rows = 0
    with folder.local_path(histories_name(shard)) as histories, tempfile.NamedTemporaryFile(suffix=".parquet") as local:
        scorer, search = choose_retrieval(scorer, lambda: _sample(histories, game_ids), RECOMMENDED_GAMES)
        with pq.ParquetWriter(local.name, RECOMMENDATIONS, compression="zstd") as writer:
            for batch in _recommend(scorer, game_ids, histories):
                writer.write_batch(batch)
                rows += batch.num_rows
        digest = sha256_of(Path(local.name))
        folder.put(Path(local.name), shard_name(shard))

    # 4. Write the manifest last: a shard without one is not finished.
    ShardManifest(
        version=plan.version,
        model_version=plan.model_version,
        snapshot_id=plan.snapshot_id,
        shard=shard,
        users=plan.shards[shard],
        rows=rows,
        search=search,
        sha256=digest,
    ).write(folder)
    return PredictedShard(shard, rows, search, finished_before=False)


def _finished(folder: Folder, plan: Plan, shard: int) -> ShardManifest | None:
    """Return the manifest of a shard if its file is complete and belongs to the plan."""
    manifest = ShardManifest.read(folder, shard)
    if manifest is None:
        return None
    made_from = (manifest.version, manifest.model_version, manifest.snapshot_id, manifest.users)
    if made_from != (plan.version, plan.model_version, plan.snapshot_id, plan.shards[shard]):
        return None
    with folder.local_path(shard_name(shard)) as path:
        return manifest if manifest.describes(path) else None


def _load_scorer(folder: Folder, store: str, model_version: str) -> tuple[Scorer, Int32Array]:
    """Load the model for the plan's catalogue, and the game ID of each catalogue position."""
    with folder.local_path(CATALOGUE_FILE) as path, stored_model(store, model_version) as model:
        games = pq.read_table(path)
        two_tower = TwoTowerArrays.load(model)
    popularity = games["popularity"].combine_chunks().flatten().to_numpy().reshape(len(games), -1).T
    scorer = two_tower.for_catalogue(Games.from_table(games), popularity)
    return scorer.with_available(np.asarray(games["available"])), games["game_id"].to_numpy().astype(np.int32)


def _sample(path: Path, game_ids: Int32Array) -> Histories:
    """Read the histories of some users, spread evenly over a file."""
    with pq.ParquetFile(path) as file:
        sampled = np.unique(np.linspace(0, file.metadata.num_rows - 1, SAMPLE_USERS).astype(np.int64))
        parts, start = [], 0
        for batch in file.iter_batches(BATCH_USERS):
            rows = sampled[(sampled >= start) & (sampled < start + len(batch))] - start
            parts.append(batch.take(pa.array(rows)))
            start += len(batch)
    return _histories(pa.Table.from_batches(parts).combine_chunks().to_batches()[0], game_ids)


def _recommend(scorer: Scorer, game_ids: Int32Array, path: Path) -> Iterator[pa.RecordBatch]:
    """Recommend games for a file of histories, a batch at a time."""
    users = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_USERS):
            yield _recommendations(scorer, game_ids, _histories(batch, game_ids))
            if (users + len(batch)) // PROGRESS_USERS > users // PROGRESS_USERS:
                progress("predict", f"{users + len(batch):,} of {file.metadata.num_rows:,} users")
            users += len(batch)


def _histories(batch: pa.RecordBatch, game_ids: Int32Array) -> Histories:
    """Convert a batch in the schema HISTORIES to catalogue positions."""
    games, recommended, hours = (batch[name] for name in ("game_ids", "recommended", "hours"))
    return Histories(
        batch["user_id"].to_numpy(),
        offsets_from_lengths(games.value_lengths().to_numpy()),
        positions_of(games.flatten().to_numpy(), game_ids),
        recommended.flatten().to_numpy(zero_copy_only=False),
        hours.flatten().to_numpy(),
    )


def _recommendations(scorer: Scorer, game_ids: Int32Array, history: Histories) -> pa.RecordBatch:
    """Recommend games to a batch of users, as rows in the schema RECOMMENDATIONS."""
    recommended, scores, because = scorer.recommend(history, RECOMMENDED_GAMES)
    found = recommended >= 0
    lengths = found.sum(axis=1)
    served = lengths > 0  # users who have reviewed every game get no row
    offsets = offsets_from_lengths(lengths[served])
    reasons = because[found]
    columns = [
        pa.array(history.users[served], pa.int64()),
        list_array(offsets, pa.array(game_ids[recommended[found]], pa.int32())),
        list_array(offsets, pa.array(scores[found], pa.float32())),
        list_array(offsets, pa.array(game_ids[reasons], pa.int32(), mask=reasons < 0)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=RECOMMENDATIONS)
