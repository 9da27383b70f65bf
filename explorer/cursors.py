"""Cursors: where a long list goes on, as an opaque text that an answer gives and a request sends back.

A cursor holds what it needs itself, so it outlives restarts and publications. A list of recommendations goes on after
the games that were shown, which its cursor lists: if another version is published meanwhile, no game comes twice.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from datetime import date
from itertools import cycle

from explorer.errors import ProblemError

RECOMMENDATIONS, SEARCH, HISTORY = b"r", b"s", b"h"
"""What a cursor continues. Its numbers are the games shown, the number of rows shown, or the day and the id of the last
review shown."""

_BOUNDS = {
    RECOMMENDATIONS: [(-(2**31), 2**31 - 1)],
    SEARCH: [(0, 2**31)],
    HISTORY: [(0, date.max.toordinal()), (-(2**63), 2**63 - 1)],
}
"""The lowest and the highest value of each number, again and again."""


def encode_cursor(kind: bytes, numbers: Sequence[int]) -> str:
    """Return a cursor that holds some 64-bit integers."""
    return base64.urlsafe_b64encode(kind + struct.pack(f"<{len(numbers)}q", *numbers)).decode().rstrip("=")


def decode_cursor(kind: bytes, cursor: str, length: int | None = None) -> list[int]:
    """Return the integers of a cursor; none of the empty one.

    Args:
        kind: What the cursor must continue.
        cursor: The cursor, or the empty text for the beginning of the list.
        length: How many integers it must hold; None for any number.

    Raises:
        ProblemError: It is not a cursor of this kind (409).
    """
    if not cursor:
        return []
    try:
        content = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        numbers = list(struct.unpack(f"<{len(content) // 8}q", content[1:]))
    except (ValueError, struct.error):
        content, numbers = b"", []
    if (
        content[:1] != kind
        or length not in (None, len(numbers))
        or not all(low <= number <= high for number, (low, high) in zip(numbers, cycle(_BOUNDS[kind]), strict=False))
    ):
        raise ProblemError(
            409, "invalid_cursor", "This cursor is not from an answer to such a request: leave it out to start again."
        )
    return numbers
