"""An S3-compatible store over a failing network, with wrong settings, and on servers without conditional writes."""

import io
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from boto3.session import Session

from steam_recsys.errors import UserError
from steam_recsys.storage import s3 as module
from steam_recsys.storage.folder import Folder, open_folder
from steam_recsys.storage.model_store import POINTER, add_model, champion, move_champion
from tests.s3_server import S3_ENVIRONMENT, create_bucket, s3_server
from tests.steam_recsys.storage.faults import (
    Announce,
    Answer,
    CutAnswer,
    CutRequest,
    Drop,
    Fault,
    Faults,
    Hang,
    Hold,
    faulty_proxy,
)
from tests.steam_recsys.storage.test_faults import (
    LARGE,
    TRANSIENT,
    Use,
    fetches,
    lists,
    puts,
    puts_a_large_file,
    reads,
    reads_a_range,
    removes,
    swaps,
    writes,
)
from tests.steam_recsys.storage.test_model_store import write_model


def error(status: int, code: str) -> Answer:
    """Return a server's answer in S3's form. A real one repeats the key's id, which is no part of any sentence."""
    key = S3_ENVIRONMENT["AWS_ACCESS_KEY_ID"]
    body = f"<Error><Code>{code}</Code><Message>{key}</Message><AWSAccessKeyId>{key}</AWSAccessKeyId></Error>"
    return Answer(status, body.encode())


@pytest.fixture(scope="module")
def proxy(s3_url: str) -> Iterator[tuple[str, Faults]]:
    """The URL of a proxy in front of the server, the same for all tests: a client takes a while to create."""
    faults = Faults()
    with faulty_proxy(s3_url, faults) as url:
        yield url, faults


