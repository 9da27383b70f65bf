"""A published shop whose reviews change, its refreshes, and what readers see of them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
from psycopg2.extensions import connection as Connection

from components.extract.extraction import write_snapshot
from components.predict.plan import plan_predictions
from components.predict.prediction import predict_shard
from components.refresh.refresh import Refreshed, refresh_publication
from components.reverse_etl.acceptance import Thresholds
from components.reverse_etl.publication import publish
from steam_recsys.data.predictions import Plan, predictions_uri
from steam_recsys.publications.destinations import DestinationConfig, kept_versions
from steam_recsys.publications.versions import KeptVersion, VersionInfo, find_current

Lists = dict[tuple[int, str], list[int]]
"""The games of each user and list."""

_LISTS = "SELECT user_id, list, game_ids FROM recsys.recommendations"
_POPULAR = "SELECT list, genre, rank, game_id FROM recsys.popular_games ORDER BY list, genre, rank"


@dataclass(frozen=True)
class PublishedShop:
    """A shop, its store and its destinations; snapshots go to new folders below `folder`."""

    config: DestinationConfig
    store: str
    folder: Path

    def extract(self) -> str:
        """Extract a snapshot and return its folder."""
        snapshot = self.folder / f"snapshot-{secrets.token_hex(4)}"
        write_snapshot(self.config.database, snapshot, self.store)
        return str(snapshot)

    def refresh(self, snapshot: str | None = None) -> Refreshed:
        """Refresh the publication, from a new snapshot unless one is given."""
        return refresh_publication(snapshot or self.extract(), self.config.database, self.store, self.config)

    def predict(self, users_per_shard: int = 10, control_share: float = 0.0) -> Plan:
        """Predict for all users from a new snapshot, without publishing."""
        plan = plan_predictions(
            self.extract(), self.store, users_per_shard, control_share=control_share, config=self.config
        )
        for shard in range(len(plan.shards)):
            predict_shard(self.store, plan, shard)
        return plan

    def publish(self, users_per_shard: int = 10, control_share: float = 0.0) -> Plan:
        """Predict and publish."""
        plan = self.predict(users_per_shard, control_share)
        made = VersionInfo(
            plan.version, plan.model_version, plan.snapshot_id, date.fromisoformat(plan.as_of), plan.control_share
        )
        uri = predictions_uri(self.store, plan.version)
        publish(self.config, uri, made, plan.shards, Thresholds(churn_ceiling=1.0))
        return plan

    def predicted(self, plan: Plan) -> tuple[Lists, list[tuple[str, str, int, int]]]:
        """Return the lists of a plan that is predicted and not published, and its fallback lists."""
        folder = Path(predictions_uri(self.store, plan.version))
        rows = pq.read_table(folder / "recommendations").to_pylist()
        popular = pq.read_table(folder / "popular.parquet").sort_by([(name, "ascending") for name in _KEY]).to_pylist()
        return (
            {(row["user_id"], row["list"]): row["game_ids"] for row in rows},
            [tuple(row[name] for name in (*_KEY, "game_id")) for row in popular],
        )

    @property
    def current(self) -> KeptVersion:
        """The current version of the first destination."""
        current = find_current(next(iter(kept_versions(self.config).values())))
        assert current is not None
        return current


_KEY = ("list", "genre", "rank")


def lists_of(connection: Connection) -> Lists:
    """Return what readers see."""
    with connection.cursor() as cursor:
        cursor.execute(_LISTS)
        return {(user, name): games for user, name, games in cursor.fetchall()}


def popular_of(connection: Connection) -> list[tuple[str, str, int, int]]:
    """Return the fallback lists that visitors see."""
    with connection.cursor() as cursor:
        cursor.execute(_POPULAR)
        return cursor.fetchall()


def of_users(lists: Lists, users: set[int]) -> Lists:
    """Return the lists of some users."""
    return {(user, name): games for (user, name), games in lists.items() if user in users}
