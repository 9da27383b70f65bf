"""One interface for folders on disk and in a bucket of Google Cloud Storage.

A file is written atomically, and can be replaced on condition that its content is still the expected one. The store's
pointers, journals and shards rely on nothing else.
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

BUCKET_SCHEME = "gs://"


@dataclass(frozen=True)
class FileInfo:
    """A file's size in bytes, and when it was written by the clock of the disk or bucket."""

    bytes: int
    written_at: datetime


class Folder(Protocol):
    """A folder of files. Names are relative to the folder, with slashes."""

    uri: str

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None if the file does not exist."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file atomically; an existing file is replaced."""

    def compare_and_swap(self, name: str, content: bytes, expected: bytes | None) -> bool:
        """Write a file if its content is `expected` (None: if it does not exist), and return whether it was written."""

    def put(self, source: Path, name: str) -> None:
        """Copy a local file into the folder."""

    def local_path(self, name: str) -> AbstractContextManager[Path]:
        """Give a local path for reading a file or a folder. The path does not exist if the file or folder does not."""

    def arrow_source(self, name: str, size: int) -> str | io.RawIOBase:
        """Return a file of a known size for Arrow to read parts of: a local path, or an open file."""

    def names(self, name: str) -> list[str]:
        """Return the sorted names of all files in a folder and its subfolders, or the name itself if it is a file."""

    def list_files(self, name: str) -> dict[str, FileInfo]:
        """Return the files that `names` lists, with size and time."""

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with its content. The name `""` is this folder itself."""


def open_folder(uri: str | Path) -> Folder:
    """Return the folder at a path or a URI such as `gs://bucket/store`. It need not exist yet.

    Raises:
        UserError: The URI has another scheme.

    Example:
        >>> folder = open_folder("store")
        >>> folder.write("runs/run-1/extract.json", b"{}")
        >>> folder.names("runs")
        ['runs/run-1/extract.json']
    """
    text = str(uri)
    if text.startswith(BUCKET_SCHEME):
        from steam_recsys.storage.bucket import BucketFolder  # slow to import, and needed for buckets only

        return BucketFolder(text.rstrip("/"))
    if "://" in text:
        raise UserError(f"{text} is neither a path nor a gs:// URI: name a folder or a bucket's folder.")
    return DiskFolder(text)


def no_space_error(uri: str) -> UserError:
    """Return the error for a folder that is full."""
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
        except (FileNotFoundError, NotADirectoryError):
            return None

    def write(self, name: str, content: bytes) -> None:
        """See `Folder.write`."""
        with self._atomic_write(name) as path:
            path.write_bytes(content)

    def compare_and_swap(self, name: str, content: bytes, expected: bytes | None) -> bool:
        """See `Folder.compare_and_swap`. Writers take a file lock, which the system releases when a process ends."""
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
        with self._atomic_write(name) as path:
            shutil.copyfile(source, path)

    @contextmanager
    def local_path(self, name: str) -> Iterator[Path]:
        """See `Folder.local_path`."""
        yield self._root / name

    def arrow_source(self, name: str, size: int) -> str | io.RawIOBase:
        """See `Folder.arrow_source`."""
        return str(self._root / name)

    def names(self, name: str) -> list[str]:
        """See `Folder.names`."""
        root = self._root / name
        files = [root] if root.is_file() else (path for path in root.rglob("*") if path.is_file())
        return sorted(str(path.relative_to(self._root)) for path in files)

    def list_files(self, name: str) -> dict[str, FileInfo]:
        """See `Folder.list_files`."""
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
    def _atomic_write(self, name: str) -> Iterator[Path]:
        path = self._root / name
        with self._user_errors():
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
    def _user_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise no_space_error(self.uri) from None
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise UserError(
                    f"{self.uri} may not be written to: give this user the right, or name another folder."
                ) from None
            raise
