"""Small folders of predictions, and functions that publish them."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2.extensions import connection as Connection

from components.reverse_etl.acceptance import Thresholds
from components.reverse_etl.publication import Publication, publish
from steam_recsys.data.predictions import ShardManifest
from steam_recsys.data.schemas import LISTS, POPULAR, POPULAR_LIST, RECOMMENDATIONS, RELEVANCE
from steam_recsys.publications.destinations import DestinationConfig
from steam_recsys.publications.versions import VersionInfo
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import FileDigest, complete_artifact
from tests.shop import add_game, add_user

SAME_FOR_ALL = Thresholds(overlap_ceiling=1.0)
"""Acceptance for predictions in which all users have the same games."""

Row = tuple[int, Sequence[int], Sequence[float], Sequence[int | None]]
"""A list of relevance whose scores are all taste: user, games, scores, because."""

ListRow = tuple[int, str, Sequence[int], Sequence[float], Sequence[float], Sequence[int | None]]
"""Any list: user, list, games, taste, popularity, because."""

Popular = tuple[str, int, int, float]
"""A rank of a list of popular games: genre, rank, game, score."""

Fallback = tuple[str, str, int, int, float]
"""A rank of any fallback list: list, genre, rank, game, score."""


def write_predictions(
    root: Path, shards: Sequence[Sequence[Row | ListRow]], popular: Sequence[Popular | Fallback]
) -> Path:
    """Write a folder of predictions and return it."""
    (root / "recommendations").mkdir(parents=True)
    for number, rows in enumerate(shards):
        _write(root / "recommendations" / f"shard-{number:05d}.parquet", list(map(_list_row, rows)), RECOMMENDATIONS)
    fallback = [row if len(row) == len(POPULAR) else (POPULAR_LIST, *row) for row in popular]
    _write(root / "popular.parquet", fallback, POPULAR)
    write_manifests(root)
    return root


def lists_of(user: int, **lists: Sequence[int]) -> list[ListRow]:
    """Return rows of a user's lists by name, without reasons; in each the first game has the highest score."""
    return [
        (user, name, lists[name], [float(len(lists[name]) - n) for n in range(len(lists[name]))],
         [0.0] * len(lists[name]), [None] * len(lists[name]))
        for name in LISTS if name in lists
    ]  # fmt: skip


def write_manifests(root: Path) -> None:
    """Write a manifest for each shard in the folder, and that of the folder."""
    for number, path in enumerate(sorted((root / "recommendations").iterdir())):
        manifest = ShardManifest("v1", "m1", "s1", number, (0, 0), 0, "", FileDigest.from_path(path).sha256)
        manifest.write(open_folder(root))
    complete_artifact(root)


def overall(games: Sequence[int]) -> list[Popular]:
    """Return an overall list of popular games in the given order."""
    return [("", rank, game, float(100 - rank)) for rank, game in enumerate(games, start=1)]


def publish_version(
    database: str | DestinationConfig,
    predictions: Path,
    version: str = "v1",
    ranges: Sequence[tuple[int, int]] | None = None,
    thresholds: Thresholds = SAME_FOR_ALL,
    control_share: float = 0.0,
) -> Publication:
    """Publish the shards in the store, with an arbitrary model, snapshot and day.

    Args:
        database: Where to publish; a plain reference names a PostgreSQL database.
        predictions: The folder.
        version: Name of the version.
        ranges: First and last user of each shard; None takes them as they are in the files.
        thresholds: Acceptance's parameters.
        control_share: Share of the users in the control group; the predictions must have none of them.
    """
    config = DestinationConfig(database) if isinstance(database, str) else database
    info = VersionInfo(version, "m1", "s1", date(2024, 1, 1), control_share)
    return publish(config, str(predictions), info, ranges or user_ranges(predictions), thresholds)


def user_ranges(predictions: Path) -> list[tuple[int, int]]:
    """Return the first and last user of each shard; an empty shard gets the user after the previous shard."""
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


def _list_row(row: Row | ListRow) -> ListRow:
    if len(row) == len(RECOMMENDATIONS):
        return row
    user, games, scores, because = row
    return user, RELEVANCE, games, scores, [0.0] * len(scores), because


def _write(path: Path, rows: Sequence[Sequence[Any]], schema: pa.Schema) -> None:
    columns = list(zip(*rows, strict=True)) if rows else [[] for _ in schema]
    pq.write_table(pa.table([pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)], schema=schema), path)
