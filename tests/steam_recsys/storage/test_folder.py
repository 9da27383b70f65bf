"""Folders on disk, in a bucket of Google Cloud Storage and in one of an S3-compatible store behave the same."""

import errno
import fcntl
import io
import os
import resource
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from steam_recsys.errors import UserError
from steam_recsys.storage.folder import Folder, open_folder
from tests.steam_recsys.storage.faults import Faults, faulty_proxy


@pytest.fixture
def folder(any_store: str) -> Folder:
    return open_folder(any_store)


def test_a_written_file_can_be_read_and_a_missing_one_gives_none(folder: Folder) -> None:
    assert folder.read("a/b.json") is None
    folder.write("a/b.json", b"one")
    folder.write("a/b.json", b"two")
    assert folder.read("a/b.json") == b"two"


def test_names_lists_a_folder_and_its_subfolders_in_order(folder: Folder) -> None:
    for name in ("runs/b", "runs/a/c", "runs-2/d", "e"):
        folder.write(name, b"")
    assert folder.names("runs") == ["runs/a/c", "runs/b"]
    assert folder.names("") == ["e", "runs-2/d", "runs/a/c", "runs/b"]
    assert folder.names("runs/b") == ["runs/b"]
    assert folder.names("nowhere") == []


def test_removing_a_folder_removes_only_its_content(folder: Folder) -> None:
    for name in ("runs/a", "runs/b/c", "runs-2/d"):
        folder.write(name, b"x")
    folder.remove("runs")
    folder.remove("runs")
    assert folder.names("") == ["runs-2/d"]
    folder.remove("")
    assert folder.names("") == []


def test_removing_a_file_removes_only_that_file(folder: Folder) -> None:
    for name in ("runs/a", "runs/ab", "runs/b"):
        folder.write(name, b"x")
    folder.remove("runs/a")
    folder.remove("runs/a")
    assert folder.names("") == ["runs/ab", "runs/b"]


def test_listed_files_have_size_and_time(folder: Folder) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    folder.write("runs/a", b"1234")
    folder.write("runs/b", b"")
    listed = folder.list_files("runs")
    assert {name: file.bytes for name, file in listed.items()} == {"runs/a": 4, "runs/b": 0}
    assert all(before < file.written_at <= datetime.now(UTC) for file in listed.values())


def test_only_the_requested_ranges_of_a_file_are_downloaded(
    bucket_store: str, gcs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_folder(bucket_store).write("file", b"0123456789")
    faults = Faults()
    with faulty_proxy(gcs, faults) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        source = open_folder(bucket_store).arrow_source("file", 10)
        assert isinstance(source, io.RawIOBase)
        assert (source.seek(-4, io.SEEK_END), source.read(2), source.read(5), source.read(5)) == (6, b"67", b"89", b"")
        assert (source.seek(1), source.seek(1, io.SEEK_CUR), source.tell(), source.read()) == (1, 2, 2, b"23456789")
    assert [path.endswith("/o/some%2Fstore%2Ffile?alt=media") for _, path in faults.requests].count(True) == 3


def test_files_and_folders_have_a_local_path(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"1234")
    folder.put(tmp_path / "weights", "models/v1/deep/weights")
    folder.write("models/v1/model.json", b"{}")
    folder.write("models/v10/model.json", b"other")
    with folder.local_path("models/v1") as path:
        files = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert files == {"deep/weights": b"1234", "model.json": b"{}"}
    with folder.local_path("models/v1/model.json") as path:
        assert path.read_bytes() == b"{}"
    with folder.local_path("models/v2") as path:
        assert not path.exists()


def test_compare_and_swap_succeeds_only_on_the_expected_content(folder: Folder) -> None:
    assert not folder.compare_and_swap("pointer", b"b", expected=b"a")
    assert folder.compare_and_swap("pointer", b"a", expected=None)
    assert not folder.compare_and_swap("pointer", b"b", expected=None)
    assert folder.compare_and_swap("pointer", b"b", expected=b"a")
    assert folder.read("pointer") == b"b"


def test_one_of_many_concurrent_swaps_wins(folder: Folder) -> None:
    folder.write("pointer", b"start")
    contents = [f"writer {number}".encode() for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda content: folder.compare_and_swap("pointer", content, b"start"), contents))
    assert won.count(True) == 1
    assert folder.read("pointer") == contents[won.index(True)]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "store")
    folder.write("file", b"old")
    with pytest.raises(FileNotFoundError):
        folder.put(tmp_path / "missing", "file")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["file"]
    assert folder.read("file") == b"old"


