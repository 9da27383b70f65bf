import hashlib
import random
from dataclasses import replace
from datetime import date
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest

from components.extract import parts
from steam_recsys.data.snapshot import DataFile, Manifest, Snapshot, newest_manifest
from steam_recsys.errors import UserError
from steam_recsys.storage.folder import open_folder
from tests.damage import damaged_contents
from tests.snapshots import write_snapshot_of

REVIEWS = [(user, 1 + user % 3, date(2020, 1, 1)) for user in range(1, 200)]


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    return write_snapshot_of(tmp_path / "snapshot", REVIEWS)


@pytest.fixture
def in_bucket(snapshot: Snapshot, remote_store: str, tmp_path: Path) -> Snapshot:
    """The same snapshot with its files in a bucket."""
    folder = open_folder(remote_store)
    for file in (file for files in snapshot.manifest.files.values() for file in files):
        folder.put(snapshot.root / file.path, file.path)
    manifest = snapshot.manifest
    Manifest(manifest.database_snapshot, manifest.extracted_at, manifest.watermark, manifest.files, remote_store).write(
        tmp_path / "manifest"
    )
    return Snapshot.open(tmp_path / "manifest")


def test_a_bucket_gives_the_same_tables_as_a_disk(snapshot: Snapshot, in_bucket: Snapshot) -> None:
    for table in snapshot.manifest.files:
        assert in_bucket.table(table).equals(snapshot.table(table))
    some = ds.field("user_id") > 150
    expected = snapshot.dataset("reviews").to_table(columns=["user_id"], filter=some)
    assert in_bucket.dataset("reviews").to_table(columns=["user_id"], filter=some).equals(expected)
    batches = in_bucket.dataset("reviews").to_batches(columns=["game_id"], batch_readahead=1, fragment_readahead=1)
    assert sum(pc.sum(batch["game_id"]).as_py() for batch in batches) == sum(game for _, game, _ in REVIEWS)
    in_bucket.verify()


def test_a_manifest_round_trips_through_json(snapshot: Snapshot) -> None:
    assert Manifest.from_json(snapshot.manifest.to_json()) == snapshot.manifest


def test_a_part_of_an_id_names_no_snapshot(tmp_path: Path) -> None:
    folder = open_folder(tmp_path)
    name = "manifests/20240101T000000.000000-0123456789ab.json"
    folder.write(name, b"{}")
    assert newest_manifest(folder, "6789ab") is None
    assert newest_manifest(folder, "0123456789ab") == newest_manifest(folder) == name


def test_opening_a_snapshot_finds_a_missing_or_truncated_file(snapshot: Snapshot, in_bucket: Snapshot) -> None:
    for opened in (snapshot, in_bucket):
        path = opened.manifest.files["users"][0].path
        opened.folder.write(path, b"PAR1")
        with pytest.raises(UserError, match=f"lacks {opened.folder.uri}/{path}: extract it again"):
            Snapshot.open(opened.root)
        opened.folder.remove(path)
        with pytest.raises(UserError, match=f"lacks {opened.folder.uri}/{path}: extract it again"):
            Snapshot.open(opened.root)


def test_a_file_that_disappears_during_reading_is_reported(in_bucket: Snapshot) -> None:
    path = in_bucket.manifest.files["users"][0].path
    in_bucket.folder.remove(path)
    with pytest.raises(UserError, match=f"{path} is missing: create it again"):
        in_bucket.table("users")


def test_the_checksum_reveals_a_damaged_file(snapshot: Snapshot) -> None:
    path = snapshot.root / snapshot.manifest.files["reviews"][0].path
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path} is damaged: delete it and extract"):
        Snapshot.open(snapshot.root).verify()


@pytest.mark.parametrize("table", ["reviews", "users", "games", "rankings"])
def test_no_table_is_read_from_a_damaged_file(snapshot: Snapshot, table: str) -> None:
    path = snapshot.root / snapshot.manifest.files[table][0].path
    whole = path.read_bytes()
    for _, content in damaged_contents(whole):
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{path}.*: (delete it and )?extract (it|the snapshot) again"):
            Snapshot.open(snapshot.root).table(table)
    path.write_bytes(whole)
    assert Snapshot.open(snapshot.root).table(table).num_rows == snapshot.manifest.rows(table)


@pytest.mark.parametrize("table", ["reviews", "games"])
def test_no_flipped_bit_of_a_part_in_a_bucket_changes_what_is_read(
    table: str, snapshot: Snapshot, in_bucket: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some bits of the pages and of the footer, where the names of the columns are."""
    expected = snapshot.table(table)
    content = parts._to_parquet(expected)
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    name = f"{table}/part.parquet"
    file = DataFile(name, expected.num_rows, len(content), hashlib.sha256(content).hexdigest())
    opened = replace(in_bucket, manifest=replace(in_bucket.manifest, files={table: [file]}))
    served = bytearray(content)
    monkeypatch.setattr(type(opened.folder), "read_range", lambda folder, name, start, end: bytes(served[start:end]))
    assert opened.table(table).equals(expected)
    chance = random.Random(0)
    refused = 0
    for at in [*chance.sample(range(footer), 100), *range(footer, len(content), 3)]:
        bit = 1 << chance.randrange(8)
        served[at] ^= bit
        try:
            assert opened.table(table).equals(expected), at
        except UserError:
            refused += 1
        served[at] ^= bit
    assert refused > 200
