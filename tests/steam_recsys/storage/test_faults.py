"""A bucket over a network that fails: what passes is tried again, what stays ends in one sentence, nothing is torn."""

import io
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.cloud import storage

from steam_recsys.errors import UserError
from steam_recsys.storage.folder import Folder, open_folder
from steam_recsys.storage.model_store import POINTER, add_model, champion, move_champion
from tests.steam_recsys.storage.faults import (
    Announce,
    Answer,
    CutAnswer,
    CutRequest,
    Drop,
    Fault,
    Faults,
    Hold,
    faulty_proxy,
)
from tests.steam_recsys.storage.test_model_store import write_model

LARGE = 9 << 20
"""Bytes that are uploaded in a session that can be resumed, rather than in one request."""

PASSING = [Answer(503), Answer(429), Drop(), Drop(done=True)]


@pytest.fixture
def faults(gcs_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """The faults of a proxy that stands before the server; what waits between two tries does not."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    faults = Faults()
    with faulty_proxy(gcs_server, faults) as url:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", url)
        yield faults


@pytest.fixture
def store(faults: Faults) -> str:
    name = f"bucket-{secrets.token_hex(6)}"
    storage.Client().create_bucket(name)
    return f"gs://{name}/store"


@pytest.fixture
def folder(store: str) -> Folder:
    folder = open_folder(store)
    folder.write("a/b", b"before")
    return folder


def reads(folder: Folder, local: Path) -> None:
    assert folder.read("a/b") == b"before"


def reads_in_places(folder: Folder, local: Path) -> None:
    source = folder.source("a/b", 6)
    assert isinstance(source, io.RawIOBase)
    source.seek(2)
    assert source.read(3) == b"for"


def lists(folder: Folder, local: Path) -> None:
    assert {name: file.bytes for name, file in folder.listed("a").items()} == {"a/b": 6}


def fetches(folder: Folder, local: Path) -> None:
    with folder.fetched("a") as path:
        assert (path / "b").read_bytes() == b"before"


def writes(folder: Folder, local: Path) -> None:
    folder.write("a/b", b"after")
    assert folder.read("a/b") == b"after"


def puts(folder: Folder, local: Path, content: bytes = b"after") -> None:
    local.write_bytes(content)
    folder.put(local, "a/b")
    assert folder.read("a/b") == content


def puts_a_large_file(folder: Folder, local: Path) -> None:
    puts(folder, local, os.urandom(LARGE))


def swaps(folder: Folder, local: Path) -> None:
    assert folder.swap("a/b", b"after", b"before")
    assert not folder.swap("a/b", b"other", b"before")
    assert folder.read("a/b") == b"after"


def removes(folder: Folder, local: Path) -> None:
    folder.remove("a")
    assert folder.names("") == []


Use = Callable[[Folder, Path], None]
"""What is done in a folder, with a place on this machine, and what must come of it."""

OBJECT, LIST, UPLOAD = "a%2Fb", "/o?", "/upload/"

READING = [
    (reads, "GET", OBJECT),
    (reads_in_places, "GET", OBJECT),
    (lists, "GET", LIST),
    (fetches, "GET", LIST),
    (fetches, "GET", OBJECT),
    (swaps, "GET", OBJECT),
    (removes, "GET", LIST),
]
UPLOADING = [(writes, "POST", UPLOAD), (puts, "POST", UPLOAD), (swaps, "POST", UPLOAD)]
SMALL = [*READING, *UPLOADING, (removes, "DELETE", OBJECT)]
LARGE_UPLOADING = [(puts_a_large_file, "POST", UPLOAD), (puts_a_large_file, "PUT", UPLOAD)]
"""Uses, and the method and a part of the path of one of their requests."""


@pytest.mark.parametrize("fault", [*PASSING, CutRequest(100)], ids=str)
@pytest.mark.parametrize(("use", "method", "text"), SMALL)
def test_what_passes_is_tried_again_by_every_request(
    use: Use, method: str, text: str, fault: Fault, folder: Folder, faults: Faults, tmp_path: Path
) -> None:
    faults.add(method, text, fault, fault)
    use(folder, tmp_path / "local")
    assert faults.left == []


# Not one whose last answer is lost: Cloud Storage gives it again when it is asked again, this server knows no more of
# the upload.
@pytest.mark.parametrize("fault", [Answer(503), Answer(429), Drop(), CutRequest(0), CutRequest(4 << 20)], ids=str)
def test_a_resumable_upload_that_is_cut_ends_whole(
    fault: Fault, folder: Folder, faults: Faults, tmp_path: Path
) -> None:
    faults.add("PUT", UPLOAD, fault, fault)
    puts_a_large_file(folder, tmp_path / "local")
    assert faults.left == []


def test_a_download_that_is_cut_ends_whole(folder: Folder, faults: Faults) -> None:
    content = os.urandom(LARGE)
    folder.write("a/b", content)
    faults.add("GET", OBJECT, CutAnswer(4 << 20), CutAnswer(1 << 20))
    assert folder.read("a/b") == content
    faults.add("GET", OBJECT, CutAnswer(4 << 20))
    with folder.fetched("a/b") as path:
        assert path.read_bytes() == content
    source = folder.source("a/b", LARGE)
    assert isinstance(source, io.RawIOBase)
    source.seek(1_000)
    faults.add("GET", OBJECT, CutAnswer(4 << 20))
    assert source.read(8 << 20) == content[1_000 : 1_000 + (8 << 20)]
    assert faults.left == []


STAYING = [(Answer(503), "HTTP 503"), (Answer(429), "HTTP 429"), (Drop(), "ConnectionError")]


@pytest.mark.parametrize(("fault", "reason"), STAYING, ids=str)
@pytest.mark.parametrize(("use", "method", "text"), [*SMALL, *LARGE_UPLOADING])
def test_what_stays_ends_in_one_sentence_and_leaves_what_was_there(
    use: Use, method: str, text: str, fault: Fault, reason: str, folder: Folder, faults: Faults, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("steam_recsys.storage.bucket.RETRY_SECONDS", 10.0)
    folder = open_folder(folder.uri)
    before = len(faults.requests)
    faults.add(method, text, fault, always=True)
    with pytest.raises(UserError, match=rf"^{folder.uri} cannot be reached \({reason}\): try again later\.$"):
        use(folder, tmp_path / "local")
    assert len(faults.requests) >= before + 3
    faults.end()
    assert folder.read("a/b") == b"before"


@pytest.mark.parametrize(("use", "method", "text"), [*SMALL, *LARGE_UPLOADING])
def test_a_refusal_gets_one_sentence_and_is_not_tried_again(
    use: Use, method: str, text: str, folder: Folder, faults: Faults, tmp_path: Path
) -> None:
    faults.add(method, text, Answer(403))
    sentence = f"^{folder.uri} may not be used by this account: grant it Storage Object User.$"
    with pytest.raises(UserError, match=sentence):
        use(folder, tmp_path / "local")
    assert faults.left == []
    assert folder.read("a/b") == b"before"


def test_a_file_that_goes_while_its_folder_is_fetched_is_not_taken_for_a_missing_bucket(
    folder: Folder, faults: Faults, tmp_path: Path
) -> None:
    faults.add("GET", OBJECT, Answer(404))
    with pytest.raises(UserError, match=f"^{folder.uri}/a changed while it was read: run again.$"):
        fetches(folder, tmp_path)


FULL = [Answer(507), Answer(403, b'{"error": {"code": 403, "errors": [{"reason": "quotaExceeded"}], "message": "no"}}')]


@pytest.mark.parametrize("fault", FULL, ids=str)
@pytest.mark.parametrize(("use", "method", "text"), [*UPLOADING, *LARGE_UPLOADING])
def test_a_bucket_that_is_full_gets_one_sentence_at_once_and_a_retry_succeeds_when_there_is_room(
    use: Use, method: str, text: str, fault: Fault, folder: Folder, faults: Faults, tmp_path: Path
) -> None:
    faults.add(method, text, fault)
    with pytest.raises(UserError, match=f"^There is no room left for {folder.uri}: make some, then run again.$"):
        use(folder, tmp_path / "local")
    assert faults.left == []
    assert folder.read("a/b") == b"before"
    use(folder, tmp_path / "local")


@pytest.fixture
def two_models(store: str, tmp_path: Path) -> str:
    for version in ("A", "B"):
        add_model(store, write_model(tmp_path / version, version))
    return store


def test_of_two_promoters_that_read_the_same_champion_the_second_to_write_is_refused(
    two_models: str, faults: Faults
) -> None:
    first_is_there = threading.Event()
    faults.add("POST", "/upload/", Hold(first_is_there), Announce(first_is_there))

    def promoted(version: str) -> str | None:
        try:
            move_champion(two_models, version, expected=None)
        except UserError as error:
            return str(error)
        return None

    with ThreadPoolExecutor(2) as pool:
        refused = sorted(pool.map(promoted, ("A", "B")), key=str)
    assert faults.left == []
    winner = champion(two_models).version
    assert refused == sorted(
        [None, f"The champion of the model store {two_models} is {winner}, no longer none, since another run promoted "
               f"at the same time: look at it, then run again."], key=str
    )  # fmt: skip


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_a_promotion_over_a_network_that_fails_is_made_once(fault: Fault, two_models: str, faults: Faults) -> None:
    faults.add("POST", "/upload/", fault)
    assert move_champion(two_models, "A", expected=None).version == "A"
    faults.add("GET", POINTER.replace("/", "%2F"), fault)
    faults.add("POST", "/upload/", fault, fault)
    assert move_champion(two_models, "B", expected="A").previous == "A"
    assert champion(two_models).version == "B"
    assert faults.left == []
