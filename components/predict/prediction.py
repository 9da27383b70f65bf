"""The second step of prediction: the recommendations of one shard of users, as a Parquet file in the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steam_recsys.arrays import Int32Array, Int64Array, offsets_from_lengths
from steam_recsys.data.histories import Histories, positions_of
from steam_recsys.data.interactions import day_of
from steam_recsys.data.predictions import (
    CATALOGUE_FILE,
    Plan,
    ShardManifest,
    histories_name,
    open_plan,
    predictions_uri,
    shard_name,
)
from steam_recsys.data.schemas import RECOMMENDATIONS, RELEVANCE
from steam_recsys.errors import ArtifactError, UserError
from steam_recsys.logging import log, progress
from steam_recsys.model.approximate import choose_retrieval
from steam_recsys.model.batch import BATCH_USERS, BatchRecommender
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.publications.control_group import in_control_group
from steam_recsys.publications.destinations import DestinationConfig, is_published
from steam_recsys.storage.folder import Folder, open_folder
from steam_recsys.storage.manifest import Artifact, FileDigest
from steam_recsys.storage.model_store import model_uri

SAMPLE_USERS = 512
PROGRESS_USERS = 100_000

NOT_NEEDED = "none, the version is published already"
"""The `search` of a shard of a version that is published already."""


@dataclass(frozen=True)
class PredictedShard:
    """A finished shard.

    Attributes:
        shard: Number of the shard.
        users: Number of users with recommendations; 0 if the version is published already.
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


def predict_shard(store: str, plan: Plan, shard: int, config: DestinationConfig | None = None) -> PredictedShard:
    """Recommend new games to each user of a shard, in four lists.

    Games that are not available, and games that the user has dismissed or reviewed, with or without a date, are never
    recommended. A user without reviews gets the games that are popular now, and a user of the control group gets no
    lists. The same plan gives the same file, which appears whole or not at all; its manifest follows it. A shard that
    has a manifest is not predicted again, and nothing is predicted if the version is published already, also if another
    run publishes it, and removes the plan's files, in the meantime.

    Args:
        store: Store with the model and the plan's files; the shard is written to it.
        plan: The publication that the shard belongs to.
        shard: Number of the shard in the plan.
        config: Destinations that may have the version already; None if it is published nowhere.

    Raises:
        UserError: A file of the plan or of the model is missing or damaged.
    """
    try:
        return _predict(store, plan, shard)
    except (UserError, OSError):
        with suppress(UserError):  # what the shard failed from is more telling than a database that does not answer
            if config and is_published(config, plan.version):
                log("predict", f"shard {shard} is not needed, publication {plan.version} is already published")
                return PredictedShard(shard, 0, NOT_NEEDED, finished_before=True)
        raise


def _predict(store: str, plan: Plan, shard: int) -> PredictedShard:
    """Predict a shard, unless it is finished."""
    # 1. Return the result of an earlier run, if it is complete.
    folder = open_folder(predictions_uri(store, plan.version))
    if (finished := _finished(folder, plan, shard)) is not None:
        log("predict", f"shard {shard} is already finished")
        return PredictedShard(shard, finished.users, finished.search, finished_before=True)

    # 2. Load the model for the plan's catalogue.
    planned = open_plan(store, plan.version)
    recommender = _load_recommender(planned, store, plan)

    # 3. Recommend games to the users, batch by batch.
    users = 0
    with planned.file(histories_name(shard)) as histories, tempfile.NamedTemporaryFile(suffix=".parquet") as local:
        scorer, search = choose_retrieval(
            recommender.scorer, lambda: _sample(histories, recommender.game_ids), recommender.lists
        )
        with pq.ParquetWriter(local.name, RECOMMENDATIONS, compression="zstd") as writer:
            for batch in _recommend(replace(recommender, scorer=scorer), histories, plan.control_share):
                writer.write_table(batch)
                users += int(pc.sum(pc.equal(batch["list"], RELEVANCE)).as_py() or 0)
        digest = FileDigest.from_path(Path(local.name)).sha256
        folder.put(Path(local.name), shard_name(shard))

    # 4. Write the manifest last: a shard without one is not finished.
    ShardManifest(
        version=plan.version,
        model_version=plan.model_version,
        snapshot_id=plan.snapshot_id,
        shard=shard,
        user_range=plan.shards[shard],
        users=users,
        search=search,
        sha256=digest,
    ).write(folder)
    return PredictedShard(shard, users, search, finished_before=False)


def _finished(folder: Folder, plan: Plan, shard: int) -> ShardManifest | None:
    """Return the manifest of a shard if its file is complete and belongs to the plan."""
    try:
        manifest = ShardManifest.read(folder, shard)
    except ArtifactError as error:
        log("predict", str(error))
        return None
    if manifest is None:
        return None
    made_from = (manifest.version, manifest.model_version, manifest.snapshot_id, manifest.user_range)
    if made_from != (plan.version, plan.model_version, plan.snapshot_id, plan.shards[shard]):
        return None
    with folder.local_path(shard_name(shard)) as path:
        return manifest if manifest.describes(path) else None


def _load_recommender(planned: Artifact, store: str, plan: Plan) -> BatchRecommender:
    """Load the model for the plan's catalogue."""
    with planned.file(CATALOGUE_FILE) as path:
        catalogue = pq.read_table(path)
    two_tower = TwoTowerArrays.load(model_uri(store, plan.model_version))
    as_of = day_of(date.fromisoformat(plan.as_of))
    return BatchRecommender.from_catalogue(two_tower, catalogue, as_of, plan.new_release_days)


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


def _recommend(recommender: BatchRecommender, path: Path, control_share: float) -> Iterator[pa.Table]:
    """Recommend games for a file of histories, a batch at a time, except to the users of the control group."""
    users = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(BATCH_USERS):
            served = batch.filter(pa.array(~in_control_group(batch["user_id"].to_numpy(), control_share)))
            yield recommender.recommend(_histories(served, recommender.game_ids), _dismissed(served))
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


def _dismissed(batch: pa.RecordBatch) -> tuple[Int64Array, Int32Array]:
    """Return the users of a batch in the schema HISTORIES, once per game that they have dismissed, and these games."""
    users = np.repeat(batch["user_id"].to_numpy(), batch["dismissed"].value_lengths().to_numpy())
    return users, batch["dismissed"].flatten().to_numpy()
