"""`python -m explorer.prepare`: make a publication's arrays, in a process of its own, for all workers of an explorer.

It is told the publication, the folder that the workers share, and finds the database and the store where they do.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path

from explorer.arrays import Arrays, arrays_folder
from explorer.catalogue import offered, read_facts, read_games, read_popularity
from steam_recsys.data.games import Games
from steam_recsys.database.connection import connect
from steam_recsys.errors import UserError
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.model_store import stored_model

PATIENCE = "10min"
"""How long the database may take to count popularity."""


def prepare(cache: Path, database: str, store: str, version: str, model_version: str, as_of: date) -> None:
    """Make a publication's arrays where they are not there yet, and remove those of others.

    Processes that are asked for the same take turns, and the later ones find it done.

    Args:
        cache: the folder that the workers share; whatever folders else are in it are removed.
        database: a reference such as `env:EXPLORER_DATABASE_URL`.
        store: the model store.
        version: the publication.
        model_version: its model.
        as_of: the day that its popularity was counted up to.

    Raises:
        UserError: the database cannot be reached, or the store has no such model.
    """
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # goes with the process that holds it
        folder = arrays_folder(cache, version)
        if not folder.exists():
            unfinished = cache / "unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            _arrays(database, store, version, model_version, as_of).write(unfinished)
            unfinished.rename(folder)
        for other in cache.iterdir():
            if other.is_dir() and other != folder:
                shutil.rmtree(other)  # whoever has mapped its files keeps them


def _arrays(database: str, store: str, version: str, model_version: str, as_of: date) -> Arrays:
    with connect(database, application="steam-recsys explorer arrays") as connection:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [PATIENCE])
            games = read_games(cursor)
            facts = read_facts(cursor, games)
            popularity = read_popularity(cursor, games["game_id"].to_numpy(), as_of)
    with stored_model(store, model_version) as model:
        recommender = TwoTowerArrays.load(model)
    on_offer = offered(games, as_of)
    catalogue = recommender.for_catalogue(Games.from_table(games), popularity).with_available(on_offer)
    indexed = replace(catalogue, index=catalogue.exact_index)
    return Arrays(version, model_version, games["game_id"].to_numpy(), indexed, on_offer, facts)


def main() -> None:
    """Read the command line and prepare; the one sentence of what goes wrong is the last line that is printed."""
    parser = argparse.ArgumentParser(prog="python -m explorer.prepare", description=__doc__)
    for name in ("cache", "store", "version", "model_version", "as_of"):
        parser.add_argument(name)
    options = parser.parse_args()
    os.nice(10)  # whoever waits for an answer goes first
    try:
        prepare(
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
