"""State files and artifacts: damage, other releases and interrupted removals are noticed before anything is read."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from steam_recsys.errors import ArtifactError, UserError
from steam_recsys.storage.folder import Folder, open_folder
from steam_recsys.storage.manifest import (
    MANIFEST,
    Artifact,
    ArtifactWriter,
    FileDigest,
    UnreadableError,
    clean_up,
    complete_artifact,
    remove_artifact,
    seal,
    unseal,
)
from tests.damage import damaged_contents, fail_removals

FIELDS = {"version": "v1", "shards": [[1, 2], [3, 4]], "share": 0.1, "name": 'ü "\n', "sha256": "ab"}
FILES = {"model.json": b'{"scale": 4.0}', "deep/weights": bytes(range(256)) * 40, "empty": b""}


@pytest.fixture
def folder(any_store: str) -> Folder:
    """The folder of a complete artifact, on disk and in a bucket."""
    folder = open_folder(f"{any_store}/artifact")
    writer = ArtifactWriter(folder)
    for name, content in FILES.items():
        writer.write(name, content)
    writer.finish()
    return folder


def opened(folder: Folder) -> Artifact:
    return Artifact.open(folder, "model", "train it again")


def test_state_files_return_what_was_sealed_and_are_plain_json() -> None:
    assert unseal(seal(FIELDS), dict) == FIELDS
    assert json.loads(seal(FIELDS)).items() >= FIELDS.items()
    assert unseal(seal({}), dict) == {}


def test_every_flipped_bit_of_a_state_file_is_noticed() -> None:
    content = seal(FIELDS)
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UnreadableError):
            unseal(bytes(changed), dict)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"7", b'"format"', b"{}", b"\xff", b"[" * 100_000])
def test_content_that_is_no_state_file_is_reported(content: bytes) -> None:
    with pytest.raises(UnreadableError, match=r"^is damaged, or of another release$"):
        unseal(content, dict)


def test_a_state_file_that_was_cut_off_or_goes_on_is_reported() -> None:
    content = seal(FIELDS)
    for changed in (*(content[:end] for end in range(len(content))), content + b"\n", content + content):
        with pytest.raises(UnreadableError):
            unseal(changed, dict)


@pytest.mark.parametrize("found", [0, 2, "1", None, [1]])
def test_another_format_is_reported(found: object) -> None:
    with pytest.raises(UnreadableError, match=r"^has the format .* of another release, not 1$"):
        unseal(seal({"format": found}), dict)


@pytest.mark.parametrize(
    "decode",
    [lambda fields: fields["none"], lambda fields: FileDigest(**fields), lambda fields: int(fields["version"]),
     lambda fields: fields["version"].items(), lambda fields: fields["shards"][7]],
)  # fmt: skip
def test_fields_of_another_release_are_reported(decode) -> None:
    with pytest.raises(UnreadableError, match=r"^is of another release \("):
        unseal(seal(FIELDS), decode)


def test_digests_of_a_file_and_of_its_content_are_equal(tmp_path: Path) -> None:
    for content in FILES.values():
        (tmp_path / "file").write_bytes(content)
        assert FileDigest.from_path(tmp_path / "file") == FileDigest.from_content(content)


def test_a_complete_artifact_gives_its_files(folder: Folder) -> None:
    artifact = opened(folder)
    artifact.verify()
    for name, content in FILES.items():
        with artifact.file(name) as path:
            assert path.read_bytes() == content


def test_a_local_folder_is_completed_with_all_its_files(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    for _ in range(2):
        complete_artifact(tmp_path)
        artifact = Artifact.open(tmp_path, "model", "train it again")
        assert artifact.files == {name: FileDigest.from_content(content) for name, content in FILES.items()}


@pytest.mark.parametrize("name", [name for name, content in FILES.items() if content])
def test_a_damaged_file_is_reported_with_its_name_and_the_remedy(folder: Folder, name: str) -> None:
    for _, content in damaged_contents(FILES[name]):
        folder.write(name, content)
        sentence = f"^{folder.uri}/{name} is damaged, its checksum is not that of its manifest: train it again.$"
        with pytest.raises(ArtifactError, match=sentence), opened(folder).file(name):
            pytest.fail("the file was given")
        with pytest.raises(ArtifactError, match=sentence):
            opened(folder).verify()


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_reported(folder: Folder, name: str) -> None:
    folder.remove(name)
    sentence = rf"^{folder.uri} holds no complete model \({name} is missing\): train it again\.$"
    with pytest.raises(ArtifactError, match=sentence):
        opened(folder).verify()


def test_a_file_that_is_not_in_the_manifest_is_not_given(folder: Folder) -> None:
    folder.write("added", b"later")
    with pytest.raises(ArtifactError, match=r"\(added is missing\)"), opened(folder).file("added"):
        pytest.fail("the file was given")


def test_a_file_that_the_disk_does_not_give_is_reported(store: str) -> None:
    writer = ArtifactWriter(open_folder(store))
    writer.write("weights", b"1")
    writer.finish()
    (Path(store) / "weights").unlink()
    (Path(store) / "weights").mkdir()
    with pytest.raises(ArtifactError, match=rf"^{store}/weights cannot be read \(Is a directory\): train it again\.$"):
        opened(open_folder(store)).verify()


def test_a_damaged_manifest_is_reported(folder: Folder) -> None:
    for _, content in damaged_contents(folder.read(MANIFEST)):
        folder.write(MANIFEST, content)
        with pytest.raises(ArtifactError, match=rf"^{folder.uri}/manifest\.json (is|has) .*: train it again\.$"):
            opened(folder)


def test_a_folder_without_a_manifest_is_not_complete(store: str, folder: Folder) -> None:
    for missing in (open_folder(store), open_folder(f"{folder.uri}/nothing")):
        with pytest.raises(ArtifactError, match=r"holds no complete model \(manifest.json is missing\)"):
            opened(missing)


def test_errors_of_a_reader_name_the_file_in_the_store(folder: Folder) -> None:
    with pytest.raises(ArtifactError) as caught, folder.local_path("model.json") as path:
        raise ArtifactError(f"{path} is odd.")
    assert str(caught.value) == f"{folder.uri}/model.json is odd."


@pytest.mark.parametrize("removals", range(len(FILES) + 1))
@pytest.mark.parametrize("killed", [True, False], ids=["killed", "refused"])
def test_what_an_interrupted_removal_leaves_is_not_complete(
    folder: Folder, removals: int, killed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = folder.names("")
    with monkeypatch.context() as patch:
        fail_removals(patch, folder.uri, removals, killed)
        with suppress(KeyboardInterrupt, UserError, OSError):
            remove_artifact(folder)
    left = folder.names("")
    assert len(left) == len(before) - removals
    if removals:
        with pytest.raises(ArtifactError, match=r"manifest.json is missing"):
            opened(folder)
    else:
        opened(folder).verify()
    remove_artifact(folder)
    assert folder.names("") == []


def test_an_artifact_in_a_subfolder_is_removed_alone(folder: Folder, any_store: str) -> None:
    store = open_folder(any_store)
    store.write("artifact-2/manifest.json", b"{}")
    remove_artifact(store, "artifact")
    assert store.names("") == ["artifact-2/manifest.json"]
    remove_artifact(store, "artifact")


@pytest.mark.parametrize("error", [UserError("It is shut."), PermissionError(13, "It is shut.")])
def test_a_failed_clean_up_is_a_warning(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with clean_up("extract", "store/old"):
        raise error
    warning = "[extract] warning: store/old could not be removed, a later run tries again: "
    assert capsys.readouterr().out.startswith(warning)
    with pytest.raises(ZeroDivisionError), clean_up("extract", "store/old"):
        raise ZeroDivisionError
