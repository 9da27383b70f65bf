"""The shop's games as its database has them now: what a model needs to score them, and what filters and orders need.

Games are read as the extract stage reads them, and popularity is counted as the predict stage counts it, so a history
gets the recommendations that the inference pipeline would have published for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final, Literal, get_args

import numpy as np
import pyarrow as pa
from psycopg2 import sql

from steam_recsys.arrays import BoolArray, Float32Array, Float64Array, Int32Array
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import EPOCH, UNDATED, day_of
from steam_recsys.data.popularity import DECAYS
from steam_recsys.data.schemas import GAMES
from steam_recsys.database.connection import Cursor
from steam_recsys.database.queries import snapshot_queries
from steam_recsys.model.availability import available

System = Literal["windows", "mac", "linux"]
SYSTEMS: Final[tuple[System, ...]] = get_args(System)
EVERY_ID = {"first": -(2**31), "end": 2**31}
NEVER = np.iinfo(np.int32).max
"""The day of delisting of a game that is available."""

_POPULARITY = """
SELECT game_id, {sums}
FROM (
    SELECT DISTINCT ON (user_id, game_id) game_id, recommended, reviewed_on
    FROM steam.reviews WHERE user_id IS NOT NULL
    ORDER BY user_id, game_id, reviewed_on DESC NULLS LAST, review_id DESC
) AS latest
WHERE recommended AND reviewed_on < %(as_of)s
GROUP BY game_id
"""

# Without the bound, the weight of a review from the 19th century would be an underflow error.
_SUM = "sum(exp(greatest((reviewed_on - %(as_of)s::date) / {decay}::float8, -700)))"

_SYSTEMS = "SELECT game_id, recsys.systems_of(os) FROM steam.game_requirements WHERE level = 'minimum'"


@dataclass(frozen=True)
class GameFacts:
    """Facts of N games for filters and orders, by position.

    Attributes:
        names: Names.
        released: int32 [N], days since 1970-01-01, `UNDATED` if unknown.
        released_year: int32 [N], `UNDATED` if unknown.
        delisted: int32 [N], the first day on which the game is not sold, or `NEVER`.
        ram_gb, storage_gb: float32 [N], minimum requirements, NaN if unknown.
        systems: uint8 [N], one bit per system of `SYSTEMS` that the game is known to run on; 0 if unknown.
        genres: Positions of each genre's games, tagged or ranked, by lower-case genre.
        ranks: Positions and ranks by (lower-case genre, rank type); the genre "" has the best rank in any genre.
    """

    names: list[str]
    released: Int32Array
    released_year: Int32Array
    delisted: Int32Array
    ram_gb: Float32Array
    storage_gb: Float32Array
    systems: np.typing.NDArray[np.uint8]
    genres: Mapping[str, Int32Array]
    ranks: Mapping[tuple[str, str], tuple[Int32Array, Int32Array]]


def read_games(cursor: Cursor) -> pa.Table:
    """Return all games in the schema `GAMES`, ordered by id."""
    cursor.execute(snapshot_queries()["games"], EVERY_ID)
    rows = cursor.fetchall()
    columns = zip(*rows, strict=True) if rows else ([] for _ in GAMES)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, GAMES, strict=True)], schema=GAMES)


def read_popularity(cursor: Cursor, game_ids: Int32Array, as_of: date) -> Float64Array:
    """Return recent popularity under each of the `DECAYS` as of a day, float64 [D, N]; see `popularity_as_of`."""
    sums = sql.SQL(", ").join(sql.SQL(_SUM).format(decay=sql.Literal(decay)) for decay in DECAYS)
    cursor.execute(sql.SQL(_POPULARITY).format(sums=sums), {"as_of": as_of})
    counts = np.zeros((len(DECAYS), len(game_ids)))
    rows = np.array(cursor.fetchall(), dtype=np.float64).reshape(-1, 1 + len(DECAYS))
    counts[:, positions_of(rows[:, 0].astype(np.int32), game_ids)] = rows[:, 1:].T
    return counts


def available_games(games: pa.Table, as_of: date) -> BoolArray:
    """Return which games the publication of a day could recommend, bool [N]."""
    return available(games, None if as_of == EPOCH else as_of)


def read_facts(cursor: Cursor, games: pa.Table) -> GameFacts:
    """Return the facts of games that `read_games` returned."""
    game_ids = games["game_id"].to_numpy()
    released = games["released_on"].to_pylist()
    cursor.execute(_SYSTEMS)
    systems = np.zeros(len(games), dtype=np.uint8)
    for game_id, names in cursor.fetchall():
        systems[np.searchsorted(game_ids, game_id)] = sum(1 << SYSTEMS.index(name) for name in names)
    cursor.execute(snapshot_queries()["rankings"], EVERY_ID)
    genres, ranks = _by_genre(games["genres"].to_pylist(), cursor.fetchall(), game_ids)
    return GameFacts(
        names=games["name"].to_pylist(),
        released=_int32(UNDATED if day is None else day_of(day) for day in released),
        released_year=_int32(UNDATED if day is None else day.year for day in released),
        delisted=_int32(NEVER if day is None else day_of(day) for day in games["delisted_on"].to_pylist()),
        ram_gb=games["ram_gb"].to_numpy(),
        storage_gb=games["storage_gb"].to_numpy(),
        systems=systems,
        genres=genres,
        ranks=ranks,
    )


def _by_genre(
    tags: list[list[str]], rankings: list[tuple[int, str, str, int]], game_ids: Int32Array
) -> tuple[dict[str, Int32Array], dict[tuple[str, str], tuple[Int32Array, Int32Array]]]:
    members: dict[str, set[int]] = defaultdict(set)
    best_ranks: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for position, names in enumerate(tags):
        for name in names:
            members[name.lower()].add(position)
    ranked = positions_of(np.array([row[0] for row in rankings], dtype=np.int32), game_ids).tolist()
    for position, (_, name, rank_type, rank) in zip(ranked, rankings, strict=True):
        genre = name.lower()
        members[genre].add(position)
        for ranking in ((genre, rank_type), ("", rank_type)):
            best_ranks[ranking][position] = min(rank, best_ranks[ranking].get(position, rank))
    genres = {genre: _int32(sorted(positions)) for genre, positions in members.items()}
    ranks = {
        ranking: (_int32(sorted(found)), _int32(found[position] for position in sorted(found)))
        for ranking, found in best_ranks.items()
    }
    return genres, ranks


def _int32(values: Iterable[int]) -> Int32Array:
    return np.fromiter(values, dtype=np.int32)
