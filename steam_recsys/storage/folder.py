"""One interface for folders on disk, in a bucket of Google Cloud Storage and in a bucket of an S3-compatible store.

A file is written atomically, has reached the disk once it is written, and can be replaced on condition that its content
is still the expected one. The store's pointers, journals and shards rely on nothing else: what was written before a
marker is there if the marker is, also after a loss of power.
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
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
S3_SCHEME = "s3://"

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers of a disk without room, of a quota and of a limit of the file's size."""

S3_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_SESSION_TOKEN")
"""Environment variables with the settings of an S3-compatible store."""


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


def is_remote(uri: str | Path) -> bool:
    """Return whether a folder is in a bucket, not on disk."""
    return str(uri).startswith((BUCKET_SCHEME, S3_SCHEME))


def open_folder(uri: str | Path) -> Folder:
    """Return the folder at a path or a URI such as `gs://bucket/store` or `s3://bucket/store`. It need not exist yet.

    Raises:
        UserError: The URI has another scheme, or names no bucket.

    Example:
        >>> folder = open_folder("store")
        >>> folder.write("runs/run-1/extract.json", b"{}")
        >>> folder.names("runs")
        ['runs/run-1/extract.json']
    """
    text = str(uri).rstrip("/") if is_remote(uri) else str(uri)
    if is_remote(uri) and not text.partition("://")[2].partition("/")[0]:
        raise UserError(f"{uri} names no bucket: write it as gs://BUCKET/FOLDER or s3://BUCKET/FOLDER.")
    # Each client is slow to import, and needed for its buckets only.
    if text.startswith(BUCKET_SCHEME):
        from steam_recsys.storage.bucket import BucketFolder

        return BucketFolder(text)
    if text.startswith(S3_SCHEME):
        from steam_recsys.storage.s3 import S3Folder

        return S3Folder(text)
    if "://" in text:
        raise UserError(f"{text} is neither a path nor a gs:// or s3:// URI: name a folder or a bucket's folder.")
    return DiskFolder(text)


def no_space_error(uri: str) -> UserError:
    """Return the error for a folder that is full."""
    return UserError(f"There is no room left for {uri}: make some, then run again.")


def replace_durably(source: Path, target: Path) -> None:
    """Rename a file, replacing another.

    The content reaches the disk before the name does, and the name before this returns: a loss of power does not leave
    the name with half of the content, or with none.
    """
    _sync(source)
    source.replace(target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems do not sync folders
            raise
    finally:
        os.close(descriptor)


def _create(folder: Path) -> None:
    """Create a folder and its parents unless they exist, so that their names reach the disk too."""
    if not folder.is_dir():
        _create(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync(folder.parent)


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
        except PermissionError:
            raise UserError(f"{self._root / name} may not be read: give this user the right.") from None

    def write(self, name: str, content: bytes) -> None:
        """See `Folder.write`."""
        with self._atomic_write(name) as path:
            path.write_bytes(content)

    def compare_and_swap(self, name: str, content: bytes, expected: bytes | None) -> bool:
        """See `Folder.compare_and_swap`. Writers take a file lock, which the system releases when a process ends."""
        lock = self._root / f"{name}.lock"
        with self._user_errors():
            _create(lock.parent)
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
        # Folders that another run removes in the meantime are passed over.
        walked = (Path(folder) / file for folder, _, found in os.walk(root) for file in found)
        files = [root] if root.is_file() else [path for path in walked if path.is_file()]
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
            shutil.rmtree(path, ignore_errors=True)  # another run may remove it at the same time
            if path.exists():
                raise UserError(f"{path} cannot be removed: give this user the right to, or remove it as its owner.")
        else:
            with self._user_errors():
                path.unlink(missing_ok=True)

    @contextmanager
    def _atomic_write(self, name: str) -> Iterator[Path]:
        path = self._root / name
        with self._user_errors():
            _create(path.parent)
            descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
            try:
                with open(descriptor, "wb"):
                    yield Path(temporary)
                Path(temporary).chmod(0o644)
                replace_durably(Path(temporary), path)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise

    @contextmanager
    def _user_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in FULL_DISK:
                raise no_space_error(self.uri) from None
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise UserError(
                    f"{self.uri} may not be written to: give this user the right, or name another folder."
                ) from None
            raise
