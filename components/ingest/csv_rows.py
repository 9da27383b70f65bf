"""Read the rows of a raw file, so that each line of the file is in exactly one row, also if the file is damaged.

A lost quote makes a row of many lines: the rows below become text, up to the next quote. Such a row can look valid, so
a row of several lines carries what its lines would be as rows of their own, and how many rows it may hold.
"""

from __future__ import annotations

import csv
import gzip
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, NamedTuple

from components.ingest.columns import RAW_LAYOUT, ColumnMapping, Pick, find_columns
from components.ingest.raw_files import RAW_FILES, RawFile, RawSource
from steam_recsys.errors import UserError

if TYPE_CHECKING:
    import _csv

FIELD_LIMIT = 1 << 20
"""Maximum length of a field in characters. Only a quote that never closes exceeds it."""

LONGEST_TEXT = 1 << 14
"""How many characters below a row that cannot be split may still belong to it: more than a review has."""

SAMPLE_BYTES = 8 << 20
"""Bytes of a file that show how it writes quotes."""

LINE_BYTES = 1 << 16
"""Bytes that are split into lines at once."""

Remark = Callable[[str, int], None]
"""A function that notes something about a row that is loaded, and the row's line."""

# A file that doubles quotes never has the first pattern, one that escapes them with a backslash never the second.
_ESCAPED_QUOTE = re.compile(rb'\\"[^",\r\n]')
_DOUBLED_QUOTE = re.compile(rb'[^",\r\n\\]""[^",\r\n]')
_ESCAPE = re.compile(r'\\(["\\]|\r?\n|\r)')


class RawRow(NamedTuple):
    """One row of a raw file.

    Attributes:
        line: Line on which the row starts.
        text: The row's text as in the file, without NUL characters.
        fields: Values of the layout's columns; empty if there is a problem.
        problem: Why the row cannot be split into fields; None if it can.
        inner_rows: If the row has several lines, the values of each line that is a row itself when it stands alone.
        joined_rows: Number of rows that the row holds by its number of fields.
    """

    line: int
    text: str
    fields: tuple[str, ...]
    problem: str | None = None
    inner_rows: tuple[tuple[str, ...], ...] = ()
    joined_rows: int = 1


def check_headers(sources: Mapping[str, RawSource], mapping: ColumnMapping) -> None:
    """Check that each file can be read and has the columns of the layout, before any rows are loaded.

    Raises:
        UserError: See `read_rows`.
    """
    for raw in RAW_FILES:
        if raw.name in sources:
            next(read_rows(sources[raw.name], raw, mapping), None)


def read_rows(
    source: RawSource, raw: RawFile, mapping: ColumnMapping = RAW_LAYOUT, remark: Remark = lambda message, line: None
) -> Iterator[RawRow]:
    """Read the rows of a raw file. Blank lines between rows are passed over.

    Args:
        source: The file's content.
        raw: The file of the layout.
        mapping: Where the reviews file differs from the layout.
        remark: Receives what was changed in a row, with its line.

    Raises:
        UserError: The file is empty, damaged or not UTF-8, lacks a column, or has a quote that never closes.
    """
    with open_rows(source, raw, mapping, remark) as rows:
        yield from rows


@contextmanager
def open_rows(source: RawSource, raw: RawFile, mapping: ColumnMapping, remark: Remark) -> Iterator[RowReader]:
    """Open a raw file below its header. See `read_rows`."""
    csv.field_size_limit(FIELD_LIMIT)
    with source.open() as file:
        sample = file.read(SAMPLE_BYTES)
    if _is_utf16(sample):
        raise UserError(f"{source.location} is UTF-16: convert it with iconv -f UTF-16 -t UTF-8.")
    with source.open() as file:
        stream = ByteStream(file)
        if stream.peek(len(BOM_UTF8)) == BOM_UTF8:
            stream.skip(len(BOM_UTF8))
        lines = _Lines(stream, _escapes_quotes(sample), remark)
        reader = csv.reader(lines, strict=True)
        try:
            try:
                header = next((fields for fields in reader if fields), None)
            except csv.Error:
                raise UserError(f"{source.location} has a header that is not CSV: correct its quotes.") from None
            if not header:
                raise UserError(
                    f"{source.location} is empty: it must hold at least the header {','.join(raw.columns)}."
                )
            pick = find_columns(source.location, raw, header, mapping)
            yield RowReader(source, stream, lines, reader, len(header), pick)
        except UnicodeDecodeError:
            raise _encoding_error(source) from None


