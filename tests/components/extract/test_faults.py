"""A failed extraction is reported and leaves no partial snapshot, and the next one succeeds."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection
from psycopg2.extensions import make_dsn, parse_dsn

from components.extract.extraction import write_snapshot
from components.extract.parts import SnapshotStore
from demo.postgres import EmbeddedPostgres
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.database.connection import create_schema
from steam_recsys.errors import UserError
from tests.components.extract.halted import REVIEWS, fill, rankings_locked, wait_until_halted
from tests.components.extract.proxies import CuttingProxy
from tests.steam_recsys.storage.faults import Announce, Answer, Faults, faulty_proxy

COMMAND = "import sys; from components.extract.extraction import write_snapshot; write_snapshot(*sys.argv[1:])"


@pytest.fixture
def filled(shop: Connection) -> Connection:
    fill(shop)
    return shop


def assert_no_snapshot(snapshot: Path, store: str) -> None:
    with pytest.raises(UserError, match="holds no complete snapshot"):
        Snapshot.open(snapshot)
    assert SnapshotStore.from_store(store).folder.names("manifests") == []


def assert_succeeds(database: str, snapshot: Path, store: str) -> None:
    """Assert that the next extraction equals one into an empty store."""
    written = write_snapshot(database, snapshot, store)
    assert written.rows["reviews"] == 2 * REVIEWS
    assert written.snapshot_id == write_snapshot(database, snapshot, f"{store}-fresh").snapshot_id
    Snapshot.open(snapshot).verify()


def test_a_terminated_backend_is_reported_and_the_next_extraction_succeeds(
    filled: Connection, database: str, store: str, tmp_path: Path
) -> None:
    with ThreadPoolExecutor() as pool:
        with rankings_locked() as watcher:
            extraction = pool.submit(write_snapshot, database, tmp_path / "snapshot", store)
            backend = wait_until_halted(watcher)
            with watcher.cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s)", [backend])
        with pytest.raises(UserError, match=r"The database in DATABASE_URL failed \(.*\): see its log, then run again"):
            extraction.result()
    assert_no_snapshot(tmp_path / "snapshot", store)
    assert_succeeds(database, tmp_path / "snapshot", store)


@pytest.mark.parametrize("megabytes", [0, 1, 5])
def test_a_connection_lost_during_a_copy_is_reported_and_the_next_extraction_succeeds(
    filled: Connection, database: str, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, megabytes: int
) -> None:
    url = parse_dsn(os.environ["DATABASE_URL"])
    with CuttingProxy(int(url["port"]), after=100_000 + megabytes * 1_000_000) as proxy:
        monkeypatch.setenv("PROXIED_URL", make_dsn(**{**url, "port": proxy.port}))
        with pytest.raises(UserError, match=r"The database in PROXIED_URL (failed|cannot be reached) \("):
            write_snapshot("env:PROXIED_URL", tmp_path / "snapshot", store)
        assert proxy.cut
    assert_no_snapshot(tmp_path / "snapshot", store)
    assert_succeeds(database, tmp_path / "snapshot", store)


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedPostgres]:
    """A server that a test may restart, with a filled shop."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-postgres-") as folder:
        server = EmbeddedPostgres(Path(folder), durable=False)
        server.start()
        monkeypatch.setenv("DATABASE_URL", server.ensure_database("shop"))
        with psycopg2.connect(os.environ["DATABASE_URL"]) as connection:
            create_schema(connection, "steam")
            fill(connection)
        yield server
        server.stop()


def test_a_database_that_stops_is_reported_and_the_extraction_after_its_start_succeeds(
    own_server: EmbeddedPostgres, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor() as pool, rankings_locked() as watcher:
        extraction = pool.submit(write_snapshot, "env:DATABASE_URL", tmp_path / "snapshot", store)
        wait_until_halted(watcher)
        own_server.stop()
        with pytest.raises(UserError, match="The database in DATABASE_URL failed"):
            extraction.result()
    with pytest.raises(UserError, match="The database in DATABASE_URL cannot be reached"):
        write_snapshot("env:DATABASE_URL", tmp_path / "snapshot", store)
    assert_no_snapshot(tmp_path / "snapshot", store)
    own_server.start()
    monkeypatch.setenv("DATABASE_URL", own_server.url("shop"))
    assert_succeeds("env:DATABASE_URL", tmp_path / "snapshot", store)


def test_a_killed_extraction_leaves_no_snapshot_and_the_next_one_uses_its_parts(
    filled: Connection, database: str, store: str, tmp_path: Path
) -> None:
    with rankings_locked() as watcher:
        process = subprocess.Popen([sys.executable, "-c", COMMAND, database, str(tmp_path / "snapshot"), store])
        wait_until_halted(watcher)
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = SnapshotStore.from_store(store).parts.names("")
    assert len([name for name in left if name.startswith("reviews/")]) == 2
    assert_no_snapshot(tmp_path / "snapshot", store)
    assert_succeeds(database, tmp_path / "snapshot", store)
    assert [name for name in SnapshotStore.from_store(store).parts.names("") if name not in left] == []


def test_a_full_disk_is_reported_and_the_next_extraction_succeeds(
    filled: Connection, database: str, store: str, tmp_path: Path
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(UserError, match=f"There is no room left for {store}/snapshots/parts: make some, then run"):
            write_snapshot(database, tmp_path / "snapshot", store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert_no_snapshot(tmp_path / "snapshot", store)
    assert [name for name in SnapshotStore.from_store(store).parts.names("") if "reviews/" in name] == []
    assert_succeeds(database, tmp_path / "snapshot", store)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (403, "may not be used by this account: grant it Storage Object User"),
        (404, "The bucket of .* does not exist: create it or correct the URI"),
        (503, "cannot be reached .*: try again later"),
    ],
)
def test_a_bucket_that_fails_part_way_is_reported_and_the_next_extraction_succeeds(
    filled: Connection, database: str, bucket_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    status: int, message: str,
) -> None:  # fmt: skip
    monkeypatch.setattr("steam_recsys.storage.bucket.RETRY_SECONDS", 0.1)
    faults, part_written = Faults(), threading.Event()
    faults.add("POST", "/upload/", Announce(part_written))
    faults.add("POST", "/upload/", Answer(status), always=True)
    with faulty_proxy(os.environ["STORAGE_EMULATOR_HOST"], faults) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        with pytest.raises(UserError, match=message):
            write_snapshot(database, tmp_path / "snapshot", bucket_store)
        assert part_written.is_set()
        assert_no_snapshot(tmp_path / "snapshot", bucket_store)
        faults.end()
        assert_succeeds(database, tmp_path / "snapshot", bucket_store)
