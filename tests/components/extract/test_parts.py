import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection

from components.extract import parts as module
from components.extract.extraction import write_snapshot
from components.extract.parts import IN_USE_PERIOD, KEPT_SNAPSHOTS, SnapshotStore, can_reuse, superseded, unreferenced
from steam_recsys.data.snapshot import Manifest, Provenance, Snapshot
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import FileInfo
from tests.shop import add_game

NOW = datetime(2025, 6, 1, tzinfo=UTC)
LONG_AGO = IN_USE_PERIOD + timedelta(hours=1)


def manifest(full_at: datetime, *, database: str = "a", layout: str = "b") -> Manifest:
    return Manifest("1:1:", "", None, {}, origin=Provenance(database, layout, full_at.isoformat()))


def age(store: str, name: str, by: timedelta = LONG_AGO) -> None:
    path = Path(store) / "snapshots" / name
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - by.total_seconds()))


def parts(store: str) -> list[str]:
    return SnapshotStore.from_store(store).folder.names("parts")


@pytest.mark.parametrize(
    ("base", "can"),
    [
        (manifest(NOW), True),
        (manifest(NOW - timedelta(days=6)), True),
        (manifest(NOW - timedelta(days=8)), False),
        (manifest(NOW + timedelta(hours=1)), False),  # the database's clock was set back
        (manifest(NOW, database="restored"), False),
        (manifest(NOW, layout="other"), False),
        (Manifest("1:1:", "", None, {}), False),
    ],
)
def test_a_snapshot_of_the_same_database_layout_and_week_is_reused(base: Manifest, can: bool) -> None:
    assert can_reuse(base, Provenance("a", "b", NOW.isoformat())) is can


def test_new_and_young_manifests_are_kept() -> None:
    hours = [100, 90, 80, 70, 40, 1]
    listed = {f"m{number}": FileInfo(1, NOW - timedelta(hours=age)) for number, age in enumerate(hours)}
    assert superseded(listed, NOW) == ["m0", "m1", "m2"]
    assert superseded(listed, NOW + timedelta(days=30)) == ["m0", "m1", "m2"]
    assert superseded({name: listed[name] for name in list(listed)[:KEPT_SNAPSHOTS]}, NOW) == []
    assert superseded(listed, NOW - timedelta(days=2)) == ["m0"]


def test_needed_and_young_parts_are_kept() -> None:
    listed = {"old": FileInfo(1, NOW - LONG_AGO), "needed": FileInfo(1, NOW - LONG_AGO), "young": FileInfo(1, NOW)}
    assert unreferenced(listed, {"needed"}, NOW) == ["old"]


def test_removing_a_snapshot_removes_the_parts_that_only_it_needs(
    shop: Connection, database: str, store: str, tmp_path: Path
) -> None:
    for number in range(KEPT_SNAPSHOTS + 2):
        add_game(shop, f"game {number}")
        with shop.cursor() as cursor:
            cursor.execute("INSERT INTO steam.users (username) VALUES ('ann') ON CONFLICT DO NOTHING")
        write_snapshot(database, tmp_path / str(number), store)
        for name in SnapshotStore.from_store(store).folder.names(""):
            age(store, name)
    write_snapshot(database, tmp_path / "last", store)
    assert len(SnapshotStore.from_store(store).folder.names("manifests")) == KEPT_SNAPSHOTS
    games = [name for name in parts(store) if name.startswith("parts/games/")]
    assert len(games) == KEPT_SNAPSHOTS - 1  # the last adds none
    Snapshot.open(tmp_path / "last").verify()
    with pytest.raises(UserError, match=r"The snapshot in .*/0 lacks .*: extract it again"):
        Snapshot.open(tmp_path / "0")


def test_files_of_a_killed_extraction_are_removed_once_they_are_old(
    shop: Connection, database: str, store: str, tmp_path: Path
) -> None:
    folder = SnapshotStore.from_store(store).folder
    for name in ("parts/reviews/orphan.parquet", "parts/reviews/.half-written-1x", "parts/reviews/young.parquet"):
        folder.write(name, b"x")
    age(store, "parts/reviews/orphan.parquet")
    age(store, "parts/reviews/.half-written-1x")
    write_snapshot(database, tmp_path / "snapshot", store)
    assert parts(store) == ["parts/reviews/young.parquet"]


def test_old_snapshots_are_removed_from_a_bucket(
    shop: Connection, database: str, remote_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "IN_USE_PERIOD", timedelta(seconds=-60))
    SnapshotStore.from_store(remote_store).folder.write("parts/reviews/orphan.parquet", b"x")
    for number in range(KEPT_SNAPSHOTS + 1):
        add_game(shop, f"game {number}")
        write_snapshot(database, tmp_path / "snapshot", remote_store)
    assert len(SnapshotStore.from_store(remote_store).folder.names("manifests")) == KEPT_SNAPSHOTS
    assert len(parts(remote_store)) == KEPT_SNAPSHOTS
    Snapshot.open(tmp_path / "snapshot").verify()
