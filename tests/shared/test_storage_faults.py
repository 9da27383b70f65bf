"""A bucket over a network that fails: what passes is tried again, what stays ends in one sentence, nothing is torn."""

import os
import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from google.cloud import storage

from components.shared.errors import UserError
from components.shared.model_store import POINTER, add_model, champion, move_champion
from components.shared.storage import Folder, open_folder
from tests.shared.faults import Announce, Answer, CutAnswer, CutRequest, Drop, Fault, Faults, Hold, faulty_proxy
from tests.shared.test_model_store import write_model

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


def put(folder: Folder, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(content)
    folder.put(tmp_path / "source", "a/b")


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_what_passes_is_tried_again_by_every_request(
    fault: Fault, folder: Folder, faults: Faults, tmp_path: Path
) -> None:
    faults.add("POST", "/upload/", fault, fault, fault)
    folder.write("a/b", b"one")
    assert folder.read("a/b") == b"one"
    faults.add("POST", "/upload/", fault)
    put(folder, b"two", tmp_path)
    faults.add("GET", "a%2Fb", fault, fault)
    assert folder.read("a/b") == b"two"
    faults.add("GET", "/o?", fault)
    faults.add("GET", "a%2Fb", fault)
    with folder.fetched("a") as path:
        assert (path / "b").read_bytes() == b"two"
    faults.add("GET", "/o?", fault)
    assert folder.names("a") == ["a/b"]
    faults.add("DELETE", "a%2Fb", fault)
    folder.remove("a")
    assert folder.names("") == []
    assert faults.left == []


@pytest.mark.parametrize("fault", PASSING, ids=str)
def test_a_swap_goes_through_once_whatever_passes(fault: Fault, folder: Folder, faults: Faults) -> None:
    faults.add("GET", "a%2Fb", fault)
    faults.add("POST", "/upload/", fault, fault)
    assert folder.swap("a/b", b"after", b"before")
    assert folder.read("a/b") == b"after"
    assert faults.left == []


# Not one whose last answer is lost: Cloud Storage gives it again when it is asked again, this server knows no more of
# the upload.
@pytest.mark.parametrize("fault", [Answer(503), Answer(429), Drop(), CutRequest(0), CutRequest(4 << 20)], ids=str)
def test_a_resumable_upload_that_is_cut_ends_whole(
    fault: Fault, folder: Folder, faults: Faults, tmp_path: Path
) -> None:
    content = os.urandom(LARGE)
    faults.add("PUT", "/upload/", fault, fault)
    put(folder, content, tmp_path)
    assert faults.left == []
    assert folder.read("a/b") == content


def test_a_download_that_is_cut_ends_whole(folder: Folder, faults: Faults) -> None:
    content = os.urandom(LARGE)
    folder.write("a/b", content)
    faults.add("GET", "a%2Fb", CutAnswer(4 << 20), CutAnswer(1 << 20))
    assert folder.read("a/b") == content
    faults.add("GET", "a%2Fb", CutAnswer(4 << 20))
    with folder.fetched("a/b") as path:
        assert path.read_bytes() == content
    assert faults.left == []


def an_upload(folder: Folder, tmp_path: Path) -> None:
    folder.write("a/b", b"after")


def a_resumable_upload(folder: Folder, tmp_path: Path) -> None:
    put(folder, bytes(LARGE), tmp_path)


def a_swap(folder: Folder, tmp_path: Path) -> None:
    folder.swap("a/b", b"after", b"before")


@pytest.mark.parametrize("fault", [Answer(503), Answer(429), Drop()], ids=str)
@pytest.mark.parametrize("act", [an_upload, a_resumable_upload, a_swap])
def test_what_stays_ends_in_one_sentence_and_leaves_what_was_there(
    act: Callable[[Folder, Path], None], fault: Fault, folder: Folder, faults: Faults, tmp_path: Path
) -> None:
    for method in ("POST", "PUT"):
        faults.add(method, "/upload/", fault, always=True)
    with pytest.raises(UserError, match=rf"^{folder.uri} cannot be reached \(\w+\): try again later\.$"):
        act(folder, tmp_path)
    assert len(faults.requests) > 4
    assert folder.read("a/b") == b"before"


FULL = [Answer(507), Answer(403, b'{"error": {"code": 403, "errors": [{"reason": "quotaExceeded"}], "message": "no"}}')]


@pytest.mark.parametrize("fault", FULL, ids=str)
@pytest.mark.parametrize(
    ("act", "method"),
    [(an_upload, "POST"), (a_resumable_upload, "POST"), (a_resumable_upload, "PUT"), (a_swap, "POST")],
)
def test_a_bucket_that_is_full_gets_one_sentence_at_once_and_a_retry_succeeds_when_there_is_room(
    act: Callable[[Folder, Path], None], method: str, fault: Fault, folder: Folder, faults: Faults, tmp_path: Path
) -> None:
    faults.add(method, "/upload/", fault)
    with pytest.raises(UserError, match=f"^There is no room left for {folder.uri}: make some, then run again.$"):
        act(folder, tmp_path)
    assert faults.left == []
    assert folder.read("a/b") == b"before"
    act(folder, tmp_path)
    assert folder.read("a/b") != b"before"


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
               f"at the same time: run the training pipeline again."], key=str
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
