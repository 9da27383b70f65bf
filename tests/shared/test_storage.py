"""Folders on disk and in a bucket keep the same promises."""

import http.server
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from components.shared.errors import UserError
from components.shared.storage import Folder, open_folder


@pytest.fixture
def folder(any_store: str) -> Folder:
    return open_folder(any_store)


def test_a_file_is_read_as_it_was_written_and_none_where_there_is_none(folder: Folder) -> None:
    assert folder.read("a/b.json") is None
    folder.write("a/b.json", b"one")
    folder.write("a/b.json", b"two")
    assert folder.read("a/b.json") == b"two"


def test_names_are_those_of_one_folder_and_below_in_order(folder: Folder) -> None:
    for name in ("runs/b", "runs/a/c", "runs-2/d", "e"):
        folder.write(name, b"")
    assert folder.names("runs") == ["runs/a/c", "runs/b"]
    assert folder.names("") == ["e", "runs-2/d", "runs/a/c", "runs/b"]
    assert folder.names("nowhere") == []


def test_a_removed_folder_takes_what_is_in_it_and_nothing_else(folder: Folder) -> None:
    for name in ("runs/a", "runs/b/c", "runs-2/d"):
        folder.write(name, b"x")
    folder.remove("runs")
    folder.remove("runs")
    assert folder.names("") == ["runs-2/d"]
    folder.remove("")
    assert folder.names("") == []


def test_a_file_and_a_folder_can_be_fetched_to_this_machine(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"1234")
    folder.put(tmp_path / "weights", "models/v1/deep/weights")
    folder.write("models/v1/model.json", b"{}")
    folder.write("models/v10/model.json", b"other")
    with folder.fetched("models/v1") as path:
        files = {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert files == {"deep/weights": b"1234", "model.json": b"{}"}
    with folder.fetched("models/v1/model.json") as path:
        assert path.read_bytes() == b"{}"
    with folder.fetched("models/v2") as path:
        assert not path.exists()


def test_a_swap_succeeds_only_over_what_was_expected(folder: Folder) -> None:
    assert not folder.swap("pointer", b"b", expected=b"a")
    assert folder.swap("pointer", b"a", expected=None)
    assert not folder.swap("pointer", b"b", expected=None)
    assert folder.swap("pointer", b"b", expected=b"a")
    assert folder.read("pointer") == b"b"


def test_of_many_swaps_at_once_one_wins(folder: Folder) -> None:
    folder.write("pointer", b"start")
    contents = [f"writer {number}".encode() for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda content: folder.swap("pointer", content, b"start"), contents))
    assert won.count(True) == 1
    assert folder.read("pointer") == contents[won.index(True)]


def test_a_write_that_dies_leaves_what_was_there(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "store")
    folder.write("file", b"old")
    with pytest.raises(FileNotFoundError):
        folder.put(tmp_path / "missing", "file")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["file"]
    assert folder.read("file") == b"old"


@pytest.mark.parametrize("uri", ["s3://bucket/store", "http://host/store"])
def test_another_kind_of_uri_is_refused(uri: str) -> None:
    with pytest.raises(UserError, match=f"{uri} is neither a path nor a gs:// URI"):
        open_folder(uri)


def test_a_bucket_that_does_not_exist_gets_one_sentence(gcs: str) -> None:
    with pytest.raises(UserError, match="The bucket of gs://no-such-bucket/store does not exist: create it"):
        open_folder("gs://no-such-bucket/store").write("a", b"")


class Flaky(http.server.BaseHTTPRequestHandler):
    """A storage server that answers each kind of request twice with an error that passes, or always with another."""

    answers: list[int]
    asked: Counter[str]

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.rfile.read(length)
        self.asked[self.command] += 1
        status = self.answers[min(self.asked[self.command] - 1, len(self.answers) - 1)]
        body = b'{"name": "a", "generation": "1"}' if status == 200 else b'{"error": {"message": "no"}}'
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Flaky]]:
    handler = type("Handler", (Flaky,), {"answers": [200], "asked": Counter()})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    yield handler
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", [429, 503])
def test_an_error_that_passes_is_tried_again(flaky: type[Flaky], status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    flaky.answers = [status, status, 200]
    open_folder("gs://bucket/store").write("a", b"content")
    assert flaky.asked["POST"] == 3


def test_a_refusal_gets_one_sentence_and_is_not_tried_again(flaky: type[Flaky]) -> None:
    flaky.answers = [403]
    with pytest.raises(UserError, match="gs://bucket/store may not be used by this account: grant it Storage"):
        open_folder("gs://bucket/store").write("a", b"content")
    assert flaky.asked["POST"] == 1
