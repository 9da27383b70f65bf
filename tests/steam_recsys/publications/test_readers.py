"""Readers always see a whole version while versions change."""

import os
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from steam_recsys.publications.destinations import DestinationConfig, rollback
from steam_recsys.publications.postgres_tables import Tables
from tests.components.reverse_etl.predicted import marked, publish_version

_WHOLE = """
SELECT array_agg(DISTINCT r.version), count(*), array_agg(DISTINCT r.taste[1] + r.popularity[1]),
       (SELECT array_agg(DISTINCT p.version) FROM recsys.popular_games AS p)
FROM recsys.recommendations AS r
"""

_ANSWERS = """
SELECT u.user_id, array_agg(DISTINCT a.score), count(*)
FROM (VALUES (1), (1000000)) AS u (user_id), recsys.recommended_games(u.user_id) AS a GROUP BY u.user_id
"""


@contextmanager
def reading(query: str) -> Iterator["queue.Queue[list[Any] | Exception]"]:
    """Run a query in a loop, in a thread with its own connection, and pass on its rows."""
    seen: queue.Queue[list[Any] | Exception] = queue.Queue()
    stop = threading.Event()

    def loop() -> None:
        connection = psycopg2.connect(os.environ["DATABASE_URL"])
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                while not stop.is_set():
                    cursor.execute(query)
                    seen.put(cursor.fetchall())
        except Exception as error:
            seen.put(error)
        finally:
            connection.close()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def test_readers_see_whole_versions_only(shop: Connection, database: str, tmp_path: Path) -> None:
    # Version n has n + 1 users, and n stands in every score.
    folders = {f"v{n}": marked(tmp_path / str(n), shop, n, users=n + 1) for n in range(1, 7)}
    publish_version(database, folders["v1"], "v1")
    whole = {version: [([version], n + 1, [float(n)], [version])] for n, version in enumerate(folders, start=1)}
    with reading(_WHOLE) as seen:
        for version in [*list(folders)[1:], None]:
            if version:
                publish_version(database, folders[version], version)
            else:
                version = rollback(DestinationConfig(database))
            deadline = time.monotonic() + 300
            while (rows := seen.get(timeout=300)) != whole[version]:
                assert rows in whole.values()
                assert time.monotonic() < deadline


def test_answers_never_mix_two_versions(shop: Connection, database: str, tmp_path: Path) -> None:
    folders = {n: marked(tmp_path / str(n), shop, n, users=2) for n in range(1, 7)}
    publish_version(database, folders[1], "v1")
    # User 1 has two games of their own and a popular one, an unknown user the popular one. Both calls are in one
    # statement: once the first has read the views, they stay as they are until its end.
    whole = {n: [(1, [float(n)], 3), (1000000, [float(n)], 1)] for n in folders}
    with reading(_ANSWERS) as seen:
        for n in range(2, 7):
            publish_version(database, folders[n], f"v{n}")
            deadline = time.monotonic() + 300
            while (rows := sorted(seen.get(timeout=300))) != whole[n]:
                assert rows in whole.values()
                assert time.monotonic() < deadline


def test_a_snapshot_older_than_a_publication_sees_it_whole(
    shop: Connection, database: str, postgres_url: str, tmp_path: Path
) -> None:
    publish_version(database, marked(tmp_path / "1", shop, 1.0, users=2), "v1")
    predictions = marked(tmp_path / "2", shop, 2.0, users=3)
    reader = psycopg2.connect(postgres_url)
    reader.set_session(isolation_level="REPEATABLE READ")
    try:
        with reader.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM steam.users")  # takes the snapshot
            publish_version(database, predictions, "v2")
            cursor.execute(_WHOLE)
            assert cursor.fetchall() == [(["v2"], 3, [2.0], ["v2"])]
    finally:
        reader.close()


@pytest.mark.parametrize("step", ["create", "fill_partition"])
def test_the_shops_tables_can_be_altered_while_a_version_is_loaded(
    shop: Connection, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    predictions = marked(tmp_path / "1", shop, 1.0, users=1)  # one part is loaded at a time
    taken, locked = getattr(Tables, step), []

    def lock_first(tables: Tables, cursor: Any, *arguments: Any) -> Any:
        other = psycopg2.connect(os.environ["DATABASE_URL"])
        with other, other.cursor() as own:
            own.execute("LOCK TABLE steam.users, steam.games IN ACCESS EXCLUSIVE MODE NOWAIT")
        other.close()
        locked.append(step)
        return taken(tables, cursor, *arguments)

    monkeypatch.setattr(Tables, step, lock_first)
    publish_version(database, predictions, ranges=[(1, 1)])
    assert locked == [step]


def test_a_cached_plan_follows_the_switch(shop: Connection, database: str, tmp_path: Path) -> None:
    publish_version(database, marked(tmp_path / "1", shop, 1.0, users=2), "v1")
    with shop.cursor() as cursor:
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        cursor.execute("PREPARE answer AS SELECT taste FROM recsys.recommendations WHERE user_id = 1")
        for n in range(2, 6):
            publish_version(database, marked(tmp_path / str(n), shop, n, users=2), f"v{n}")
            cursor.execute("EXECUTE answer")
            assert cursor.fetchall() == [([n, n],)]


@pytest.mark.parametrize("privilege", ["recommendations", "popular_games"])
def test_rights_on_the_views_survive_a_switch(shop: Connection, database: str, tmp_path: Path, privilege: str) -> None:
    publish_version(database, marked(tmp_path / "1", shop, 1.0, users=2), "v1")
    with shop.cursor() as cursor:
        cursor.execute(f"GRANT SELECT ON recsys.{privilege} TO PUBLIC")
        publish_version(database, marked(tmp_path / "2", shop, 2.0, users=2), "v2")
        cursor.execute(
            "SELECT relacl::text LIKE '%%=r/%%' FROM pg_class WHERE oid = %s::regclass", [f"recsys.{privilege}"]
        )
        assert cursor.fetchone() == (True,)