@pytest.fixture
def faults(proxy: tuple[str, Faults], s3: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """The faults of that proxy, none at first. Retries do not wait."""
    url, faults = proxy
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
    yield faults
    faults.end()
    faults.requests.clear()


@pytest.fixture
def store(s3: str) -> str:
    return f"s3://{create_bucket(s3)}/store"


@pytest.fixture
def folder(store: str, faults: Faults) -> Folder:
    folder = open_folder(store)
    folder.write("a/b", b"before")
    return folder


def put_object(folder: Folder, key: str) -> None:
    client: Any = Session().client("s3")
    client.put_object(Bucket=folder.uri.split("/")[2], Key=key, Body=b"")


OBJECT, CHECK, LIST, PART = "/store/a/b", f"/store/{module.CONDITIONS_CHECK}", "list-type=2", "/store/a/b?"

READING = [
    (reads, "GET", OBJECT),
    (reads_a_range, "GET", OBJECT),
    (lists, "GET", LIST),
    (fetches, "GET", LIST),
    (fetches, "GET", OBJECT),
    (swaps, "GET", OBJECT),
    (removes, "GET", LIST),
]
UPLOADING = [(writes, "PUT", OBJECT), (puts, "PUT", OBJECT), (swaps, "PUT", OBJECT), (swaps, "PUT", CHECK)]
SMALL = [*READING, *UPLOADING, (removes, "DELETE", OBJECT)]
STARTING_A_LARGE_UPLOAD = [(puts_a_large_file, "POST", "?uploads"), (puts_a_large_file, "PUT", PART)]
LARGE_UPLOADING = [*STARTING_A_LARGE_UPLOAD, (puts_a_large_file, "POST", "?uploadId=")]
"""A use, and the method and part of the path of one of its requests."""


def pairs(uses: Sequence[tuple[Use, str, str]], faults: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Let each use meet the first fault, and writing all of them: what each request does about a fault is the same."""
    return [*((*use, faults[0]) for use in uses), *((*UPLOADING[0], fault) for fault in faults[1:])]


@pytest.mark.parametrize(
    ("use", "method", "text", "fault"),
    pairs([*SMALL, *STARTING_A_LARGE_UPLOAD], [*TRANSIENT, CutRequest(100), error(503, "SlowDown")]),
)
def test_every_request_is_retried_after_a_transient_error(
    use: Use, method: str, text: str, fault: Fault, folder: Folder, faults: Faults, tmp_path: Path
) -> None:
    faults.add(method, text, fault, fault)
    use(folder, tmp_path / "local")
    assert faults.left == []


def test_an_interrupted_upload_of_a_large_file_completes(folder: Folder, faults: Faults, tmp_path: Path) -> None:
    faults.add("PUT", PART, CutRequest(0), CutRequest(4 << 20))
    faults.add("POST", "?uploadId=", Drop(), Answer(503))
    puts_a_large_file(folder, tmp_path / "local")
    assert faults.left == []


def test_an_interrupted_download_completes(folder: Folder, faults: Faults) -> None:
    content = os.urandom(LARGE)
    folder.write("a/b", content)
    faults.add("GET", OBJECT, CutAnswer(4 << 20), CutAnswer(1 << 20))
    assert folder.read("a/b") == content
    faults.add("GET", OBJECT, CutAnswer(4 << 20))
    with folder.local_path("a/b") as path:
        assert path.read_bytes() == content
    source = folder.arrow_source("a/b", LARGE)
    assert isinstance(source, io.RawIOBase)
    source.seek(1_000)
    faults.add("GET", OBJECT, CutAnswer(4 << 20))
    assert source.read(8 << 20) == content[1_000 : 1_000 + (8 << 20)]
    assert faults.left == []


def test_a_download_that_always_breaks_off_ends_with_one_sentence(folder: Folder, faults: Faults) -> None:
    faults.add("GET", OBJECT, CutAnswer(3), always=True)
    with pytest.raises(UserError, match=rf"^{folder.uri} cannot be reached \(\w+Error\): "):
        folder.read("a/b")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A client that gives a request up early and tries it again."""
    monkeypatch.setattr(module, "ATTEMPT_SECONDS", 0.3)
    module._client.cache_clear()
    yield
    module._client.cache_clear()


@pytest.fixture
def hang(faults: Faults) -> Iterator[Hang]:
    end = threading.Event()
    yield Hang(end)
    end.set()


@pytest.mark.parametrize(("use", "method", "text"), [READING[0], READING[2], UPLOADING[0], UPLOADING[2]])
def test_a_hanging_request_is_tried_again(
    use: Use, method: str, text: str, impatient: None, folder: Folder, faults: Faults, hang: Hang, tmp_path: Path
) -> None:
    faults.add(method, text, hang)
    use(folder, tmp_path / "local")
    assert faults.left == []


def test_attempts_that_all_hang_end_with_one_sentence(
    impatient: None, folder: Folder, faults: Faults, hang: Hang
) -> None:
    faults.add("GET", OBJECT, hang, always=True)
    before = len(faults.requests)
    with pytest.raises(UserError, match=rf"^{folder.uri} cannot be reached \(ReadTimeoutError\): "):
        folder.read("a/b")
    assert len(faults.requests) == before + module.ATTEMPTS


PERMANENT = [(Answer(503), "HTTP 503"), (error(503, "SlowDown"), "HTTP 503, SlowDown"), (Answer(429), "HTTP 429"),
             (Drop(), "ConnectionClosedError")]  # fmt: skip


@pytest.mark.parametrize(("use", "method", "text", "answer"), pairs([*SMALL, *LARGE_UPLOADING], PERMANENT))
def test_a_permanent_error_is_reported_and_the_file_stays(
    use: Use, method: str, text: str, answer: tuple[Fault, str], folder: Folder, faults: Faults, tmp_path: Path
) -> None:
    fault, reason = answer
    before = len(faults.requests)
    faults.add(method, text, fault, always=True)
    sentence = rf"^{folder.uri} cannot be reached \({reason}\): check AWS_ENDPOINT_URL_S3, or try again later\.$"
    with pytest.raises(UserError, match=sentence):
        use(folder, tmp_path / "local")
    assert len(faults.requests) >= before + 3
    faults.end()
    assert folder.read("a/b") == b"before"


REFUSALS = {
    error(403, "AccessDenied"): "may not be used with these credentials: let them list the bucket, and read, write and "
    "delete its objects.",
    Answer(403): "may not be used with these credentials: let them list the bucket, and read, write and delete its "
    "objects.",
    error(403, "InvalidAccessKeyId"): "does not accept the credentials (InvalidAccessKeyId): correct AWS_ACCESS_KEY_ID "
    "and AWS_SECRET_ACCESS_KEY, which must not end with a line break.",
    error(403, "SignatureDoesNotMatch"): "does not accept the credentials (SignatureDoesNotMatch): correct "
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, which must not end with a line break.",
}


@pytest.mark.parametrize(("use", "method", "text", "fault"), pairs([*SMALL, *LARGE_UPLOADING], list(REFUSALS)))
def test_a_refusal_is_reported_without_retry(
    use: Use, method: str, text: str, fault: Answer, folder: Folder, faults: Faults, tmp_path: Path
) -> None:
    faults.add(method, text, fault)
    with pytest.raises(UserError) as caught:
        use(folder, tmp_path / "local")
    assert str(caught.value) == f"{folder.uri} {REFUSALS[fault]}"
    assert faults.left == []
    assert folder.read("a/b") == b"before"


FULL = [Answer(507), error(403, "QuotaExceeded"), error(507, "XMinioStorageFull")]


@pytest.mark.parametrize(("use", "method", "text", "fault"), pairs([*UPLOADING, *LARGE_UPLOADING], FULL))
def test_a_full_bucket_is_reported_at_once_and_a_later_run_succeeds(
    use: Use, method: str, text: str, fault: Fault, folder: Folder, faults: Faults, tmp_path: Path
) -> None:
    faults.add(method, text, fault)
    with pytest.raises(UserError, match=f"^There is no room left for {folder.uri}: make some, then run again.$"):
        use(folder, tmp_path / "local")
    assert faults.left == []
    assert folder.read("a/b") == b"before"
    use(folder, tmp_path / "local")


def test_a_file_that_disappears_during_a_download_is_not_reported_as_a_missing_bucket(
    folder: Folder, faults: Faults, tmp_path: Path
) -> None:
    faults.add("GET", OBJECT, error(404, "NoSuchKey"))
    with pytest.raises(UserError, match=f"^{folder.uri}/a changed while it was read: run again.$"):
        fetches(folder, tmp_path)


def test_only_the_requested_ranges_of_a_file_are_downloaded(folder: Folder, faults: Faults) -> None:
    folder.write("file", b"0123456789")
    source = folder.arrow_source("file", 10)
    assert isinstance(source, io.RawIOBase)
    before = len(faults.requests)
    assert (source.seek(-4, io.SEEK_END), source.read(2), source.read(5), source.read(5)) == (6, b"67", b"89", b"")
    assert len(faults.requests) == before + 2
    folder.remove("file")
    source.seek(0)
    with pytest.raises(UserError, match=f"^{folder.uri}/file is missing: create it again.$"):
        source.read(1)


def test_the_empty_objects_that_show_folders_are_passed_over_and_removed(folder: Folder) -> None:
    for key in ("store/", "store/a/", "store/a/raw/", "store/empty/"):
        put_object(folder, key)
    assert folder.names("") == ["a/b"]
    fetches(folder, Path())
    with folder.local_path("empty") as path:
        assert not path.exists()
    folder.remove("")
    client: Any = Session().client("s3")
    assert "Contents" not in client.list_objects_v2(Bucket=folder.uri.split("/")[2])


def test_an_object_whose_name_leads_out_of_a_folder_is_not_written_elsewhere(folder: Folder) -> None:
    put_object(folder, "store/a/../../escaped")
    with (
        pytest.raises(UserError, match=r"/a has an object whose name leads out of it \(store/a/../../escaped\): "),
        folder.local_path("a"),
    ):
        pass


def test_a_listing_of_several_pages_is_complete(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    names = [f"c/{number}" for number in range(5)]
    for name in names:
        folder.write(name, b"x")
    assert folder.names("c") == names
    folder.remove("c")
    assert folder.names("") == ["a/b"]


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "both"])
def test_missing_credentials_are_reported(missing: str, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        if missing in (name, "both"):
            monkeypatch.delenv(name)
    with pytest.raises(UserError) as caught:
        open_folder(store).write("a", b"")
    assert str(caught.value) == (
        f"There are no credentials for {store}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and "
        f"AWS_ENDPOINT_URL_S3 for a server other than Amazon's."
    )


def test_a_line_break_in_the_key_is_reported_without_the_key(
    store: str, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "the-key-id\n")  # as in a Kubernetes secret made from a file
    with pytest.raises(UserError) as caught:
        open_folder(store).read("a")
    assert str(caught.value) == (
        f"{store} does not accept the credentials (a line break in the key): correct AWS_ACCESS_KEY_ID and "
        f"AWS_SECRET_ACCESS_KEY, which must not end with a line break."
    )


def test_a_server_that_does_not_listen_is_reported(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:1")
    sentence = (
        rf"^{store} cannot be reached \(EndpointConnectionError\): check AWS_ENDPOINT_URL_S3, or try again later\.$"
    )
    with pytest.raises(UserError, match=sentence):
        open_folder(store).read("a")


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "AWS_ENDPOINT_URL_S3",
            "key:secret@store:9000",
            "^AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL is not a URL: write",
        ),
        ("AWS_REGION", "not a region", r" cannot be used \(InvalidRegionError\): correct the bucket's name or "),
    ],
)
def test_a_wrong_setting_is_reported(
    name: str, value: str, sentence: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=sentence):
        open_folder(store).read("a")


