"""Arrow batches → the bytes of COPY, a column at a time.

Recommendations go in COPY's binary format (https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"):
the server reads it four times as fast as text, most of which would be numbers to parse, and scores arrive bit by bit.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pv

from steam_recsys.database.copy import HEADER, TRAILER

_ELEMENTS = {"game_ids": (23, ">i4"), "scores": (700, ">f4"), "because": (23, ">i4")}
"""Of each column of lists: the OID of its elements' type, the same on every server, and their format."""

_Mask = npt.NDArray[np.bool_]


def binary_copy(batches: Iterable[pa.RecordBatch]) -> Iterator[memoryview]:
    """The binary COPY of batches of RECOMMENDATIONS, in chunks."""
    return chain([memoryview(HEADER)], map(_rows, batches), [memoryview(TRAILER)])


def csv_copy(table: pa.Table) -> bytes:
    """A small table in COPY's CSV format: every string in quotes, so that an empty one is not taken for a null."""
    text = io.BytesIO()
    pv.write_csv(table, text, pv.WriteOptions(include_header=False, quoting_style="needed"))
    return text.getvalue()


def _rows(batch: pa.RecordBatch) -> memoryview:
    """All rows as long as the longest, as a matrix of one type; then without what shorter lists and nulls lack."""
    users = batch.column("user_id").to_numpy()
    columns = {name: batch.column(name) for name in _ELEMENTS}
    lengths = np.diff(batch.column("game_ids").offsets.to_numpy())
    width = int(lengths.max())
    inside = np.arange(width) < lengths[:, None]
    sent = {
        name: _padded(lists.flatten().is_valid(), inside) if lists.flatten().null_count else inside
        for name, lists in columns.items()
    }

    rows = np.empty(len(batch), _row_type(width))
    rows["fields"] = 1 + len(_ELEMENTS)
    rows["user_id"]["bytes"] = 8
    rows["user_id"]["value"] = users
    for name, lists in columns.items():
        rows[name]["elements"]["bytes"] = 4 if sent[name].all() else np.where(sent[name], np.int32(4), np.int32(-1))
        rows[name]["elements"]["value"] = _padded(lists.flatten().fill_null(0), inside)
        rows[name]["bytes"] = 20 + 4 * lengths + 4 * sent[name].sum(axis=1)
        rows[name]["dimensions"] = 1
        rows[name]["has_nulls"] = lists.flatten().null_count > 0
        rows[name]["oid"] = _ELEMENTS[name][0]
        rows[name]["length"] = lengths
        rows[name]["first"] = 1
    if all(each.all() for each in sent.values()):
        return rows.view(np.uint8).data
    return rows.view(">i2")[_kept(rows.dtype, inside, sent)].data.cast("B")


def _padded(values: pa.Array, inside: _Mask) -> npt.NDArray[Any]:
    """The elements of lists as a matrix, with zeros after the shorter lists' ends."""
    elements: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
    if len(elements) == inside.size:
        return elements.reshape(inside.shape)
    padded = np.zeros(inside.shape, elements.dtype)
    padded[inside] = elements
    return padded


def _kept(row_type: np.dtype[np.void], inside: _Mask, sent: Mapping[str, _Mask]) -> _Mask:
    """Which halves of the rows' words are sent: neither what is behind a list's end nor a null's value."""
    dropped = np.zeros(len(inside), row_type)  # all bits set where something is dropped
    for name, values in sent.items():
        dropped[name]["elements"]["bytes"][~inside] = -1
        dropped[name]["elements"]["value"].view(">i4")[~values] = -1
    kept: _Mask = dropped.view(">i2") == 0
    return kept


def _row_type(width: int) -> np.dtype[np.void]:
    lists: list[tuple[Any, ...]] = [(name, _list_type(value, width)) for name, (_, value) in _ELEMENTS.items()]
    return np.dtype([("fields", ">i2"), ("user_id", [("bytes", ">i4"), ("value", ">i8")]), *lists])


def _list_type(value: str, width: int) -> np.dtype[np.void]:
    """A field's length in bytes, then a one-dimensional array: its length in bytes ahead of each element."""
    header = [(name, ">i4") for name in ("bytes", "dimensions", "has_nulls", "oid", "length", "first")]
    return np.dtype([*header, ("elements", [("bytes", ">i4"), ("value", value)], (width,))])