def _path_of(descriptor: int) -> Path:
    if sys.platform == "darwin":
        return Path(os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")))
    return Path(f"/proc/self/fd/{descriptor}").resolve()


class Recorder:
    """The order in which files and folders are written through to the disk, and files are renamed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        sync, rename = os.fsync, Path.replace

        def fsync(descriptor: int) -> None:
            path = _path_of(descriptor)
            self.calls.append(("sync", "temporary" if path.name.startswith(".") else str(path)))
            sync(descriptor)

        def replace(source: Path, target: Path) -> Path:
            self.calls.append(("rename", str(target)))
            return rename(source, target)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "replace", replace)


def writes(folder: Folder, local: Path) -> None:
    folder.write("a/b/c", b"content")


def puts(folder: Folder, local: Path) -> None:
    local.write_bytes(b"content")
    folder.put(local, "a/b/c")


def swaps(folder: Folder, local: Path) -> None:
    assert folder.compare_and_swap("a/b/c", b"content", None)


@pytest.mark.parametrize("use", [writes, puts, swaps])
def test_content_reaches_the_disk_before_the_name_and_the_name_before_the_next_step(
    use: Callable[[Folder, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(monkeypatch)
    root = tmp_path / "store"
    use(open_folder(root), tmp_path / "local")
    assert recorder.calls == [
        *(("sync", str(parent)) for parent in (tmp_path, root, root / "a")),  # the names of the new folders
        ("sync", "temporary"),
        ("rename", str(root / "a" / "b" / "c")),
        ("sync", str(root / "a" / "b")),
    ]


def test_a_file_system_that_cannot_sync_folders_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", fsync)
    open_folder(tmp_path / "store").write("a/b", b"content")
    assert (tmp_path / "store" / "a" / "b").read_bytes() == b"content"


def test_a_disk_that_fails_to_sync_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = open_folder(tmp_path / "store")
    folder.write("file", b"old")

    def fsync(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UserError, match=f"There is no room left for {tmp_path}/store: make some, then run again"):
        folder.write("file", b"new")
    assert (folder.names(""), folder.read("file")) == (["file"], b"old")


def test_a_lock_that_may_not_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # root may write to any folder
    with pytest.raises(UserError, match=f"{tmp_path}/store may not be written to: give this user the right"):
        open_folder(tmp_path / "store").compare_and_swap("pointer", b"a", None)


def test_a_file_that_may_not_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)  # root may read any file
    with pytest.raises(UserError, match=f"{tmp_path}/store/pointer may not be read: give this user the right"):
        open_folder(tmp_path / "store").read("pointer")


def test_a_full_disk_is_reported_and_the_old_file_stays(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "store")
    folder.write("file", b"old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match=f"There is no room left for {tmp_path}/store: make some, then run again"):
            folder.write("file", bytes(1001))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert (folder.names(""), folder.read("file")) == (["file"], b"old")


@pytest.mark.parametrize("uri", ["abfs://bucket/store", "http://host/store"])
def test_another_scheme_is_rejected(uri: str) -> None:
    with pytest.raises(UserError, match=f"{uri} is neither a path nor a gs:// or s3:// URI"):
        open_folder(uri)


@pytest.mark.parametrize("uri", ["gs://", "gs:///store", "s3://", "s3:///store"])
def test_a_uri_without_a_bucket_is_rejected(uri: str) -> None:
    with pytest.raises(UserError, match=f"^{uri} names no bucket: write it as "):
        open_folder(uri)


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_a_missing_bucket_is_reported(scheme: str, gcs: str, s3: str) -> None:
    sentence = f"^The bucket of {scheme}://no-such-bucket/store does not exist: create it or correct the URI.$"
    with pytest.raises(UserError, match=sentence):
        open_folder(f"{scheme}://no-such-bucket/store").write("a", b"")
