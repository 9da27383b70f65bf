"""What a publication will hold, decided before it is computed: its version, its shards of users, its catalogue."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.predict.fallback import fallback_lists
from components.shared.code import code_version
from components.shared.console import log
from components.shared.errors import UserError
from components.shared.games import COLUMNS
from components.shared.interactions import UNDATED, date_of, load_interactions
from components.shared.model_store import champion
from components.shared.popularity import popularity, popularity_as_of, recent_popularity
from components.shared.predictions import CATALOGUE_FILE, POPULAR_FILE, predictions_uri
from components.shared.snapshot import Snapshot
from components.shared.storage import open_folder


@dataclass(frozen=True)
class Plan:
    """A publication to be: the champion and the snapshot that it is made from, and its shards.

    `as_of` is the ISO date of the day after the newest review, `shards` the first and last user id of each shard.
    """

    version: str
    model_version: str
    snapshot_id: str
    as_of: str
    shards: list[tuple[int, int]]

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for the journal and artifacts."""
        return {**asdict(self), "shards": len(self.shards)}

    def write(self, path: str | Path) -> None:
        """Write the plan as JSON."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, path: str | Path) -> Plan:
        """Read what `write` wrote.

        Raises:
            UserError: there is no plan.
        """
        try:
            content = json.loads(Path(path).read_text())
        except FileNotFoundError:
            raise UserError(f"{path} holds no plan: run the inference pipeline.") from None
        shards = [(first, last) for first, last in content.pop("shards")]
        return cls(**content, shards=shards)


def plan_predictions(snapshot: str | Path, store: str, users_per_shard: int) -> Plan:
    """Decide on a publication and write its catalogue's popularity and its fallback lists to the store.

    The same champion, snapshot and code make the same version: a run that is started again continues it.

    Raises:
        UserError: the model store has no champion, or `users_per_shard` is not positive.
    """
    if users_per_shard < 1:
        raise UserError(f"users_per_shard is {users_per_shard}: give a number from 1.")
    opened = Snapshot.open(snapshot)
    model_version = champion(store).version
    games = opened.table("games", COLUMNS)
    interactions = load_interactions(opened)
    game_ids = games["game_id"].to_numpy()
    as_of = int(interactions.days.max(initial=UNDATED)) + 1 if interactions.dated.any() else 0
    plan = Plan(
        version=_version(as_of, model_version, opened.manifest.snapshot_id, users_per_shard),
        model_version=model_version,
        snapshot_id=opened.manifest.snapshot_id,
        as_of=date_of(as_of).isoformat(),
        shards=_shards(opened, users_per_shard),
    )
    recent = recent_popularity(interactions, game_ids, as_of)
    total = popularity(interactions, game_ids)
    folder = open_folder(predictions_uri(store, plan.version))
    decayed = popularity_as_of(interactions, game_ids, as_of)
    lists = pa.FixedSizeListArray.from_arrays(decayed.T.reshape(-1), len(decayed))
    folder.write(CATALOGUE_FILE, _parquet(games.append_column("popularity", lists)))
    folder.write(POPULAR_FILE, _parquet(fallback_lists(games, opened.table("rankings"), recent, total)))
    log("plan", f"publication {plan.version}: model {model_version}, {len(plan.shards)} shards of users")
    return plan


def _shards(snapshot: Snapshot, users_per_shard: int) -> list[tuple[int, int]]:
    users = np.sort(snapshot.table("users")["user_id"].to_numpy())
    starts = range(0, len(users), users_per_shard)
    return [(int(users[start]), int(users[min(start + users_per_shard, len(users)) - 1])) for start in starts]


def _version(as_of: int, model_version: str, snapshot_id: str, users_per_shard: int) -> str:
    made_from = f"{model_version} {snapshot_id} {code_version()} {users_per_shard}"
    newest = date_of(max(as_of - 1, 0))
    return f"{newest:%Y%m%d}-{hashlib.sha256(made_from.encode()).hexdigest()[:8]}"


def _parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd")
    return content.getvalue()