class ByteStream:
    """The bytes of a file, from which lines and blocks are taken in turns."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self.position = 0
        self._file = file
        self._buffer = b""
        self._start = 0  # offset of the first byte in the buffer that is not taken
        self._lines: deque[bytes] = deque()

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end of the file, without taking them."""
        missing = size - (len(self._buffer) - self._start)
        if missing > 0:
            pieces = [self._buffer[self._start :]]
            while missing > 0 and (piece := self._file.read(missing)):
                pieces.append(piece)
                missing -= len(piece)
            self._buffer, self._start = b"".join(pieces), 0
        return self._buffer[self._start : self._start + size]

    def skip(self, size: int) -> None:
        """Take bytes that were peeked at."""
        self.position += size
        self._start += size
        self._lines.clear()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        """Take a line with its end: a line feed, a carriage return or both."""
        if not self._lines:
            self._lines.extend(self._whole_lines())
            if not self._lines:
                raise StopIteration
        line = self._lines.popleft()
        self.position += len(line)
        self._start += len(line)
        return line.decode()

    def _whole_lines(self) -> list[bytes]:
        size = LINE_BYTES
        while True:
            content = self.peek(size)
            lines = content.splitlines(keepends=True)
            if len(content) < size:
                return lines
            if len(lines) > 1:  # the last one may go on
                return lines[:-1]
            size *= 2


@dataclass
class RowReader:
    """The rows of an open file, one by one.

    Attributes:
        source: The file.
        stream: The bytes that were not read yet.
        width: Number of fields of the header.
        pick: What picks the values of the layout's columns.
    """

    source: RawSource
    stream: ByteStream
    _lines: _Lines
    _reader: _csv.Reader
    width: int
    pick: Pick

    def __iter__(self) -> Iterator[RawRow]:
        return _rows(self.source, self._reader, self._lines, self.width, self.pick)

    @property
    def escapes_quotes(self) -> bool:
        """Whether the file writes quotes inside fields as `\\"`."""
        return self._lines.escaped

    @property
    def has_read_ahead(self) -> bool:
        """Whether lines below the last row were taken from the stream already."""
        return self._lines.has_read_ahead

    @property
    def next_line(self) -> int:
        """Number of the line at which the stream is."""
        return self._lines.start_row()

    @next_line.setter
    def next_line(self, number: int) -> None:
        self._lines.go_to(number)

    def split(self, content: bytes, line: int) -> Iterator[RawRow]:
        """Split rows that were taken from the stream as bytes, of which the first one starts on a line."""
        content_lines = (part.decode() for part in content.splitlines(keepends=True))
        lines = _Lines(content_lines, self.escapes_quotes, lambda message, line: None)
        lines.go_to(line)
        return _rows(self.source, csv.reader(lines, strict=True), lines, self.width, self.pick)


def _rows(source: RawSource, reader: _csv.Reader, lines: _Lines, width: int, pick: Pick) -> Iterator[RawRow]:
    taken = lines.taken
    while True:
        line = lines.start_row()
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error) or "field larger" in str(error):
                raise UserError(
                    f"{source.location} has a quote that opens near line {line} and never closes: fix it."
                ) from None
            yield _unreadable_row(lines, line, "the row is not CSV", width, pick)
            continue
        if len(fields) == width:
            text = taken[0] if len(taken) == 1 else "".join(taken)
            # Several rows have several times the commas of one.
            several = len(taken) > 1 and text.count(",") >= 2 * (width - 1)
            inner_rows = _inner_rows(lines, width, pick) if several else ()
            if '"' in text and '"' in "".join(fields) and _has_bare_quote(fields, lines.unescape(text)):
                yield RawRow(line, text, (), "a quote is inside a field that does not begin with one", inner_rows)
            else:
                yield RawRow(line, text, pick(fields), None, inner_rows)
        elif fields:
            problem = f"the row has {len(fields)} fields, the header {width}"
            joined_rows = (len(fields) - 1) // max(width - 1, 1)
            yield _unreadable_row(lines, line, problem, width, pick)._replace(joined_rows=max(joined_rows, 1))


def _unreadable_row(lines: _Lines, line: int, problem: str, width: int, pick: Pick) -> RawRow:
    lines.take_rest_of_text()
    text = "".join(lines.taken)
    if '\\"' in text and not lines.escaped:
        problem += r': it writes quotes as \", the file as ""'
    return RawRow(line, text, (), problem, _inner_rows(lines, width, pick))


