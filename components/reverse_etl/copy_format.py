"""Arrow batches → the bytes of COPY, a column at a time.

Recommendations go in COPY's binary format (https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"):
the server reads it four times as fast as text, most of which would be numbers to parse, and scores arrive bit by bit.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pv

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # the signature, no flags, no extension
_TRAILER = b"\xff\xff"
_INT4, _FLOAT4 = 23, 700  # OIDs of the element types, the same on every server

_Words = npt.NDArray[np.int32]
_Places = npt.NDArray[np.int64]


def binary_copy(batches: Iterable[pa.RecordBatch]) -> Iterator[memoryview]:
    """The binary COPY of batches of RECOMMENDATIONS, in chunks."""
    return chain([memoryview(_HEADER)], map(_rows, batches), [memoryview(_TRAILER)])


def csv_copy(table: pa.Table) -> bytes:
    """A small table in COPY's CSV format: every string in quotes, so that an empty one is not taken for a null."""
    text = io.BytesIO()
    pv.write_csv(table, text, pv.WriteOptions(include_header=False, quoting_style="needed"))
    return text.getvalue()


class _Lists:
    """A column of lists, taken apart.

    Attributes:
        elements: the lists' elements, one after the other.
        lengths, starts: of each list in `elements`, int64 [rows].
        null: which elements are null, bool [elements].
        nulls_before: how many are null before each element, and at the end of all, int64 [elements + 1].
        words: how many words each list takes: six ahead of the elements, two an element, one where it is null.
    """

    def __init__(self, column: pa.ListArray, element_type: int) -> None:
        self.element_type = element_type
        self.elements = column.flatten()
        self.lengths: _Places = np.diff(column.offsets.to_numpy()).astype(np.int64)
        ends: _Places = np.cumsum(self.lengths)
        self.starts = ends - self.lengths
        self.null: npt.NDArray[np.bool_] = self.elements.is_null().to_numpy(zero_copy_only=False)
        self.nulls_before: _Places = np.concatenate([[0], np.cumsum(self.null)])
        self.words: _Places = 6 + 2 * self.lengths - (self.nulls_before[ends] - self.nulls_before[self.starts])

    def place(self, words: _Words, at: _Places) -> None:
        """Write every list into `words`, each from its own place in `at`."""
        words[at] = 4 * (self.words - 1)
        words[at + 1] = 1  # dimension
        words[at + 2] = self.elements.null_count > 0
        words[at + 3] = self.element_type
        words[at + 4] = self.lengths
        words[at + 5] = 1  # the first element's number
        places = np.repeat(at + 6 - 2 * self.starts + self.nulls_before[self.starts], self.lengths)
        places += 2 * np.arange(len(self.elements)) - self.nulls_before[:-1]
        if self.elements.null_count:
            words[places[self.null]] = -1
            places = places[~self.null]
        words[places + 1] = self.elements.drop_null().to_numpy().view(np.int32)


def _rows(batch: pa.RecordBatch) -> memoryview:
    """A row is its number of fields in two bytes, then words of four: each field's length in bytes and its value."""
    types = {"game_ids": _INT4, "scores": _FLOAT4, "because": _INT4}
    columns = [_Lists(batch.column(name), element_type) for name, element_type in types.items()]
    sizes: _Places = 3 + np.sum([column.words for column in columns], axis=0)
    starts: _Places = np.cumsum(sizes) - sizes
    words = np.full(sizes.sum(), 4, ">i4")  # most words are the length of an element: 4 bytes
    words[starts] = 8
    words[np.add.outer(starts, [1, 2])] = batch.column("user_id").to_numpy().astype(">i8").view(">i4").reshape(-1, 2)
    at = starts + 3
    for column in columns:
        column.place(words, at)
        at = at + column.words
    return _with_field_counts(words, starts)


def _with_field_counts(words: _Words, starts: _Places) -> memoryview:
    halves = np.empty(2 * len(words) + len(starts), ">i2")
    counts = np.zeros(len(halves), dtype=np.bool_)
    counts[2 * starts + np.arange(len(starts))] = True
    halves[counts] = 4
    halves[~counts] = words.view(">i2")
    return halves.data.cast("B")
