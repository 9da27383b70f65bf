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
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from explorer.catalogue import GameFacts, available_games, read_facts, read_games, read_popularity
from steam_recsys.arrays import BoolArray, Int32Array
from steam_recsys.data.games import Games
from steam_recsys.database.connection import connect
from steam_recsys.errors import UserError
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.retrieval import ExactIndex
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.model_store import stored_model

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
