"""A publication's model as files that every worker of a machine maps into memory, so that it is held once.

`python -m explorer.model_cache` writes them, in one process for all workers. A folder has one file per array; its
manifest is written last, and the files are compared with it before they are mapped.

The games are as the shop's database has them when the files are written. They are read as the extract stage reads them,
and popularity is counted as the predict stage counts it, so a history gets the recommendations that the inference
pipeline would have published for it. `LiveModel` leaves out the games that are delisted later.
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
import pyarrow.compute as pc
from psycopg2 import sql

from steam_recsys.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array, offsets_from_lengths
from steam_recsys.data.games import Games, available
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import EPOCH, UNDATED, day_of
from steam_recsys.data.popularity import DECAYS
from steam_recsys.data.schemas import GAMES
from steam_recsys.database.connection import Cursor, connect, snapshot_queries
from steam_recsys.errors import ArtifactError, UserError
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights, NextGames
from steam_recsys.model.lists import NEW_RELEASE_DAYS, ReviewCounts, game_lists, new_releases
from steam_recsys.model.online import CatalogueFacts
from steam_recsys.model.retrieval import ExactIndex, GameList
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.sequential import SequentialTower
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.secrets import mask
from steam_recsys.storage.manifest import Artifact, complete_artifact
from steam_recsys.storage.model_store import stored_model

System = Literal["windows", "mac", "linux"]
SYSTEMS: Final[tuple[System, ...]] = get_args(System)

EVERY_ID = {"first": -(2**31), "end": 2**31}
NEVER = np.iinfo(np.int32).max
"""The day of delisting of a game that is available."""

POPULAR_IN_GENRE = 20
"""Games of a genre's list of popular games that a reason calls popular in the genre."""

DESCRIPTION_FILE = "model.json"

_REVIEWS_QUERY = """
SELECT game_id, count(*) FILTER (WHERE recommended), count(*), {sums}
FROM (
    SELECT DISTINCT ON (user_id, game_id) game_id, recommended, reviewed_on
    FROM (
        SELECT review_id, user_id, game_id, recommended,
            CASE WHEN isfinite(reviewed_on) THEN reviewed_on END AS reviewed_on
        FROM steam.reviews WHERE user_id IS NOT NULL
    ) AS dated
    ORDER BY user_id, game_id, reviewed_on DESC NULLS LAST, review_id DESC
) AS latest
GROUP BY game_id
"""

# Without the bound, the weight of a review from the 19th century would be an underflow error.
_DECAYED_SUM = """
coalesce(sum(exp(greatest((reviewed_on - %(as_of)s::date) / {decay}::float8, -700)))
         FILTER (WHERE recommended AND reviewed_on < %(as_of)s), 0)
"""

# As `recsys.reasons` reads them.
_TAGS_QUERY = """
SELECT name FROM steam.genres LEFT JOIN steam.game_genres USING (genre_id)
GROUP BY genre_id, name ORDER BY count(game_id), genre_id
"""
_POPULAR_NOW_QUERY = "SELECT game_id FROM recsys.popular_games WHERE list = 'popular' AND genre = '' ORDER BY game_id"
_POPULAR_IN_QUERY = """
SELECT DISTINCT ON (game_id) game_id, p.genre
FROM recsys.popular_games AS p
JOIN steam.genres AS n ON n.name = p.genre
JOIN steam.game_genres USING (genre_id, game_id)
WHERE p.list = 'popular' AND p.rank <= %s
ORDER BY game_id, p.rank, p.genre
"""

_SYSTEMS_QUERY = "SELECT game_id, recsys.systems_of(os) FROM steam.game_requirements WHERE level = 'minimum'"

