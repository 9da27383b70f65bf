"""What a publication will hold, decided before it is computed: its version, its shards of users, its catalogue."""

from __future__ import annotations

import hashlib
import io
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.predict.fallback import fallback_lists
from components.predict.shards import ReviewsByShard, histories_table, users_by_shard
from components.predict.stale_predictions import remove_stale_predictions
from steam_recsys import code_version
from steam_recsys.arrays import Float64Array, Int32Array
from steam_recsys.data.games import GAME_COLUMNS
from steam_recsys.data.interactions import UNDATED, date_of, newest_day
from steam_recsys.data.popularity import DECAY_DAYS, DECAYS, popularity, popularity_as_of
from steam_recsys.data.predictions import CATALOGUE_FILE, PLAN_FILE, POPULAR_FILE, Plan, histories_name, predictions_uri
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.model.availability import on_offer
from steam_recsys.storage.folder import Folder, open_folder
from steam_recsys.storage.model_store import champion

ROW_GROUP_USERS = 8192
"""Users that a shard reads, and answers, at a time."""


def plan_predictions(snapshot: str | Path, store: str, users_per_shard: int) -> Plan:
    """Decide on a publication and write to the store all that it is made from, but for the model.

    That is the catalogue with its popularity, the fallback lists, and a file of histories a shard, so that a shard
    reads no more than its own. Memory grows with the catalogue and with the users of a shard, not with all users.

    The same champion, snapshot and code make the same version: a run that is started again continues it, and does not
    write again what is complete. What other versions left unpublished for two days goes.

    Raises:
        UserError: the model store has no champion, or `users_per_shard` is not positive.
    """
    if users_per_shard < 1:
        raise UserError(f"users_per_shard is {users_per_shard}: give a number from 1.")
    opened = Snapshot.open(snapshot)
    model_version = champion(store).version
    newest = newest_day(opened)
    as_of = 0 if newest == UNDATED else newest + 1
    plan = Plan(
        version=_version(as_of, model_version, opened.manifest.snapshot_id, users_per_shard),
        model_version=model_version,
        snapshot_id=opened.manifest.snapshot_id,
        as_of=date_of(as_of).isoformat(),
        shards=[(int(users[0]), int(users[-1])) for users in users_by_shard(opened, users_per_shard)],
    )
    remove_stale_predictions(store, plan.version)
    folder = open_folder(predictions_uri(store, plan.version))
    if folder.read(PLAN_FILE) == plan.content():
        log("plan", f"publication {plan.version} is planned already")
        return plan
    games = opened.table("games", [*GAME_COLUMNS, "delisted_on"])
    decayed, total = _write_histories(opened, folder, plan.shards, users_per_shard, games["game_id"].to_numpy(), as_of)
    recent = decayed[DECAYS.index(DECAY_DAYS)]
    offered = on_offer(games, None if newest == UNDATED else date_of(as_of))
    popular = pa.FixedSizeListArray.from_arrays(decayed.T.reshape(-1), len(DECAYS))
    catalogue = games.append_column("popularity", popular).append_column("on_offer", pa.array(offered))
    lists = fallback_lists(games.filter(offered), opened.table("rankings"), recent[offered], total[offered])
    folder.write(CATALOGUE_FILE, _parquet(catalogue))
    folder.write(POPULAR_FILE, _parquet(lists))
    folder.write(PLAN_FILE, plan.content())
    log("plan", f"publication {plan.version}: model {model_version}, {len(plan.shards)} shards of users")
    return plan


def _write_histories(
    snapshot: Snapshot,
    folder: Folder,
    shards: list[tuple[int, int]],
    users_per_shard: int,
    game_ids: Int32Array,
    as_of: int,
) -> tuple[Float64Array, Float64Array]:
    """Write each shard's histories; the games' popularity by decay and without any look at time, over all shards."""
    decayed, total = np.zeros((len(DECAYS), len(game_ids))), np.zeros(len(game_ids))
    reviews = ReviewsByShard(snapshot, shards)
    for shard, users in enumerate(users_by_shard(snapshot, users_per_shard)):
        interactions = reviews.interactions(shard)
        decayed = popularity_as_of(interactions, game_ids, as_of, initial=decayed)
        total = popularity(interactions, game_ids, initial=total)
        with tempfile.NamedTemporaryFile(suffix=".parquet") as local:
            table = histories_table(users, interactions)
            pq.write_table(table, local.name, compression="zstd", row_group_size=ROW_GROUP_USERS)
            folder.put(Path(local.name), histories_name(shard))
    return decayed, total


def _version(as_of: int, model_version: str, snapshot_id: str, users_per_shard: int) -> str:
    made_from = f"{model_version} {snapshot_id} {code_version()} {users_per_shard}"
    newest = date_of(max(as_of - 1, 0))
    return f"{newest:%Y%m%d}-{hashlib.sha256(made_from.encode()).hexdigest()[:8]}"


def _parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd")
    return content.getvalue()
