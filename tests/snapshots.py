"""Snapshots made straight from rows, for the tests of the stages after extraction."""

from collections.abc import Container, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from steam_recsys.data.schemas import TABLES
from steam_recsys.data.snapshot import File, Manifest, Snapshot

Review = tuple[int | None, int, date | None]
"""User, game, day."""


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
    """A complete snapshot of reviews, in the order given; games are numbered from 1.

    All of them recommend their game but those of the pairs of user and game in `not_recommended`. `about` holds what
    else is known of some games, by column.
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
    for table, listed in rows.items():
        path = root / table / "part-00000.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(listed, schema=TABLES[table]), path)
        files[table] = [File.describe(root, path, len(listed))]
    Manifest("1:1:", "2025-01-01T00:00:00+00:00", None, files).write(root)
    return Snapshot.open(root)
