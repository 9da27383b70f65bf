"""Refreshes that are killed with SIGKILL, or run at the same time as others, while readers read."""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import psycopg2
import pymongo
import pytest
from psycopg2.extensions import connection as Connection

from steam_recsys.publications.destinations import DestinationConfig, rollback
from tests.components.refresh.process import start_refresh
from tests.components.refresh.refreshing import PublishedShop, lists_of
from tests.explorer.publishing_runs import GAMES, USERS, fill_shop, promote_random_model
from tests.shop import add_review

PAUSE_SECONDS = 0.05
FIRST = date(2024, 9, 1)

State = frozenset[tuple[int, str]]
"""Each user with a digest of all lists."""

# One statement, so that it sees one moment.
_READ = """
SELECT user_id, md5(string_agg(concat(list, game_ids, taste, popularity, because), ' ' ORDER BY list)) ||
    (SELECT md5(string_agg(concat(list, genre, rank, game_id, score), ' ' ORDER BY list, genre, rank))
     FROM recsys.popular_games)
FROM recsys.recommendations GROUP BY user_id
"""


def state_of(connection: Connection) -> State:
    with connection.cursor() as cursor:
        cursor.execute(_READ)
        return frozenset(cursor.fetchall())


def documents_of(mongo: pymongo.database.Database, version: str) -> State:
    found = mongo[f"recommendations_{version}"].find({}, {"lists": 1})
    return frozenset((each["_id"], repr(each["lists"])) for each in found)


@contextmanager
def reading(read: Callable[[], State]) -> Iterator[list[State]]:
    """Read in a loop while the body runs, and yield the states that were seen."""
    seen: list[State] = []
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(PAUSE_SECONDS):
            seen.append(read())

    with ThreadPoolExecutor(1) as pool:
        running = [pool.submit(loop)]
        try:
            yield seen
        finally:
            stop.set()
        for reader in running:
            reader.result()


def publish_shop(shop: Connection, config: DestinationConfig, store: str, folder: Path) -> PublishedShop:
    fill_shop(shop)
    promote_random_model(store, folder / "model")
    published = PublishedShop(config, store, folder)
    published.publish()
    return published


def review_games(shop: Connection, chance: random.Random, day: int) -> None:
    """Add reviews of some users, and delete some."""
    for user in chance.sample(range(1, USERS + 1), 8):
        add_review(shop, user, chance.randint(1, GAMES), reviewed_on=FIRST + timedelta(days=day))
    with shop.cursor() as cursor:
        cursor.execute("DELETE FROM steam.reviews WHERE user_id = %s", [chance.randint(1, USERS)])


def kill_refreshes(
    kills: int, published: PublishedShop, shop: Connection, read: Callable[[], State], *, whole: bool
) -> None:
    """Kill refreshes at random moments. Each time the next refresh finishes, and readers see old or new lists.

    Args:
        kills: Number of refreshes to kill.
        published: The publication.
        shop: Connection to change reviews.
        read: Reads all users.
        whole: Whether all users change at once, or one after the other.
    """
    chance = random.Random(0)
    states, killed, usual, day = [read()], 0, 1.0, 0
    with reading(read) as seen:
        while killed < kills:
            day += 1
            review_games(shop, chance, day)
            snapshot = published.extract()
            started = time.perf_counter()
            process = start_refresh(published, snapshot)
            if day == 1:  # the first one shows how long a refresh takes, and starts the processes' server
                process.join()
            else:
                process.join(timeout=chance.random() * usual)
            if process.exitcode is not None:
                usual = time.perf_counter() - started
            process.kill()
            process.join()
            killed += process.exitcode == -signal.SIGKILL
            done = published.refresh(snapshot)
            assert done.outcome in ("refreshed", "nothing has changed")
            assert published.refresh().outcome == "nothing has changed"
            states.append(read())
    allowed = set(states) if whole else set().union(*states)
    mixed = [state for state in seen if (state not in allowed if whole else not state <= allowed)]
    assert len(seen) > kills
    assert mixed == []


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_refreshes_leave_old_or_new_lists_and_the_next_one_finishes(
    shop: Connection, database: str, store: str, tmp_path: Path, postgres_url: str, kills: int
) -> None:
    published = publish_shop(shop, DestinationConfig(database), store, tmp_path)
    reader = psycopg2.connect(postgres_url)
    reader.autocommit = True
    kill_refreshes(kills, published, shop, lambda: state_of(reader), whole=True)
    reader.close()


@pytest.mark.slow
def test_killed_refreshes_of_both_databases_mix_no_user(
    shop: Connection,
    both: DestinationConfig,
    mongo: pymongo.database.Database,
    store: str,
    tmp_path: Path,
) -> None:
    published = publish_shop(shop, both, store, tmp_path)
    version = published.current.version
    kill_refreshes(20, published, shop, lambda: documents_of(mongo, version), whole=False)
    in_mongo = {
        (each["_id"], name): rows["game_ids"]
        for each in mongo[f"recommendations_{version}"].find()
        for name, rows in each["lists"].items()
    }
    assert in_mongo == lists_of(shop)


@pytest.mark.slow
def test_refreshes_publications_and_rollbacks_at_once_leave_the_newest_lists(
    shop: Connection, database: str, store: str, tmp_path: Path
) -> None:
    published = publish_shop(shop, DestinationConfig(database), store, tmp_path)
    published.publish(7)
    chance = random.Random(1)
    for day in range(1, 6):
        review_games(shop, chance, day)
        snapshots = [published.extract() for _ in range(2)]
        processes = [start_refresh(published, snapshot) for snapshot in snapshots]
        if day % 2:
            published.publish(10 + day)
        else:
            rollback(published.config)
        for process in processes:
            process.join()
            assert process.exitcode == 0
        assert published.refresh().outcome in ("refreshed", "nothing has changed")
        refreshed = lists_of(shop)
        expected, _ = published.predicted(published.predict(100 + day))
        users = {user for user, _ in refreshed}
        assert users == {user for user, _ in expected}
        for user in users:  # those without a review since the publication have older lists
            reviewed = _reviewed(shop, user)
            assert not reviewed & set(refreshed[user, "relevance"])


def _reviewed(shop: Connection, user: int) -> set[int]:
    with shop.cursor() as cursor:
        cursor.execute("SELECT game_id FROM steam.reviews WHERE user_id = %s", [user])
        return {game for (game,) in cursor.fetchall()}
