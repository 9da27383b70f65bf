"""The games that users have dismissed, as of one moment, in the order of the users."""

from __future__ import annotations

import hashlib
import tempfile
from typing import IO, Any

import numpy as np

from steam_recsys.arrays import Int32Array, Int64Array
from steam_recsys.database.connection import COPY_BUFFER, connect, create_schema
from steam_recsys.database.copy import HEADER, TRAILER

_QUERY = "COPY (SELECT user_id, game_id FROM recsys.dismissals ORDER BY user_id, game_id) TO STDOUT (FORMAT binary)"

_ROW = np.dtype([("fields", ">i2"), ("", ">i4"), ("user_id", ">i8"), ("", ">i4"), ("game_id", ">i4")])

BLOCK_ROWS = 1_000_000
"""Rows that are read at a time."""


class Dismissals:
    """Users and the games that they have dismissed, in an unnamed temporary file that disappears with the process."""

    def __init__(self) -> None:
        """Create an empty file, as of a database in which no user has dismissed a game."""
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it stays open
        self._hash = hashlib.sha256()
        self._rows_left = 0
        self._waiting = np.zeros(0, _ROW)  # read from the file, but of users that were not asked for yet

    @classmethod
    def read(cls, database: str) -> Dismissals:
        """Read `recsys.dismissals`.

        Args:
            database: Reference to the URL of the database.

        Raises:
            UserError: The database cannot be reached, or has another version of the schema `recsys`.
        """
        dismissals = cls()
        with connect(database, application="steam-recsys plan") as connection, connection.cursor() as cursor:
            create_schema(connection, "recsys")
            cursor.copy_expert(_QUERY, dismissals, size=COPY_BUFFER)
        dismissals._rows_left = (dismissals._file.tell() - len(HEADER) - len(TRAILER)) // _ROW.itemsize
        dismissals._file.seek(len(HEADER))
        return dismissals

    def write(self, content: bytes) -> int:
        """Append output of COPY."""
        self._hash.update(content)
        return self._file.write(content)

    @property
    def digest(self) -> str:
        """A hash of all pairs; empty if there are none."""
        return self._hash.hexdigest() if self._rows_left or len(self._waiting) else ""

    def until(self, user: int) -> tuple[Int64Array, Int32Array]:
        """Return the pairs of the next users, up to and including one; each pair once, so ask for ascending users.

        Returns:
            Users, int64 [n], ascending, and the games that they have dismissed, int32 [n].
        """
        parts: list[Any] = []
        while True:
            end = int(np.searchsorted(self._waiting["user_id"], user, side="right"))
            parts.append(self._waiting[:end])
            self._waiting = self._waiting[end:]
            if len(self._waiting) or not self._rows_left:
                break
            self._waiting = np.fromfile(self._file, _ROW, min(BLOCK_ROWS, self._rows_left))
            self._rows_left -= len(self._waiting)
        pairs = np.concatenate(parts)
        return pairs["user_id"].astype(np.int64), pairs["game_id"].astype(np.int32)
