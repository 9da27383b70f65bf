"""COPY into PostgreSQL from chunks of bytes that are made while they are sent."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg2
from psycopg2 import sql

from steam_recsys.database.connection import COPY_BUFFER, Cursor

Chunk = bytes | memoryview


def copy_from_chunks(cursor: Cursor, statement: sql.Composable, chunks: Iterable[Chunk]) -> int:
    """Run a `COPY … FROM STDIN` on chunks of bytes; the number of rows that arrived.

    Raises:
        Exception: whatever the making of a chunk raises; the driver would turn it into an error of its own.
    """
    stream = _ChunkStream(iter(chunks))
    try:
        cursor.copy_expert(statement, stream, size=COPY_BUFFER)
    except psycopg2.Error:
        if stream.error:
            raise stream.error from None
        raise
    return cursor.rowcount


class _ChunkStream(io.RawIOBase):
    """Chunks as the file that the driver reads, the next one made in a thread while the last one is sent."""

    def __init__(self, chunks: Iterator[Chunk]) -> None:
        self._chunks = _one_ahead(chunks)
        self._chunk = memoryview(b"")
        self.error: Exception | None = None

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, a chunk where it is negative; none at the end."""
        try:
            while not len(self._chunk):
                self._chunk = memoryview(next(self._chunks))
        except StopIteration:
            return b""
        except Exception as error:
            self.error = error
            raise
        length = len(self._chunk) if size < 0 else size
        piece, self._chunk = self._chunk[:length], self._chunk[length:]
        return bytes(piece)


def _one_ahead(chunks: Iterator[Chunk]) -> Iterator[Chunk]:
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, chunks, None)
        while (chunk := following.result()) is not None:
            following = thread.submit(next, chunks, None)
            yield chunk
