"""A snapshot manifest that cannot be read is no base: all rows are read, and nothing of another release is removed."""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from psycopg2.extensions import connection as Connection

from components.extract.extraction import ExtractionSummary, write_snapshot
from components.extract.parts import IN_USE_PERIOD, SnapshotStore
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import MANIFEST, seal, unseal
from tests.damage import damaged_contents, fail_removals
from tests.shop import add_game, add_review, add_user

Damage = Callable[[bytes], bytes]

LATER = "manifests/29991231T000000.000000-ffffffffffff.json"
"""The name of a manifest that another release, or a machine with another clock, would have written last."""


def sealed_with(**changes: object) -> Damage:
    return lambda content: seal({**unseal(content, dict), **changes})


def of_an_older_release(content: bytes) -> bytes:
    """Without a format and a checksum."""
    return json.dumps({name: field for name, field in json.loads(content).items() if name != "format"}).encode()


UNREADABLE: dict[str, Damage] = {
    "empty": lambda content: b"",
    "foreign": lambda content: b"<html>Moved</html>",
    "another kind of state": lambda content: seal({"files": {}}),
    "older": of_an_older_release,
    "newer format": sealed_with(format=2),
    "newer fields": sealed_with(origin={"database": "a", "layout": "b", "full_at": "c", "owner": "d"}),
    "newer top-level field": sealed_with(compression="brotli"),
}


@pytest.fixture
def filled(shop: Connection) -> Connection:
    add_game(shop, "Portal")
    for number in range(3):
        add_review(shop, add_user(shop, f"user {number}"), 1)
    return shop


def extract(database: str, store: str, folder: Path) -> ExtractionSummary:
    summary = write_snapshot(database, folder / "snapshot", store)
    Snapshot.open(folder / "snapshot").verify()
    return summary


def newest(store: str) -> str:
    return SnapshotStore.from_store(store).folder.names("manifests")[-1]


def assert_extracted_in_full(summary: ExtractionSummary, first: ExtractionSummary, output: str) -> None:
    assert (summary.snapshot_id, summary.reused, first.reused) == (first.snapshot_id, 0, 0)
    assert ": all rows are read\n" in output


@pytest.mark.parametrize("kind", UNREADABLE)
def test_a_manifest_of_another_release_is_no_base(
    kind: str, filled: Connection, database: str, any_store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = extract(database, any_store, tmp_path)
    folder = SnapshotStore.from_store(any_store).folder
    folder.write(LATER, UNREADABLE[kind](folder.read(newest(any_store))))
    capsys.readouterr()
    assert_extracted_in_full(extract(database, any_store, tmp_path), first, capsys.readouterr().out)


def test_a_damaged_manifest_is_no_base(
    filled: Connection, database: str, store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = extract(database, store, tmp_path)
    folder = SnapshotStore.from_store(store).folder
    for _, content in damaged_contents(folder.read(newest(store))):
        folder.write(newest(store), content)
        capsys.readouterr()
        assert_extracted_in_full(extract(database, store, tmp_path), first, capsys.readouterr().out)
    assert extract(database, store, tmp_path).reused > 0


def test_a_run_of_another_release_keeps_its_parts_until_its_manifest_is_old(
    filled: Connection, database: str, store: str, tmp_path: Path
) -> None:
    extract(database, store, tmp_path)
    root = Path(store) / "snapshots"
    foreign, theirs = root / LATER, root / "parts" / "reviews" / "theirs.parquet"
    foreign.write_bytes(UNREADABLE["newer format"]((root / newest(store)).read_bytes()))
    theirs.write_bytes(b"PAR1")
    long_ago = (datetime.now(UTC) - IN_USE_PERIOD - timedelta(hours=1)).timestamp()
    os.utime(theirs, (long_ago, long_ago))
    extract(database, store, tmp_path)
    assert theirs.exists()
    assert foreign.exists()
    os.utime(foreign, (long_ago, long_ago))
    extract(database, store, tmp_path)
    assert not theirs.exists()
    assert not foreign.exists()
    assert extract(database, store, tmp_path).reused > 0


@pytest.mark.parametrize("removals", range(2))
def test_old_parts_that_cannot_be_removed_fail_nothing(
    removals: int,
    filled: Connection,
    database: str,
    bucket_store: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("components.extract.parts.IN_USE_PERIOD", timedelta(0))
    for name in ("one", "two"):
        open_folder(bucket_store).write(f"snapshots/parts/reviews/{name}.parquet", b"PAR1")
    with monkeypatch.context() as patch:
        fail_removals(patch, bucket_store, removals, killed=False)
        first = extract(database, bucket_store, tmp_path)
    assert "[extract] warning: old snapshots in gs://" in capsys.readouterr().out
    assert extract(database, bucket_store, tmp_path).snapshot_id == first.snapshot_id
    names = open_folder(bucket_store).names("snapshots/parts/reviews")
    assert not {name for name in names if name.endswith(("one.parquet", "two.parquet"))}


def test_a_damaged_manifest_of_a_run_is_reported(filled: Connection, database: str, store: str, tmp_path: Path) -> None:
    extract(database, store, tmp_path)
    path = tmp_path / "snapshot" / MANIFEST
    for _, content in damaged_contents(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"^{path} (is|has) .*: extract it again\.$"):
            Snapshot.open(tmp_path / "snapshot")
