"""The stage: one shard of users → their recommendations, in a Parquet file of the store."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.predict.catalogue import Catalogue
from components.predict.plan import Plan
from components.predict.recommender import Recommender
from components.shared.console import progress
from components.shared.games import Games
from components.shared.histories import Histories
from components.shared.interactions import Ints, Longs, load_interactions
from components.shared.model_store import stored_model
from components.shared.predictions import CATALOGUE_FILE, predictions_uri, shard_name
from components.shared.schemas import RECOMMENDATIONS
from components.shared.snapshot import Snapshot
from components.shared.storage import open_folder

RECOMMENDED_GAMES = 50
BATCH_USERS = 1024
PROGRESS_USERS = 100_000


@dataclass(frozen=True)
class Predicted:
    """A finished shard: its number and its users."""

    shard: int
    users: int

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for the journal and artifacts."""
        return asdict(self)


def predict_shard(snapshot: str | Path, store: str, plan: Plan, shard: int) -> Predicted:
    """Recommend the best unseen games to each user of a shard.

    The shard's file appears whole or not at all, and is the same each time. A user without reviews gets the games that
    are popular now; a game that the user has reviewed, with or without a date, is never recommended.

    Args:
        snapshot: the snapshot's folder.
        store: the store with the model, to which the shard is written.
        plan: the publication that the shard is part of.
        shard: its number in the plan.
    """
    folder = open_folder(predictions_uri(store, plan.version))
    opened = Snapshot.open(snapshot)
    with folder.fetched(CATALOGUE_FILE) as path, stored_model(store, plan.model_version) as model:
        games = pq.read_table(path)
        recommender = Recommender.load(model)
    game_ids = games["game_id"].to_numpy().astype(np.int32)
    popularity = games["popularity"].combine_chunks().flatten().to_numpy().reshape(len(games), -1).T
    catalogue = recommender.for_catalogue(Games.of(games), popularity)
    history = _histories(opened, plan.shards[shard], game_ids)
    with tempfile.NamedTemporaryFile(suffix=".parquet") as local:
        with pq.ParquetWriter(local.name, RECOMMENDATIONS, compression="zstd") as writer:
            for batch in _recommend(catalogue, game_ids, history):
                writer.write_batch(batch)
        folder.put(Path(local.name), shard_name(shard))
    return Predicted(shard, len(history))


def _histories(snapshot: Snapshot, users: tuple[int, int], game_ids: Ints) -> Histories:
    """The histories of the users of a range, ordered, without reviews too."""
    in_range = (pc.field("user_id") >= users[0]) & (pc.field("user_id") <= users[1])
    ids = np.sort(snapshot.dataset("users").to_table(filter=in_range)["user_id"].to_numpy())
    interactions = load_interactions(snapshot, users=users)
    offsets = np.append(np.searchsorted(interactions.users, ids), len(interactions)).astype(np.int64)
    positions = np.searchsorted(game_ids, interactions.games).astype(np.int32)
    return Histories(ids, offsets, positions, interactions.recommended, interactions.hours)


def _recommend(catalogue: Catalogue, game_ids: Ints, history: Histories) -> Iterator[pa.RecordBatch]:
    users = history.users
    for start in range(0, len(users), BATCH_USERS):
        end = min(start + BATCH_USERS, len(users))
        recommended, scores, because = catalogue.recommend(history.take(np.arange(start, end)), RECOMMENDED_GAMES)
        found = recommended >= 0
        lengths = found.sum(axis=1)
        served = lengths > 0  # not those who have reviewed every game
        lengths = lengths[served]
        reasons = because[found]
        columns = [
            pa.array(users[start:end][served], pa.int64()),
            _lists(pa.array(game_ids[recommended[found]], pa.int32()), lengths),
            _lists(pa.array(scores[found], pa.float32()), lengths),
            _lists(pa.array(game_ids[reasons], pa.int32(), mask=reasons < 0), lengths),
        ]
        if end // PROGRESS_USERS > start // PROGRESS_USERS:
            progress("predict", f"{end:,} of {len(users):,} users")
        yield pa.RecordBatch.from_arrays(columns, schema=RECOMMENDATIONS)


def _lists(values: pa.Array, lengths: Longs) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)
