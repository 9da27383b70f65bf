"""What folders in a bucket have in common, whatever the service: names, downloads, and files that are read in parts."""

from __future__ import annotations

import io
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Generic, TypeVar

from steam_recsys.errors import UserError
from steam_recsys.storage.folder import FileInfo

Listed = TypeVar("Listed")
"""An object as the service's client lists it."""


class RemoteFolder(ABC, Generic[Listed]):
    """A folder of a bucket. Requests are retried after transient errors and if they hang: all of them are idempotent.

    An object whose name ends with a slash is not a file: consoles create empty ones to show a folder.
    """

    def __init__(self, uri: str, scheme: str) -> None:
        self.uri = uri
        self._bucket_name, _, self._prefix = uri.removeprefix(scheme).partition("/")

    @contextmanager
    def local_path(self, name: str) -> Iterator[Path]:
        """See `Folder.local_path`. The files are downloaded, and deleted afterwards; errors name the bucket's files."""
        with tempfile.TemporaryDirectory(prefix="steam-recsys-") as scratch:
            path = Path(scratch) / (Path(name).name or "folder")
            with self._user_errors():
                for key, listed in self._files(name).items():
                    target = self._target(path, name, key)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with self._user_errors(missing=f"{self.uri}/{name} changed while it was read: run again."):
                        self._download(listed, target)
            try:
                yield path
            except UserError as error:
                error.args = (str(error).replace(str(path), f"{self.uri}/{name}".rstrip("/")),)
                raise

    def arrow_source(self, name: str, size: int) -> str | io.RawIOBase:
        """See `Folder.arrow_source`. Each read requests a range of bytes."""
        return _RangeReader(self, name, size)

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """Return the bytes of a file from `start` (inclusive) to `end` (exclusive).

        Raises:
            UserError: The file does not exist.
        """
        with self._user_errors(missing=f"{self.uri}/{name} is missing: create it again."):
            return self._read_range(name, start, end)

    def names(self, name: str) -> list[str]:
        """See `Folder.names`."""
        return sorted(self.list_files(name))

    def list_files(self, name: str) -> dict[str, FileInfo]:
        """See `Folder.list_files`."""
        own = len(self._prefix) + 1 if self._prefix else 0
        with self._user_errors():
            return {key[own:]: self._info(listed) for key, listed in self._files(name).items()}

    @abstractmethod
    def _list(self, prefix: str) -> Iterator[tuple[str, Listed]]:
        """List the bucket's objects whose names begin with a prefix, with their names."""

    @abstractmethod
    def _info(self, listed: Listed) -> FileInfo:
        """Return an object's size and time."""

    @abstractmethod
    def _download(self, listed: Listed, target: Path) -> None:
        """Copy an object into a local file."""

    @abstractmethod
    def _read_range(self, name: str, start: int, end: int) -> bytes:
        """See `read_range`."""

    @abstractmethod
    def _user_errors(self, missing: str = "") -> AbstractContextManager[None]:
        """Convert the client's errors to `UserError`, with the message `missing` if an object does not exist."""

    def _key(self, name: str) -> str:
        """Return the name of a file's object in the bucket."""
        return "/".join(part for part in (self._prefix, name) if part)

    def _objects(self, name: str) -> dict[str, Listed]:
        """Return the objects of a file, or of a folder and all below it, by their names in the bucket."""
        path = self._key(name)
        return {key: listed for key, listed in self._list(path) if not path or f"{key}/".startswith(f"{path}/")}

    def _files(self, name: str) -> dict[str, Listed]:
        return {key: listed for key, listed in self._objects(name).items() if not key.endswith("/")}

    def _target(self, path: Path, name: str, key: str) -> Path:
        """Return the local path for an object: below `path`, whatever the object's name."""
        below = key.removeprefix(self._key(name)).strip("/")
        if ".." in below.split("/"):
            raise UserError(f"{self.uri}/{name} has an object whose name leads out of it ({key}): remove it.")
        return path / below


class _RangeReader(io.RawIOBase):
    """A seekable file in a bucket, for Arrow to read."""

    def __init__(self, folder: RemoteFolder[Listed], name: str, size: int) -> None:
        self._folder, self._name, self._size = folder, name, size
        self._position = 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Set the position; this sends no request."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        """Read up to `size` bytes from the position, or all that follow if `size` is negative."""
        end = self._size if size < 0 else min(self._position + size, self._size)
        if end <= self._position:
            return b""
        content = self._folder.read_range(self._name, self._position, end)
        self._position += len(content)
        return content