def test_a_name_that_no_bucket_can_have_is_reported(s3: str) -> None:
    with pytest.raises(UserError, match=r"^s3://no bucket/store cannot be used \(ParamValidationError\): correct the "):
        open_folder("s3://no bucket/store").read("a")


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_comes_from_the_environment(variable: str, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "eu-central-1")
    folder = open_folder("s3://bucket/store")
    assert isinstance(folder, module.S3Folder)
    assert folder._client.meta.region_name == "eu-central-1"


def test_the_endpoint_of_all_services_is_used_too(store: str, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    open_folder(store).write("a", b"content")
    assert open_folder(store).read("a") == b"content"


CONDITIONS = ["If-Match", "If-None-Match"]


@pytest.mark.parametrize("expected", [None, b"before"])
@pytest.mark.parametrize("ignored", [CONDITIONS, CONDITIONS[:1], CONDITIONS[1:]], ids=str)
def test_a_server_that_ignores_conditions_is_noticed_before_a_swap(
    ignored: list[str], expected: bytes | None, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server(ignored) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        folder = open_folder(store)
        if expected:
            folder.write("a/b", expected)
        for _ in range(2):  # the first try leaves the check's file, which the second one finds
            with pytest.raises(UserError) as caught:
                folder.compare_and_swap("a/b", b"after", expected)
            assert str(caught.value) == (
                f"The server of {store} has no conditional writes, so one promotion could silently undo another: use a "
                f"server that has them (If-Match and If-None-Match of PutObject), such as Amazon S3, MinIO, Ceph, or "
                f"SeaweedFS from 3.97 on."
            )
        assert folder.read("a/b") == expected


@pytest.mark.parametrize("fault", [error(501, "NotImplemented"), Answer(501), error(400, "InvalidArgument")], ids=str)
@pytest.mark.parametrize("text", [CHECK, OBJECT])
def test_a_server_that_refuses_conditions_is_reported(text: str, fault: Fault, folder: Folder, faults: Faults) -> None:
    faults.add("PUT", text, fault)
    with pytest.raises(UserError, match=f"^The server of {folder.uri} has no conditional writes, so one promotion "):
        folder.compare_and_swap("a/b", b"after", b"before")
    assert folder.read("a/b") == b"before"


CONFLICTS = [error(409, "ConditionalRequestConflict"), error(404, "NoSuchKey"), error(412, "PreconditionFailed")]


@pytest.mark.parametrize("fault", CONFLICTS, ids=str)
def test_a_swap_is_tried_again_while_the_content_is_the_expected_one(
    fault: Fault, folder: Folder, faults: Faults
) -> None:
    faults.add("PUT", CHECK, error(409, "ConditionalRequestConflict"))
    faults.add("PUT", OBJECT, fault, fault)
    assert folder.compare_and_swap("a/b", b"after", b"before")
    assert (faults.left, folder.read("a/b")) == ([], b"after")


def test_a_conflict_without_an_end_is_reported(folder: Folder, faults: Faults) -> None:
    faults.add("PUT", CHECK, error(412, "PreconditionFailed"), always=True)
    faults.add("PUT", OBJECT, error(409, "ConditionalRequestConflict"), always=True)
    with pytest.raises(UserError, match=f"^{folder.uri}/a/b is being written by others all the time: try again later"):
        folder.compare_and_swap("a/b", b"after", b"before")
    assert folder.read("a/b") == b"before"


@pytest.fixture
def two_models(store: str, faults: Faults, tmp_path: Path) -> str:
    for version in ("A", "B"):
        add_model(store, write_model(tmp_path / version, version))
    return store


def test_the_second_of_two_promotions_that_read_the_same_champion_is_rejected(two_models: str, faults: Faults) -> None:
    first_written = threading.Event()
    faults.add("PUT", POINTER, Hold(first_written), Announce(first_written))

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
               f"at the same time: check it, then run again."], key=str
    )  # fmt: skip


@pytest.mark.parametrize("fault", TRANSIENT, ids=str)
def test_a_promotion_over_a_failing_network_happens_once(fault: Fault, two_models: str, faults: Faults) -> None:
    faults.add("PUT", POINTER, fault)
    assert move_champion(two_models, "A", expected=None).version == "A"
    faults.add("GET", POINTER, fault)
    assert champion(two_models).version == "A"
    assert faults.left == []
