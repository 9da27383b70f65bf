"""Checksums of what is stored, so that nothing is read that is damaged, incomplete or of another release.

An artifact is a folder whose files are written once: a model, or what a publication is predicted from. Its
`manifest.json` lists the size and the SHA-256 of each file. It is written last and removed first, so a folder without
one is not complete. Each file is compared with it before it is read.

A state file is one JSON object: a manifest, a plan, an evaluation, the champion's pointer. `seal` adds the format and a
checksum of the text, and `unseal` checks both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from steam_recsys.errors import ArtifactError, UserError
from steam_recsys.logging import log_warning
from steam_recsys.storage.folder import Folder, open_folder

MANIFEST = "manifest.json"

FORMAT = 1
"""The format of state files. Raise it if a later release writes files that this one would misread."""

_CHECKSUM = b',\n  "checksum": "'

Decoded = TypeVar("Decoded")


class UnreadableError(ValueError):
    """Content that is no state file of this release; the message says why, to follow the file's name."""


def seal(fields: Mapping[str, Any]) -> bytes:
    """Return the content of a state file.

    Example:
        >>> seal({"version": "v1"}).decode().splitlines()[1:3]
        ['  "format": 1,', '  "version": "v1",']
    """
    return _with_checksum(json.dumps({"format": FORMAT, **fields}, indent=2).encode())


def unseal(content: bytes, decode: Callable[[dict[str, Any]], Decoded]) -> Decoded:
    """Read a state file.

    Args:
        content: Content of the file.
        decode: Makes the result from the fields that were sealed.

    Raises:
        UnreadableError: The content is damaged, or another release wrote it.
    """
    try:
        fields = json.loads(content)
        found = fields.pop("format")
        del fields["checksum"]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise UnreadableError("is damaged, or of another release") from None
    if found != FORMAT:
        raise UnreadableError(f"has the format {found!r} of another release, not {FORMAT}")
    if content != _with_checksum(content.rpartition(_CHECKSUM)[0] + b"\n}"):
        raise UnreadableError("is damaged, its checksum is wrong")
    try:
        return decode(fields)
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UnreadableError(f"is of another release ({type(error).__name__}: {error})") from None


@dataclass(frozen=True)
class FileDigest:
    """The size of a file in bytes, and its SHA-256 in hexadecimal."""

    size: int
    sha256: str

    @classmethod
    def from_path(cls, path: Path) -> FileDigest:
        """Compute the digest of a local file, which may be larger than the memory."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return cls(file.tell(), digest)

    @classmethod
    def from_content(cls, content: bytes) -> FileDigest:
        """Compute the digest of a file with this content."""
        return cls(len(content), hashlib.sha256(content).hexdigest())


class ArtifactWriter:
    """Writes an artifact: its files, then its manifest.

    Example:
        >>> writer = ArtifactWriter(open_folder("store/models/v1"))
        >>> writer.write("model.json", b"{}")
        >>> writer.finish()
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._files: dict[str, FileDigest] = {}

    def put(self, source: Path, name: str) -> None:
        """Copy a local file into the artifact."""
        self._files[name] = FileDigest.from_path(source)
        self._folder.put(source, name)

    def write(self, name: str, content: bytes) -> None:
        """Write a file of the artifact."""
        self._files[name] = FileDigest.from_content(content)
        self._folder.write(name, content)

    def finish(self) -> None:
        """Write the manifest: the artifact is complete."""
        _write_manifest(self._folder, self._files)


def complete_artifact(folder: Path) -> None:
    """Write the manifest of a local folder that has all its files."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    files = {path.relative_to(folder).as_posix(): FileDigest.from_path(path) for path in paths}
    _write_manifest(open_folder(folder), files)


@dataclass(frozen=True)
class Artifact:
    """A complete artifact.

    Attributes:
        folder: Its folder.
        kind: What it is, as a noun for messages, such as `model`.
        remedy: How to make it again, as an imperative for messages.
        files: Digest of each file by name.
    """

    folder: Folder
    kind: str
    remedy: str
    files: Mapping[str, FileDigest]

    @classmethod
    def open(cls, folder: Folder | str | Path, kind: str, remedy: str) -> Artifact:
        """Read the manifest of an artifact.

        Raises:
            ArtifactError: The folder has no manifest, or it cannot be read.
        """
        opened = open_folder(folder) if isinstance(folder, str | Path) else folder
        content = opened.read(MANIFEST)
        if content is None:
            raise _missing(opened, kind, remedy, MANIFEST)
        try:
            files = unseal(content, _files)
        except UnreadableError as error:
            raise ArtifactError(f"{opened.uri}/{MANIFEST} {error}: {remedy}.") from None
        return cls(opened, kind, remedy, files)

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """Give a file as a local path, after comparing it with the manifest.

        Raises:
            ArtifactError: The file is missing or damaged.
        """
        with self.folder.local_path(name) as path:
            if name not in self.files or not path.exists():
                raise _missing(self.folder, self.kind, self.remedy, name)
            try:
                intact = FileDigest.from_path(path) == self.files[name]
            except OSError as error:
                raise ArtifactError(
                    f"{self.folder.uri}/{name} cannot be read ({error.strerror}): {self.remedy}."
                ) from None
            if not intact:
                raise ArtifactError(
                    f"{self.folder.uri}/{name} is damaged, its checksum is not that of its manifest: {self.remedy}."
                )
            yield path

    def verify(self) -> None:
        """Compare all files with the manifest.

        Raises:
            ArtifactError: A file is missing or damaged.
        """
        for name in self.files:
            with self.file(name):
                pass


def remove_artifact(folder: Folder, name: str = "") -> None:
    """Remove an artifact, its manifest first: what an interrupted removal leaves is not complete.

    Args:
        folder: A folder.
        name: Subfolder with the artifact; empty for the folder itself.
    """
    folder.remove(f"{name}/{MANIFEST}".lstrip("/"))
    folder.remove(name)


@contextmanager
def clean_up(stage: str, what: str) -> Iterator[None]:
    """Log a warning if the body fails to remove what is no longer needed: the stage's work is done all the same.

    Args:
        stage: The stage's name.
        what: What the body removes, for the message.
    """
    try:
        yield
    except (UserError, OSError) as error:
        log_warning(stage, f"{what} could not be removed, a later run tries again: {error}")


def _with_checksum(text: bytes) -> bytes:
    return text.removesuffix(b"\n}") + _CHECKSUM + hashlib.sha256(text).hexdigest().encode() + b'"\n}\n'


def _write_manifest(folder: Folder, files: Mapping[str, FileDigest]) -> None:
    folder.write(MANIFEST, seal({"files": {name: asdict(digest) for name, digest in files.items()}}))


def _files(fields: dict[str, Any]) -> dict[str, FileDigest]:
    return {name: FileDigest(**digest) for name, digest in fields["files"].items()}


def _missing(folder: Folder, kind: str, remedy: str, name: str) -> ArtifactError:
    return ArtifactError(f"{folder.uri} holds no complete {kind} ({name} is missing): {remedy}.")
