"""A file in a bucket that reads as a local one does, by ranges of bytes."""

from __future__ import annotations

import io
from typing import Protocol


class RangeFolder(Protocol):
    """A folder whose files can be read in parts."""

    def read_range(self, name: str, start: int, end: int) -> bytes:
        """Return the bytes of a file from `start` (inclusive) to `end` (exclusive)."""


class RangeReader(io.RawIOBase):
    """A seekable file in a bucket, for Arrow to read."""

    def __init__(self, folder: RangeFolder, name: str, size: int) -> None:
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