_SCORER_ARRAYS = ("history", "candidates", "popularity_prior")
_FACT_ARRAYS = (
    "released_year",
    "delisted",
    "ram_gb",
    "storage_gb",
    "systems",
    "tag_offsets",
    "tag_numbers",
    "popular_now",
)

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class GameFacts:
    """Facts of N games for filters and orders, by position.

    Attributes:
        catalogue: Release dates, genres, tagged or ranked, and reviews.
        names: Names.
        genre_names: The names of the catalogue's genres, in its order.
        tags: The names of all tags, those of the fewest games first.
        tag_offsets: int64 [N + 1]; the tags of game i are `tag_numbers[tag_offsets[i]:tag_offsets[i + 1]]`.
        tag_numbers: int32, ascending for each game.
        released_year: int32 [N], `UNDATED` if unknown.
        delisted: int32 [N], the first day on which the game is not sold, or `NEVER`.
        ram_gb, storage_gb: float32 [N], minimum requirements, NaN if unknown.
        systems: uint8 [N], one bit per system of `SYSTEMS` that the game is known to run on; 0 if unknown.
        ranks: Positions and ranks by (lower-case genre, rank type); the genre "" has the best rank in any genre.
        popular_now: int32, the positions of the publication's popular games.
        popular_in: By position, the tag in which a game is most popular, if it is one of the first there.
    """

    catalogue: CatalogueFacts
    names: list[str]
    genre_names: list[str]
    tags: list[str]
    tag_offsets: Int64Array
    tag_numbers: Int32Array
    released_year: Int32Array
    delisted: Int32Array
    ram_gb: Float32Array
    storage_gb: Float32Array
    systems: npt.NDArray[np.uint8]
    ranks: Mapping[tuple[str, str], tuple[Int32Array, Int32Array]]
    popular_now: Int32Array
    popular_in: Mapping[int, str]

    def tags_of(self, position: int) -> list[str]:
        """Return a game's tags, those of the fewest games first."""
        numbers = self.tag_numbers[self.tag_offsets[position] : self.tag_offsets[position + 1]]
        return [self.tags[number] for number in numbers.tolist()]


@dataclass(frozen=True)
class CachedModel:
    """A publication's model, and facts of its N games.

    Attributes:
        version: The publication.
        model_version: Its model.
        game_ids: int32 [N], the id at each position, ascending.
        scorer: The scorer, with an index of the available games.
        available: bool [N], the games that the publication could recommend.
        lists: The lists that the publication has for each user.
        facts: Facts for filters and orders.
    """

    version: str
    model_version: str
    game_ids: Int32Array
    scorer: Scorer
    available: BoolArray
    lists: list[GameList]
    facts: GameFacts

    def save(self, folder: Path) -> None:
        """Write the model to a new folder."""
        folder.mkdir(parents=True)
        scorer, facts = self.scorer, self.facts
        assert isinstance(scorer.index, ExactIndex)
        arrays: dict[str, npt.NDArray[Any]] = {"game_ids": self.game_ids, "available": self.available}
        arrays |= {f"allowed_{each.name}": each.allowed for each in self.lists if each.allowed is not None}
        arrays |= {name: getattr(scorer, name) for name in _SCORER_ARRAYS}
        arrays |= {f"item_item_{name}": array for name, array in vars(scorer.item_item).items()}
        if scorer.next_games is not None:
            arrays |= {f"next_{name}": array for name, array in vars(scorer.next_games.weights).items()}
        if scorer.sequence:
            arrays |= {f"sequence_{name}": array for name, array in scorer.sequence.arrays().items()}
        arrays |= {f"index_{name}": array for name, array in vars(scorer.index).items()}
        arrays |= {name: getattr(facts, name) for name in _FACT_ARRAYS}
        arrays |= {f"catalogue_{name}": array for name, array in facts.catalogue.arrays().items()}
        for number, (positions, ranks) in enumerate(facts.ranks.values()):
            arrays |= {f"ranked_{number}": positions, f"rank_{number}": ranks}
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        described = {
            "version": self.version,
            "model_version": self.model_version,
            "scale": scorer.scale,
            "sequence_scale": scorer.sequence_scale,
            "popularity_weight": scorer.popularity_weight,
            "lists": [(each.name, each.length, each.popularity_weight) for each in self.lists],
            "history_weights": asdict(scorer.history_weights),
            "next_recency": scorer.next_games.recency if scorer.next_games else None,
            "names": facts.names,
            "tags": facts.tags,
            "genres": facts.genre_names,
            "ranks": list(facts.ranks),
            "popular_in": list(facts.popular_in.items()),
        }
        (folder / DESCRIPTION_FILE).write_text(json.dumps(described))
        complete_artifact(folder)

    @classmethod
    def load(cls, folder: Path) -> CachedModel:
        """Map a saved model into memory.

        Raises:
            ArtifactError: A file is missing or damaged.
        """
        _open_cached(folder).verify()
        described = json.loads((folder / DESCRIPTION_FILE).read_text())
        arrays = {path.stem: _map(path) for path in folder.glob("*.npy")}
        recency = described["next_recency"]
        scorer = Scorer(
            **{name: arrays[name] for name in _SCORER_ARRAYS},
            item_item=ItemItemWeights(**_prefixed("item_item_", arrays)),
            scale=described["scale"],
            popularity_weight=described["popularity_weight"],
            history_weights=HistoryWeights(**described["history_weights"]),
            sequence=SequentialTower.from_arrays(arrays, "sequence_") if described["sequence_scale"] else None,
            sequence_scale=described["sequence_scale"],
            index=ExactIndex(**_prefixed("index_", arrays)),
            next_games=None if recency is None else NextGames(ItemItemWeights(**_prefixed("next_", arrays)), recency),
        )
        ranks = {
            (genre, rank_type): (arrays[f"ranked_{number}"], arrays[f"rank_{number}"])
            for number, (genre, rank_type) in enumerate(described["ranks"])
        }
        facts = GameFacts(
            catalogue=CatalogueFacts.from_arrays(
                _prefixed("catalogue_", arrays), [name.lower() for name in described["genres"]]
            ),
            names=described["names"],
            genre_names=described["genres"],
            tags=described["tags"],
            **{name: arrays[name] for name in _FACT_ARRAYS},
            ranks=ranks,
            popular_in=dict(described["popular_in"]),
        )
        return cls(
            version=described["version"],
            model_version=described["model_version"],
            game_ids=arrays["game_ids"],
            scorer=scorer,
            available=arrays["available"],
            lists=[
                GameList(name, length, weight, arrays.get(f"allowed_{name}"))
                for name, length, weight in described["lists"]
            ],
            facts=facts,
        )


