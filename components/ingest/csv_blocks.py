"""Read the rows of a raw file in blocks of columns, many times faster than one by one, with the same result.

Almost all rows of almost all files are ordinary: every quote opens or closes a field, and each row has the header's
number of fields. Such rows have one reading only, so Arrow splits a block of them at once. Every other row, and those
just below it, are read by `csv_rows`, which knows what damaged files look like.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from components.ingest.columns import RAW_LAYOUT, ColumnMapping
from components.ingest.csv_rows import FIELD_LIMIT, ByteStream, RawRow, Remark, RowReader, open_rows
from components.ingest.raw_files import RawFile, RawSource
from steam_recsys.arrays import BoolArray, Int64Array

BLOCK_BYTES = 4 << 20
"""Bytes that are split at once, at most. More is not faster."""

ROW_BY_ROW_BYTES = 1 << 16
"""Bytes that are read row by row after a row that is not ordinary: a damaged row is rarely alone."""

_QUOTE, _COMMA, _NEWLINE, _RETURN, _NUL = b'",\n\r\0'


@dataclass(frozen=True)
class RowBlock:
    """Ordinary rows of a file, one after the other.

    Attributes:
        lines: Line on which each row starts, int64 [rows].
        columns: A string array [rows] for each column of the layout.
        may_hold_rows: Whether a row has several lines and the commas of several rows, bool [rows].
    """

    lines: Int64Array
    columns: list[pa.Array]
    may_hold_rows: BoolArray
    _content: bytes
    _ends: Int64Array
    _reader: RowReader

    def __len__(self) -> int:
        return len(self.lines)

    def row(self, index: int) -> RawRow:
        """Return a row as `read_rows` does."""
        start = int(self._ends[index - 1]) if index else 0
        (row,) = self._reader.split(self._content[start : int(self._ends[index])], int(self.lines[index]))
        return row


def read_blocks(
    source: RawSource, raw: RawFile, mapping: ColumnMapping = RAW_LAYOUT, remark: Remark = lambda message, line: None
) -> Iterator[RowBlock | list[RawRow]]:
    """Read the rows of a raw file in order: blocks of ordinary rows, and lists of the others and those below them.

    Args:
        source: See `read_rows`.
        raw: See `read_rows`.
        mapping: See `read_rows`.
        remark: See `read_rows`.

    Raises:
        UserError: See `read_rows`.
    """
    with open_rows(source, raw, mapping, remark) as reader:
        stream, size = reader.stream, BLOCK_BYTES
        rows = iter(reader)
        while True:
            start = stream.position
            if not reader.escapes_quotes and (block := _next_block(stream, reader, size)):
                yield block
            taken = stream.position - start
            ended_early = 2 * taken < size
            size = min(BLOCK_BYTES, max(ROW_BY_ROW_BYTES, 2 * taken))  # what is split in vain stays in proportion
            if not ended_early:
                continue
            end = stream.position + ROW_BY_ROW_BYTES
            others = []
            while (stream.position < end or reader.has_read_ahead) and (row := next(rows, None)):
                others.append(row)
            if not others:
                return
            yield others


def _next_block(stream: ByteStream, reader: RowReader, size: int) -> RowBlock | None:
    """Take the ordinary rows in the next `size` bytes; None if the next row is not one."""
    content = stream.peek(size)
    bytes_ = np.frombuffer(content, np.uint8)
    ends, line_ends = _row_ends(bytes_)
    n_commas, commas_before = _count_commas(bytes_, ends)
    starts = np.append(0, ends)[:-1]
    ordinary = (n_commas == reader.width - 1) & (ends - starts <= FIELD_LIMIT)
    rows = len(ends) if ordinary.all() else int(np.argmin(ordinary))
    if not rows:
        return None
    ends, line_ends, commas_before = ends[:rows], line_ends[:rows], commas_before[:rows]
    content = content[: int(ends[-1])]
    columns = _split(content, reader, rows)
    if columns is None:
        return None
    n_lines = np.diff(line_ends, prepend=0)
    may_hold_rows = (n_lines > 1) & (np.diff(commas_before, prepend=0) >= 2 * (reader.width - 1))
    lines = reader.next_line + np.append(0, line_ends)[:-1]
    stream.skip(len(content))
    reader.next_line += int(line_ends[-1])
    return RowBlock(lines, columns, may_hold_rows, content, ends, reader)


def _row_ends(content: npt.NDArray[np.uint8]) -> tuple[Int64Array, Int64Array]:
    """Return where rows end, up to the first place that is not ordinary.

    A quote opens a field if an even number of quotes is before it, else it closes one. A doubled quote closes the field
    and opens it again. If each opening quote is at the beginning of a field or doubled, and each closing quote at the
    end of one, the rows end at the line ends outside fields.

    Returns:
        Offset after each row's line end, and the number of line ends up to it; int64 [rows].
    """
    is_quote = content == _QUOTE
    quotes = np.flatnonzero(is_quote)
    opening, closing = quotes[::2], quotes[1::2]
    padded = np.concatenate([np.array([_NEWLINE], np.uint8), content, np.zeros(1, np.uint8)])
    before, after = padded[opening], padded[closing + 2]
    returns = np.flatnonzero(content == _RETURN)
    misplaced = [
        opening[(before != _COMMA) & (before != _NEWLINE) & (before != _QUOTE)],
        closing[(after != _COMMA) & (after != _NEWLINE) & (after != _QUOTE) & (after != _RETURN)],
        returns[padded[returns + 2] != _NEWLINE],
        np.flatnonzero(content == _NUL),
    ]
    limit = min((int(places[0]) for places in misplaced if len(places)), default=len(content))
    newlines = np.flatnonzero(content[:limit] == _NEWLINE)
    outside = np.flatnonzero(~np.logical_xor.accumulate(is_quote)[newlines]) if len(newlines) else newlines
    ends = newlines[outside]
    starts = np.append(-1, ends)[:-1] + 1
    blank = (starts == ends) | ((starts + 1 == ends) & (content[starts] == _RETURN))
    rows = int(np.argmax(blank)) if blank.any() else len(ends)
    return ends[:rows] + 1, outside[:rows] + 1


def _count_commas(content: npt.NDArray[np.uint8], ends: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Return each row's commas between fields, and the number of all commas up to its end; int64 [rows]."""
    if not len(ends):
        return ends, ends
    content = content[: int(ends[-1])]
    commas = np.flatnonzero(content == _COMMA)
    between = commas[~np.logical_xor.accumulate(content == _QUOTE)[commas]]
    return np.diff(np.searchsorted(between, ends), prepend=0), np.searchsorted(commas, ends)


def _split(content: bytes, reader: RowReader, rows: int) -> list[pa.Array] | None:
    """Split ordinary rows into the columns of the layout; None if one is not UTF-8, in any column."""
    names = [str(number) for number in range(reader.width)]
    picked = reader.pick(names)
    included = sorted({name for name in picked if name})
    try:
        content.decode()
        table = pa_csv.read_csv(
            io.BytesIO(content),
            pa_csv.ReadOptions(use_threads=False, block_size=len(content) + 1, column_names=names),
            pa_csv.ParseOptions(newlines_in_values=True),
            pa_csv.ConvertOptions(
                column_types=dict.fromkeys(included, pa.string()), include_columns=included, null_values=[]
            ),
        )
    except (UnicodeDecodeError, pa.ArrowInvalid):
        return None
    assert len(table) == rows, (len(table), rows)
    absent = pa.array([""] * rows) if len(included) < len(set(picked)) else None
    return [table[name].combine_chunks() if name else absent for name in picked]