def _inner_rows(lines: _Lines, width: int, pick: Pick) -> tuple[tuple[str, ...], ...]:
    """Return the values of each line that is a row when it stands alone, if there may be several.

    One quote is lost or too many in the first and the last line of such a row, so lines are read without it, too.
    """
    candidates = [line for line in lines.taken if line.count(",") >= width - 1]
    if len(candidates) < 2:
        return ()
    rows = []
    for line in map(lines.unescape, candidates):
        first, last = line.find('"'), line.rfind('"')
        without_first = line[:first] + line[first + 1 :]
        without_last = line[:last] + line[last + 1 :]
        for text in (line, without_first, without_last, line.replace('"', "")) if first >= 0 else (line,):
            fields = _split(text)
            if len(fields) == width:
                rows.append(pick(fields))
                break
    return tuple(rows)


def _has_bare_quote(fields: Sequence[str], text: str) -> bool:
    """Return whether a field has a quote but is not quoted in the row's text: then the row is not CSV."""
    return any('"' in field and '"' + field.replace('"', '""') + '"' not in text for field in fields)


def _split(line: str) -> list[str]:
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error:
        return []


class _Lines:
    """The lines of a file for the CSV reader, and those of the current row."""

    def __init__(self, file: Iterator[str], escaped: bool, remark: Remark) -> None:
        self.taken: list[str] = []
        self.escaped = escaped
        self._file = file
        self._remark = remark
        self._read_ahead: deque[str] = deque()
        self._lines_before = 0

    def __iter__(self) -> Iterator[str]:
        taken, read_ahead = self.taken, self._read_ahead
        while True:
            # This runs for each line, so the common case calls nothing.
            line = read_ahead.popleft() if read_ahead else next(self._file, "")
            if "\0" in line:
                line = self._without_nul(line)
            if not line:
                return
            taken.append(line)
            yield self.unescape(line) if self.escaped else line

    def _without_nul(self, line: str) -> str:
        """Return the line without NUL characters, which PostgreSQL does not store."""
        self._remark("NUL characters are left out", self._lines_before + len(self.taken) + 1)
        return line.replace("\0", "")

    def start_row(self) -> int:
        """Forget the lines of the last row, and return the number of the next line."""
        self._lines_before += len(self.taken)
        self.taken.clear()
        return self._lines_before + 1

    def go_to(self, number: int) -> None:
        """Set the number of the next line."""
        self._lines_before = number - 1
        self.taken.clear()

    @property
    def has_read_ahead(self) -> bool:
        """Whether lines below the last row were read."""
        return bool(self._read_ahead)

    def unescape(self, text: str) -> str:
        """Return the text with doubled quotes instead of escaped ones, if the file escapes them."""
        return _ESCAPE.sub(lambda found: '""' if found[1] == '"' else found[1], text) if self.escaped else text

    def take_rest_of_text(self) -> None:
        """Add the lines below that belong to the row: up to one whose first quote closes a text instead of opening one.

        Otherwise the end of a text of several lines, after a row that cannot be split, could look like a review.
        """
        ahead: list[str] = []
        length = 0
        while length < LONGEST_TEXT:
            line = self._read_ahead.popleft() if self._read_ahead else next(self._file, "")
            if not line:
                break
            ahead.append(line)
            length += len(line)
            before, quote, _ = self.unescape(line).partition('"')
            if quote and (not before or before.endswith(",")):
                break
            if quote:
                self.taken += [self._without_nul(line) if "\0" in line else line for line in ahead]
                ahead.clear()
        self._read_ahead.extendleft(reversed(ahead))


def _escapes_quotes(sample: bytes) -> bool:
    """Return whether a file writes quotes inside fields as `\\"`, as MySQL and Spark do, and not as `""`."""
    escaped = len(_ESCAPED_QUOTE.findall(sample))
    return escaped > 0 and escaped > len(_DOUBLED_QUOTE.findall(sample))


def _is_utf16(sample: bytes) -> bool:
    first, second = sample[:40:2], sample[1:40:2]  # of Latin letters in UTF-16, one is zeros only
    return sample.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or (len(second) > 1 and any(first) != any(second))


def _encoding_error(source: RawSource) -> UserError:
    number = 1
    with source.open() as file:
        for line in file:
            try:
                line.decode()
            except UnicodeDecodeError:
                break
            number += 1
    return UserError(
        f"{source.location} is not UTF-8 on line {number}: convert it, for example with iconv -f WINDOWS-1252 -t UTF-8."
    )
