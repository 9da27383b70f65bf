"""Small folders of predictions, and how they are published."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2.extensions import connection as Connection

from components.reverse_etl.acceptance import DEFAULT, Thresholds
from components.reverse_etl.publication import Publication, publish
from steam_recsys.data.predictions import ShardManifest, sha256_of
from steam_recsys.data.schemas import POPULAR, RECOMMENDATIONS
from steam_recsys.publications.destinations import DestinationConfig
from steam_recsys.publications.versions import VersionInfo
from steam_recsys.storage.folder import open_folder
from tests.shop import add_game, add_user

Row = tuple[int, Sequence[int], Sequence[float], Sequence[int | None]]
"""User, games, scores, because."""

Popular = tuple[str, int, int, float]
"""Genre, rank, game, score."""


def write_predictions(root: Path, shards: Sequence[Sequence[Row]], popular: Sequence[Popular]) -> Path:
    """A folder of predictions; itself."""
    (root / "recommendations").mkdir(parents=True)
    for number, rows in enumerate(shards):
        _write(root / "recommendations" / f"shard-{number:05d}.parquet", rows, RECOMMENDATIONS)
    _write(root / "popular.parquet", popular, POPULAR)
    write_manifests(root)
    return root


def write_manifests(root: Path) -> None:
    """Say of each shard that there is that it is finished as it is."""
    for number, path in enumerate(sorted((root / "recommendations").iterdir())):
        manifest = ShardManifest("v1", "m1", "s1", number, (0, 0), 0, "", sha256_of(path))
        manifest.write(open_folder(root))


def overall(games: Sequence[int]) -> list[Popular]:
    """An overall list: the games in the order given."""
    return [("", rank, game, float(100 - rank)) for rank, game in enumerate(games, start=1)]


def publish_version(
    database: str | DestinationConfig,
    predictions: Path,
    version: str = "v1",
    ranges: Sequence[tuple[int, int]] | None = None,
    thresholds: Thresholds = DEFAULT,
) -> Publication:
    """Publish the shards that there are, with a model, a snapshot and a day that do not matter.

    Args:
        database: where to publish; a reference is a PostgreSQL's.
        predictions: the folder.
        version: the version's name.
        ranges: each shard's first and last user; None takes them as they are in the files.
        thresholds: Acceptance's parameters.
    """
    config = DestinationConfig(database) if isinstance(database, str) else database
    info = VersionInfo(version, "m1", "s1", date(2024, 1, 1))
    return publish(config, str(predictions), info, ranges or user_ranges(predictions), thresholds)


def user_ranges(predictions: Path) -> list[tuple[int, int]]:
    """The first and the last user of each shard; a shard without users is for the next one."""
    ranges = [(0, 0)]
    for path in sorted((predictions / "recommendations").glob("*")):
        users = pq.read_table(path, columns=["user_id"])["user_id"].to_pylist() or [ranges[-1][1] + 1]
        ranges.append((users[0], users[-1]))
    return ranges[1:]


def marked(root: Path, connection: Connection, mark: float, users: int) -> Path:
    """Predictions for the shop's first users, two games each, in which every score is the mark."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM steam.users")
        for number in range(cursor.fetchone()[0], users):
            add_user(connection, f"user {number}")
        cursor.execute("SELECT user_id FROM steam.users ORDER BY user_id LIMIT %s", [users])
        ids = [user for (user,) in cursor.fetchall()]
        cursor.execute("SELECT game_id FROM steam.games ORDER BY game_id")
        games = [game for (game,) in cursor.fetchall()]
    games += [add_game(connection, f"Game {number}") for number in range(len(games), 4)]
    rows: list[Row] = [(user, games[:2], [mark, mark], [games[3], None]) for user in ids]
    return write_predictions(root, [rows[:1], rows[1:]], [("", 1, games[2], mark)])


def _write(path: Path, rows: Sequence[Sequence[Any]], schema: pa.Schema) -> None:
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in schema]
    pq.write_table(pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema), path)
