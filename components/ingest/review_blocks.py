"""Convert blocks of reviews to rows of the staging table, a column at a time.

Each distinct value of a column is read once, by the function that reads it in a single row. A row with a value that
cannot be read, or about which there is something to remark, is converted by itself, as every other row is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from components.ingest.columns import ColumnMapping
from components.ingest.csv_blocks import RowBlock
from components.ingest.csv_rows import RawRow
from components.ingest.fields import MAX_NAME_BYTES, NO_NAMES, FieldError, parse_author
from components.ingest.raw_files import REVIEWS
from components.ingest.staging import (
    FileReport,
    converters,
    copy_author,
    copy_count,
    copy_day,
    copy_game,
    copy_hours,
    copy_recommendation,
    copy_review,
    staged_rows,
)
from steam_recsys.database.copy import Chunk

_PLAIN_NAME = r"^[!-\[\]-~]([ -\[\]-~]*[!-\[\]-~])?$"
"""Printable ASCII without a backslash, and no space around it: COPY and `parse_author` leave it as it is."""

_MAYBE_ROUNDED = r"^[0-9].*[.+]"
_HAS_INK = r"[!-\[\]-~]"
"""A printable character of ASCII other than a backslash: such a text is not blank."""

_ESCAPED = r"[\\\t\n\r]"


def staged_reviews(
    blocks: Iterable[RowBlock | list[RawRow]], newest: date, mapping: ColumnMapping, report: FileReport
) -> Iterator[Chunk]:
    """Convert reviews for COPY. Rows that cannot be read are added to the report.

    Args:
        blocks: The rows of the file.
        newest: Latest possible date of a review.
        mapping: Where the file differs from the layout.
        report: Report of the file.

    Yields:
        Some rows of the staging table in COPY's text format.
    """
    new_converter = converters(REVIEWS, newest, mapping)
    for block in blocks:
        if isinstance(block, list):
            yield "".join(staged_rows(block, new_converter, report)).encode()
            continue
        content, single = _copy_block(block, newest, mapping.hours_divisor)
        report.rows_read += len(block) - len(single)
        yield content
        yield "".join(staged_rows(map(block.row, single), new_converter, report)).encode()


def _copy_block(block: RowBlock, newest: date, hours_divisor: float) -> tuple[memoryview, list[int]]:
    """Return the rows that can be converted together in COPY's text format, and the indices of the others."""
    review, hours, helpful, funny, recommendation, day, game, username = block.columns
    columns = [
        _author_column(username),
        _mapped(game, copy_game),
        _mapped(recommendation, copy_recommendation),
        _mapped(hours, partial(copy_hours, divisor=hours_divisor)),
        _mapped(helpful, partial(copy_count, field="helpful")),
        _mapped(funny, partial(copy_count, field="funny")),
        _mapped(day, partial(copy_day, newest=newest)),
        _review_column(review),
    ]
    lines = pa.array(block.lines).cast(pa.string())
    rows = pc.binary_join_element_wise(lines, *columns, "\t")  # null if one of them is
    together = pc.and_(pc.is_valid(rows), pa.array(~block.may_hold_rows))
    single: list[int] = np.flatnonzero(~together.to_numpy(zero_copy_only=False)).tolist()
    if single:
        rows = rows.filter(together)
    return _joined(pc.binary_join_element_wise(rows, "", "\n")), single


def _mapped(values: pa.Array, copy_value: Callable[[str], str]) -> pa.Array:
    """Convert each distinct value once; null if it cannot be read."""
    encoded = values.dictionary_encode()
    copied = [_or_none(copy_value, value) for value in encoded.dictionary.to_pylist()]
    return pa.array(copied, pa.string()).take(encoded.indices)


def _or_none(copy_value: Callable[[str], str], value: str) -> str | None:
    try:
        return copy_value(value)
    except FieldError:
        return None


def _author_column(names: pa.Array) -> pa.Array:
    plain = _all(
        pc.match_substring_regex(names, _PLAIN_NAME),
        pc.invert(pc.match_substring_regex(names, _MAYBE_ROUNDED)),
        pc.invert(pc.is_in(names, value_set=pa.array(sorted(NO_NAMES)))),
        pc.less_equal(pc.binary_length(names), MAX_NAME_BYTES // 4),
    )
    return _replaced(names, plain, _copy_known_author)


def _copy_known_author(name: str) -> str:
    """Convert a name, as `copy_author` does, unless it stands for a missing one: that is remarked row by row."""
    if name.strip() and parse_author(name) is None:
        raise FieldError("the author is unknown", name)
    return copy_author(name)


def _review_column(texts: pa.Array) -> pa.Array:
    plain = _all(
        pc.match_substring_regex(texts, _HAS_INK),
        pc.invert(pc.match_substring_regex(texts, _ESCAPED)),
    )
    return _replaced(texts, plain, copy_review)


def _replaced(values: pa.Array, plain: pa.BooleanArray, copy_value: Callable[[str], str]) -> pa.Array:
    """Convert the values that are not plain."""
    other = pc.invert(plain)
    if not other.true_count:
        return values
    return pc.replace_with_mask(values, other, _mapped(values.filter(other), copy_value))


def _all(*conditions: pa.BooleanArray) -> pa.BooleanArray:
    result = conditions[0]
    for condition in conditions[1:]:
        result = pc.and_(result, condition)
    return result


def _joined(texts: pa.StringArray) -> memoryview:
    """Return the bytes of all texts, one after the other."""
    _, offsets, content = texts.buffers()
    bounds: npt.NDArray[np.int32] = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return memoryview(content)[bounds[0] : bounds[-1]] if len(texts) else memoryview(b"")
