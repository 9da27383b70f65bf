"""A publication's model as files that every worker of a machine maps into memory, so that it is held once.

`python -m explorer.model_cache` writes them, in a process of its own for all workers. A folder has one file per array;
`model.json` is written last.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from psycopg2 import sql

from steam_recsys.arrays import BoolArray, Float32Array, Float64Array, Int32Array
from steam_recsys.data.games import Games, available
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import EPOCH, UNDATED, day_of
from steam_recsys.data.popularity import DECAYS
from steam_recsys.data.schemas import GAMES
from steam_recsys.database.connection import Cursor, connect, snapshot_queries
from steam_recsys.errors import UserError
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.retrieval import ExactIndex
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.model_store import stored_model

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


DESCRIPTION = "model.json"
DATABASE_TIMEOUT = "10min"
"""Longest time for the database to count popularity."""

_SCORER = ("history", "candidates", "popularity_offset")
_FACTS = ("released", "released_year", "delisted", "ram_gb", "storage_gb", "systems")

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class CachedModel:
    """A publication's model, and facts of its N games.

    Attributes:
        version: The publication.
        model_version: Its model.
        game_ids: int32 [N], the id at each position, ascending.
        scorer: The scorer, with an index of the available games.
        available: bool [N], the games that the publication could recommend.
        facts: Facts for filters and orders.
    """

    version: str
    model_version: str
    game_ids: Int32Array
    scorer: Scorer
    available: BoolArray
    facts: GameFacts

    def save(self, folder: Path) -> None:
        """Write the model to a new folder."""
        folder.mkdir(parents=True)
        scorer, facts = self.scorer, self.facts
        assert isinstance(scorer.index, ExactIndex)
        arrays = {"game_ids": self.game_ids, "available": self.available}
        arrays |= {name: getattr(scorer, name) for name in _SCORER}
        arrays |= {f"link_{name}": array for name, array in vars(scorer.item_item).items()}
        arrays |= {f"index_{name}": array for name, array in vars(scorer.index).items()}
        arrays |= {name: getattr(facts, name) for name in _FACTS}
        arrays |= {f"genre_{number}": positions for number, positions in enumerate(facts.genres.values())}
        for number, (positions, ranks) in enumerate(facts.ranks.values()):
            arrays |= {f"ranked_{number}": positions, f"rank_{number}": ranks}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        described = {
            "version": self.version,
            "model_version": self.model_version,
            "scale": scorer.scale,
            "history_weights": asdict(scorer.history_weights),
            "names": facts.names,
            "genres": list(facts.genres),
            "ranks": list(facts.ranks),
        }
        (folder / DESCRIPTION).write_text(json.dumps(described))

    @classmethod
    def load(cls, folder: Path) -> CachedModel:
        """Map a saved model into memory."""
        described = json.loads((folder / DESCRIPTION).read_text())
        arrays = {path.stem: _map(path) for path in folder.glob("*.npy")}
        scorer = Scorer(
            **{name: arrays[name] for name in _SCORER},
            item_item=ItemItemWeights(**_prefixed("link_", arrays)),
            scale=described["scale"],
            history_weights=HistoryWeights(**described["history_weights"]),
            index=ExactIndex(**_prefixed("index_", arrays)),
        )
        genres = {genre: arrays[f"genre_{number}"] for number, genre in enumerate(described["genres"])}
        ranks = {
            (genre, rank_type): (arrays[f"ranked_{number}"], arrays[f"rank_{number}"])
            for number, (genre, rank_type) in enumerate(described["ranks"])
        }
        facts = GameFacts(
            names=described["names"], **{name: arrays[name] for name in _FACTS}, genres=genres, ranks=ranks
        )
        return cls(
            described["version"], described["model_version"], arrays["game_ids"], scorer, arrays["available"], facts
        )


def model_folder(cache: Path, version: str) -> Path:
    """Return the folder of a publication's model; the name may have any characters."""
    return cache / hashlib.sha256(version.encode()).hexdigest()[:16]


def cache_model(cache: Path, database: str, store: str, version: str, model_version: str, as_of: date) -> None:
    """Cache a publication's model unless it is cached already, and remove the models of other publications.

    Processes take turns; later ones find the work done.

    Args:
        cache: The folder that the workers share, which has no other folders.
        database: A reference such as `env:EXPLORER_DATABASE_URL`.
        store: The model store.
        version: The publication.
        model_version: Its model.
        as_of: The day up to which its popularity was counted.

    Raises:
        UserError: The database cannot be reached, or the store has no such model.
    """
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # released when this process ends
        folder = model_folder(cache, version)
        if not folder.exists():
            unfinished = cache / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            _build(database, store, version, model_version, as_of).save(unfinished)
            unfinished.rename(folder)
        for other in cache.iterdir():
            if other.is_dir() and other != folder:
                shutil.rmtree(other)  # processes that have mapped its files keep them


def _build(database: str, store: str, version: str, model_version: str, as_of: date) -> CachedModel:
    with connect(database, application="steam-recsys explorer cache") as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [DATABASE_TIMEOUT])
            games = read_games(cursor)
            facts = read_facts(cursor, games)
            popularity = read_popularity(cursor, games["game_id"].to_numpy(), as_of)
    with stored_model(store, model_version) as model:
        arrays = TwoTowerArrays.load(model)
    available = available_games(games, as_of)
    scorer = arrays.for_catalogue(Games.from_table(games), popularity).with_available(available)
    indexed = replace(scorer, index=scorer.exact_index)
    return CachedModel(version, model_version, games["game_id"].to_numpy(), indexed, available, facts)


def _prefixed(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _map(path: Path) -> Array:
    # As a plain array, because slices of np.memmap are slow. Empty files cannot be mapped.
    array: Array = np.load(path, allow_pickle=False)
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)) if array.size else array


def main() -> None:
    """Read the command line and cache the model; an error is the last line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m explorer.model_cache", description=__doc__)
    for name in ("cache", "store", "version", "model_version", "as_of"):
        parser.add_argument(name)
    options = parser.parse_args()
    os.nice(10)  # requests have priority
    try:
        cache_model(
            Path(options.cache),
            "env:EXPLORER_DATABASE_URL",
            options.store,
            options.version,
            options.model_version,
            date.fromisoformat(options.as_of),
        )
    except UserError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
