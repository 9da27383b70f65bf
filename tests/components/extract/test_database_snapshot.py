import os
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import cursor as Cursor

from components.extract import database_snapshot
from components.extract.database_snapshot import open_database_snapshot
from components.extract.extraction import write_snapshot
from demo.postgres import EmbeddedPostgres
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.database.limits import Limits
from steam_recsys.errors import UserError
from tests.components.extract.halted import REVIEWS, fill, rankings_locked, wait_until_halted
from tests.databases import database_folder
from tests.shop import add_review, add_user


def test_all_connections_see_the_same_snapshot_and_their_number_is_limited(shop: Connection, database: str) -> None:
    together = threading.Barrier(3)

    def look(cursor: Cursor, task: int) -> tuple[int, int, int]:
        if task < 3:
            together.wait()  # all three connections are open
        add_user(shop, f"user {task}")
        cursor.execute("SELECT count(*) FROM steam.users")
        (users,) = cursor.fetchone()
        cursor.execute("SELECT count(*), pg_backend_pid() FROM pg_stat_activity WHERE application_name = %s "
                       "AND datname = current_database()", ["steam-recsys extract"])  # fmt: skip
        return users, *cursor.fetchone()

    with open_database_snapshot(database) as snapshot:
        seen = snapshot.map(look, range(20), 3)
    assert {users for users, _, _ in seen} == {0}
    assert max(connections for _, connections, _ in seen) == 1 + 3
    assert len({backend for _, _, backend in seen}) == 3


def test_results_have_the_order_of_the_tasks(shop: Connection, database: str) -> None:
    with open_database_snapshot(database) as snapshot:
        assert snapshot.map(lambda cursor, task: task * 2, range(9), 4) == list(range(0, 18, 2))
        assert snapshot.map(lambda cursor, task: task, [], 4) == []


def test_no_further_task_starts_after_a_failure(shop: Connection, database: str) -> None:
    started = []

    def fail(cursor: Cursor, task: int) -> None:
        started.append(task)
        raise UserError("Invalid task.")

    with open_database_snapshot(database) as snapshot, pytest.raises(UserError, match="Invalid task"):
        snapshot.map(fail, range(50), 2)
    assert len(started) <= 2


def test_writers_are_not_blocked_and_their_changes_are_not_seen(
    shop: Connection, database: str, store: str, tmp_path: Path
) -> None:
    fill(shop)
    with ThreadPoolExecutor() as pool:
        with rankings_locked() as watcher:
            extraction = pool.submit(write_snapshot, database, tmp_path / "snapshot", store)
            wait_until_halted(watcher)
            with shop.cursor() as cursor:
                cursor.execute("SET lock_timeout = '60s'")
                cursor.execute("UPDATE steam.reviews SET helpful = helpful + 1, updated_at = now()")
                cursor.execute("UPDATE steam.games SET name = name || '!'")
                cursor.execute("DELETE FROM steam.reviews WHERE review_id = 1")
            add_review(shop, add_user(shop, "late"), 1)
        assert extraction.result().rows == {"reviews": 2 * REVIEWS, "users": 100, "games": 1, "rankings": 0}
    assert write_snapshot(database, tmp_path / "snapshot", store).rows["users"] == 101


def test_a_locked_table_is_an_error_after_a_timeout(
    shop: Connection, database: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_snapshot, "LIMITS", Limits(lock=1))
    with rankings_locked(), pytest.raises(UserError, match=r"kept this process waiting too long for a lock \("):
        write_snapshot(database, tmp_path / "snapshot", store)


def test_a_slow_statement_is_an_error_after_a_timeout(
    shop: Connection, database: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_snapshot, "LIMITS", Limits(statement=1))
    with rankings_locked(), pytest.raises(UserError, match=r"cancelled a statement \("):
        write_snapshot(database, tmp_path / "snapshot", store)


@pytest.fixture
def standby(postgres: EmbeddedPostgres, shop: Connection) -> Iterator[str]:
    """The URL of the test's database on a hot standby of the server."""
    fill(shop)
    # Not in pytest's own folder: another session may close that to the database's system user.
    with tempfile.TemporaryDirectory(prefix="steam-recsys-standby-", dir=database_folder()) as folder:
        server = EmbeddedPostgres(Path(folder), durable=False)
        password = server.folder / "password"
        password.write_text((postgres.folder / "password").read_text())
        server.data.mkdir()
        if os.geteuid() == 0:
            server._give_to_system_user(password)
        server.data.chmod(0o700)
        server._run("pg_basebackup", "-D", server.data, "-d", postgres.url(), "-R", "-X", "stream", "-c", "fast")
        server.start()
        yield server.url(os.environ["DATABASE_URL"].rsplit("/", 1)[1])
        server.stop()


def test_a_hot_standby_gives_the_same_snapshot_as_the_primary(
    standby: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    primary = write_snapshot(database, tmp_path / "snapshot", tmp_path / "store")
    monkeypatch.setenv("REPLICA_URL", standby)
    replica = write_snapshot("env:REPLICA_URL", tmp_path / "replica", tmp_path / "another store")
    assert replica == primary
    identities = [Snapshot.open(tmp_path / name).manifest.origin for name in ("snapshot", "replica")]
    assert identities[0] is not None
    assert identities[1] is not None
    assert identities[0].database == identities[1].database  # each can reuse the other's snapshots
