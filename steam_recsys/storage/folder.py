"""Folders that live on disk or in a bucket of Google Cloud Storage, and are used alike.

A file appears whole or not at all, and can be swapped for another only if it is still the one that was read: that is
all that the store's pointers, journals and shards ask for.
"""

from __future__ import annotations

import errno
import fcntl
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from steam_recsys.errors import UserError

BUCKET = "gs://"


@dataclass(frozen=True)
class FileInfo:
    """A file in a folder: its size in bytes, and when it was written by the clock of what holds it."""

    bytes: int
    written_at: datetime


class Folder(Protocol):
    """A folder of files; names are relative to it, with slashes."""

    uri: str

    def read(self, name: str) -> bytes | None:
        """A file's content; None where there is no such file."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of what was there."""

    def swap(self, name: str, content: bytes, expected: bytes | None) -> bool:
        """Write a file if its content is the expected one, None for no file; whether it was."""

    def put(self, source: Path, name: str) -> None:
        """Copy a file of this machine into the folder."""

    def fetched(self, name: str) -> AbstractContextManager[Path]:
        """A file, or a folder with all that is in it, as a path on this machine; it is only there to be read.

        Where there is no such file or folder, the path does not exist.
        """

    def source(self, name: str, size: int) -> str | io.RawIOBase:
        """A file of a known size as what Arrow reads parts of: a path on this machine, or an open file."""

    def names(self, name: str) -> list[str]:
        """All files in a folder and the folders below it, in order; the name itself where it is a file's."""

    def listed(self, name: str) -> dict[str, FileInfo]:
        """The same, with what is known of each."""

    def remove(self, name: str) -> None:
        """Remove a file, or a folder and all that is in it; `""` is this folder itself."""


def open_folder(uri: str | Path) -> Folder:
    """The folder that a path or a URI such as `gs://bucket/store` names; it need not exist yet.

    Raises:
        UserError: the URI is of another kind.
    """
    text = str(uri)
    if text.startswith(BUCKET):
        from steam_recsys.storage.bucket import BucketFolder  # slow to import, and not needed for a folder on disk

        return BucketFolder(text.rstrip("/"))
    if "://" in text:
        raise UserError(f"{text} is neither a path nor a gs:// URI: name a folder or a bucket's folder.")
    return DiskFolder(text)


def no_room(uri: str) -> UserError:
    """What a folder says that can hold no more."""
    return UserError(f"There is no room left for {uri}: make some, then run again.")


class DiskFolder:
    """A folder on disk."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._root = Path(uri)

    def read(self, name: str) -> bytes | None:
        """See `Folder.read`."""
        try:
            return (self._root / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """See `Folder.write`."""
        with self._incoming(name) as path:
            path.write_bytes(content)

    def swap(self, name: str, content: bytes, expected: bytes | None) -> bool:
        """See `Folder.swap`. One writer at a time; the lock goes with the process that holds it, however that ends."""
        lock = self._root / f"{name}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if self.read(name) != expected:
                return False
            self.write(name, content)
            return True

    def put(self, source: Path, name: str) -> None:
        """See `Folder.put`."""
        with self._incoming(name) as path:
            shutil.copyfile(source, path)

    @contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """See `Folder.fetched`: it is there already."""
        yield self._root / name

    def source(self, name: str, size: int) -> str | io.RawIOBase:
        """See `Folder.source`."""
        return str(self._root / name)

    def names(self, name: str) -> list[str]:
        """See `Folder.names`."""
        root = self._root / name
        files = [root] if root.is_file() else (path for path in root.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self._root)) for path in files)

    def listed(self, name: str) -> dict[str, FileInfo]:
        """See `Folder.listed`."""
        found = {}
        for file in self.names(name):
            try:
                status = (self._root / file).stat()
            except FileNotFoundError:
                continue  # removed in the meantime
            found[file] = FileInfo(status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
        return found

    def remove(self, name: str) -> None:
        """See `Folder.remove`."""
        path = self._root / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)

    @contextmanager
    def _incoming(self, name: str) -> Iterator[Path]:
        path = self._root / name
        with self._in_sentences():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
            try:
                with open(descriptor, "wb"):
                    yield Path(temporary)
                Path(temporary).chmod(0o644)
                Path(temporary).replace(path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise

    @contextmanager
    def _in_sentences(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise no_room(self.uri) from None
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise UserError(
                    f"{self.uri} may not be written to: give this user the right, or name another."
                ) from None
            raise