def cache_model(cache: Path, database: str, store: str, version: str, model_version: str, as_of: date) -> None:
    """Cache a publication's model unless it is cached already, undamaged; remove the models of other publications.

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
        if not _is_cached(folder):
            unfinished = cache / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            _build(database, store, version, model_version, as_of).save(unfinished)
            shutil.rmtree(folder, ignore_errors=True)  # damaged
            unfinished.rename(folder)
        for other in cache.iterdir():
            if other.is_dir() and other != folder:
                shutil.rmtree(other)  # processes that have mapped its files keep them


def model_folder(cache: Path, version: str) -> Path:
    """Return the folder of a publication's model; the name may have any characters."""
    return cache / hashlib.sha256(version.encode()).hexdigest()[:16]


def read_games(cursor: Cursor) -> pa.Table:
    """Return all games in the schema `GAMES`, ordered by id."""
    cursor.execute(snapshot_queries()["games"], EVERY_ID)
    rows = cursor.fetchall()
    columns = zip(*rows, strict=True) if rows else ([] for _ in GAMES)
    games = pa.table([pa.array(column, field.type) for column, field in zip(columns, GAMES, strict=True)], schema=GAMES)
    for name in ("released_on", "delisted_on"):  # a day beyond Python's, which validation reports, counts as unknown
        known = pc.and_(pc.greater_equal(games[name], date.min), pc.less_equal(games[name], date.max))
        games = games.set_column(
            games.schema.get_field_index(name), name, pc.if_else(known, games[name], pa.scalar(None, pa.date32()))
        )
    return games


def count_reviews(cursor: Cursor, game_ids: Int32Array, as_of: date) -> tuple[Float64Array, ReviewCounts]:
    """Count the reviews of N games by known users, of whom each counts once per game, with the latest review.

    Returns:
        Recent popularity under each of the `DECAYS` as of a day, float64 [D, N], see `popularity_as_of`; and the
        reviews dated or not.
    """
    sums = sql.SQL(", ").join(sql.SQL(_DECAYED_SUM).format(decay=sql.Literal(decay)) for decay in DECAYS)
    cursor.execute(sql.SQL(_REVIEWS_QUERY).format(sums=sums), {"as_of": as_of})
    counts = np.zeros((2 + len(DECAYS), len(game_ids)))
    rows = np.array(cursor.fetchall(), dtype=np.float64).reshape(-1, 1 + len(counts))
    counts[:, positions_of(rows[:, 0].astype(np.int32), game_ids)] = rows[:, 1:].T
    return counts[2:], ReviewCounts(*counts[:2].astype(np.int64))


