import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection

from components.extract import snapshot_history
from components.extract.extraction import write_snapshot
from components.extract.snapshot_history import IN_USE, KEPT, History, can_build_on, superseded, unreferenced
from steam_recsys.data.snapshot import Manifest, Origin, Snapshot
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import FileInfo
from tests.shop import add_game

NOW = datetime(2025, 6, 1, tzinfo=UTC)
LONG_AGO = IN_USE + timedelta(hours=1)


def manifest(full_at: datetime, *, database: str = "a", layout: str = "b") -> Manifest:
    return Manifest("1:1:", "", None, {}, origin=Origin(database, layout, full_at.isoformat()))


def age(store: str, name: str, by: timedelta = LONG_AGO) -> None:
    path = Path(store) / "snapshots" / name
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - by.total_seconds()))


def parts(store: str) -> list[str]:
    return History.from_store(store).folder.names("parts")


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
def test_a_snapshot_is_built_on_if_it_is_of_the_same_database_and_layout_and_week(base: Manifest, can: bool) -> None:
    assert can_build_on(base, Origin("a", "b", NOW.isoformat())) is can


def test_the_newest_manifests_and_young_ones_are_kept() -> None:
    hours = [100, 90, 80, 70, 40, 1]
    listed = {f"m{number}": FileInfo(1, NOW - timedelta(hours=age)) for number, age in enumerate(hours)}
    assert superseded(listed, NOW) == ["m0", "m1", "m2"]
    assert superseded(listed, NOW + timedelta(days=30)) == ["m0", "m1", "m2"]
    assert superseded({name: listed[name] for name in list(listed)[:KEPT]}, NOW) == []
    assert superseded(listed, NOW - timedelta(days=2)) == ["m0"]


def test_parts_that_are_needed_or_young_are_kept() -> None:
    listed = {"old": FileInfo(1, NOW - LONG_AGO), "needed": FileInfo(1, NOW - LONG_AGO), "young": FileInfo(1, NOW)}
    assert unreferenced(listed, {"needed"}, NOW) == ["old"]


def test_snapshots_that_are_no_longer_kept_take_their_own_parts_along(
    shop: Connection, database: str, store: str, tmp_path: Path
) -> None:
    for number in range(KEPT + 2):
        add_game(shop, f"game {number}")
        with shop.cursor() as cursor:
            cursor.execute("INSERT INTO steam.users (username) VALUES ('ann') ON CONFLICT DO NOTHING")
        write_snapshot(database, tmp_path / str(number), store)
        for name in History.from_store(store).folder.names(""):
            age(store, name)
    write_snapshot(database, tmp_path / "last", store)
    assert len(History.from_store(store).folder.names("manifests")) == KEPT
    assert (
        len([name for name in parts(store) if name.startswith("parts/games/")]) == KEPT - 1
    )  # the last has no new one
    Snapshot.open(tmp_path / "last").verify()
    with pytest.raises(UserError, match=r"The snapshot in .*/0 lacks .*: extract it again"):
        Snapshot.open(tmp_path / "0")


def test_what_a_killed_extraction_left_is_removed_once_it_is_old(
    shop: Connection, database: str, store: str, tmp_path: Path
) -> None:
    folder = History.from_store(store).folder
    for name in ("parts/reviews/orphan.parquet", "parts/reviews/.half-written-1x", "parts/reviews/young.parquet"):
        folder.write(name, b"x")
    age(store, "parts/reviews/orphan.parquet")
    age(store, "parts/reviews/.half-written-1x")
    write_snapshot(database, tmp_path / "snapshot", store)
    assert parts(store) == ["parts/reviews/young.parquet"]


def test_a_bucket_forgets_as_well(
    shop: Connection, database: str, bucket_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot_history, "IN_USE", timedelta(seconds=-60))
    History.from_store(bucket_store).folder.write("parts/reviews/orphan.parquet", b"x")
    for number in range(KEPT + 1):
        add_game(shop, f"game {number}")
        write_snapshot(database, tmp_path / "snapshot", bucket_store)
    assert len(History.from_store(bucket_store).folder.names("manifests")) == KEPT
    assert len(parts(bucket_store)) == KEPT
    Snapshot.open(tmp_path / "snapshot").verify()
