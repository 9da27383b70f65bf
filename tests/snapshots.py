"""Snapshots made from rows, for tests of the stages after extraction."""

from collections.abc import Container, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steam_recsys.data.schemas import TABLES
from steam_recsys.data.snapshot import DataFile, Manifest, Snapshot

Review = tuple[int | None, int, date | None]
"""User id, game id and day."""


def write_snapshot_of(
    root: Path,
    reviews: Sequence[Review],
    *,
    n_games: int | None = None,
    genres: dict[int, list[str]] | None = None,
    users: Sequence[int] | None = None,
    not_recommended: Container[tuple[int | None, int]] = (),
    about: Mapping[int, Mapping[str, Any]] | None = None,
) -> Snapshot:
    """Write a complete snapshot with the given reviews.

    Args:
        root: Folder of the snapshot.
        reviews: The reviews, in order.
        n_games: Number of games, numbered from 1; None for the highest id in the reviews.
        genres: Genres by game id.
        users: User ids; None for the users of the reviews.
        not_recommended: Pairs of user and game whose review does not recommend the game.
        about: Other columns by game id.
    """
    known = sorted({user for user, _, _ in reviews if user is not None})
    n_games = n_games or max(game for _, game, _ in reviews)
    rows: dict[str, list[dict[str, Any]]] = {
        "reviews": [
            {
                "review_id": number, "user_id": user, "game_id": game, "hours_played": 1.0, "helpful": 0, "funny": 0,
                "recommended": (user, game) not in not_recommended, "reviewed_on": day,
                "updated_at": datetime(2020, 1, 1, tzinfo=UTC),
            }
            for number, (user, game, day) in enumerate(reviews, start=1)
        ],
        "users": [{"user_id": user} for user in (known if users is None else users)],
        "games": [
            {
                "game_id": game, "name": f"Game {game}", "released_on": None, "delisted_on": None,
                "genres": (genres or {}).get(game, []), "developers": [], "publishers": [],
                "ram_gb": None, "storage_gb": None, "os": None, "description": None,
            } | dict((about or {}).get(game, {}))
            for game in range(1, n_games + 1)
        ],
        "rankings": [],
    }  # fmt: skip
    files = {}
    for table, table_rows in rows.items():
        path = root / table / "part-00000.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(table_rows, schema=TABLES[table]), path)
        files[table] = [DataFile.from_path(root, path, len(table_rows))]
    Manifest("1:1:", "2025-01-01T00:00:00+00:00", None, files).write(root)
    return Snapshot.open(root)