def read_facts(cursor: Cursor, games: pa.Table, positive_reviews: Int64Array) -> GameFacts:
    """Return the facts of games that `read_games` returned, given how many reviews recommend each of them."""
    game_ids = games["game_id"].to_numpy()
    released = games["released_on"].to_pylist()
    cursor.execute(_SYSTEMS_QUERY)
    systems = np.zeros(len(games), dtype=np.uint8)
    for game_id, names in cursor.fetchall():
        systems[np.searchsorted(game_ids, game_id)] = sum(1 << SYSTEMS.index(name) for name in names)
    cursor.execute(snapshot_queries()["rankings"], EVERY_ID)
    tags = games["genres"].to_pylist()
    rankings = cursor.fetchall()
    ranked = positions_of(np.array([row[0] for row in rankings], dtype=np.int32), game_ids).tolist()
    genres = [{*names} for names in tags]
    for position, (_, genre, _, _) in zip(ranked, rankings, strict=True):
        genres[position].add(genre)
    catalogue = CatalogueFacts.from_games(released, genres, positive_reviews)
    name_of = {name.lower(): name for names in genres for name in sorted(names)}
    cursor.execute(_TAGS_QUERY)
    number_of = {name: number for number, (name,) in enumerate(cursor.fetchall())}
    cursor.execute(_POPULAR_NOW_QUERY)
    popular_now = positions_of(np.array([game for (game,) in cursor.fetchall()], dtype=np.int32), game_ids)
    cursor.execute(_POPULAR_IN_QUERY, [POPULAR_IN_GENRE])
    popular_in = {int(np.searchsorted(game_ids, game)): genre for game, genre in cursor.fetchall()}
    return GameFacts(
        catalogue=catalogue,
        names=games["name"].to_pylist(),
        genre_names=[name_of[genre] for genre in catalogue.genres],
        tags=list(number_of),
        tag_offsets=offsets_from_lengths(np.array([len(names) for names in tags], dtype=np.int64)),
        tag_numbers=_int32(number for names in tags for number in sorted(number_of[name] for name in names)),
        released_year=_int32(UNDATED if day is None else day.year for day in released),
        delisted=_int32(NEVER if day is None else day_of(day) for day in games["delisted_on"].to_pylist()),
        ram_gb=games["ram_gb"].to_numpy(),
        storage_gb=games["storage_gb"].to_numpy(),
        systems=systems,
        ranks=_by_genre(ranked, rankings),
        popular_now=popular_now,
        popular_in=popular_in,
    )


def available_games(games: pa.Table, as_of: date) -> BoolArray:
    """Return which games the publication of a day could recommend, bool [N]."""
    return available(games, None if as_of == EPOCH else as_of)


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
        sys.exit(mask(str(error)))


def _open_cached(folder: Path) -> Artifact:
    return Artifact.open(folder, "cached model", "it is cached again")


def _is_cached(folder: Path) -> bool:
    try:
        _open_cached(folder).verify()
    except ArtifactError:
        return False
    return True


def _build(database: str, store: str, version: str, model_version: str, as_of: date) -> CachedModel:
    with connect(database, application="steam-recsys explorer cache") as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            games = read_games(cursor)
            popularity, reviews = count_reviews(cursor, games["game_id"].to_numpy(), as_of)
            facts = read_facts(cursor, games, reviews.likes)
    with stored_model(store, model_version) as model:
        arrays = TwoTowerArrays.load(model)
    available = available_games(games, as_of)
    scorer = arrays.for_catalogue(Games.from_table(games), popularity).with_available(available)
    new = new_releases(facts.catalogue.released, day_of(as_of), NEW_RELEASE_DAYS)
    return CachedModel(
        version=version,
        model_version=model_version,
        game_ids=games["game_id"].to_numpy(),
        scorer=replace(scorer, index=scorer.exact_index),
        available=available,
        lists=game_lists(
            arrays.popularity_weight, arrays.interests_weight, scorer.popularity_prior, available, reviews, new
        ),
        facts=facts,
    )


def _by_genre(
    ranked: list[int], rankings: list[tuple[int, str, str, int]]
) -> dict[tuple[str, str], tuple[Int32Array, Int32Array]]:
    """Return the ranks of games by genre and rank type, given the position and the row of each ranked game."""
    best_ranks: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for position, (_, name, rank_type, rank) in zip(ranked, rankings, strict=True):
        for ranking in ((name.lower(), rank_type), ("", rank_type)):
            best_ranks[ranking][position] = min(rank, best_ranks[ranking].get(position, rank))
    return {
        ranking: (_int32(sorted(found)), _int32(found[position] for position in sorted(found)))
        for ranking, found in best_ranks.items()
    }


def _int32(values: Iterable[int]) -> Int32Array:
    return np.fromiter(values, dtype=np.int32)


def _prefixed(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _map(path: Path) -> Array:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))  # slices of np.memmap are slow
    except ValueError:  # an empty array cannot be mapped
        array: Array = np.load(path, allow_pickle=False)
        return array


if __name__ == "__main__":
    main()
