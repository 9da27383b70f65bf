"""Blocks of rows: the same rows, values and reports as row by row, also of damaged files."""

import csv
import io
from collections.abc import Callable
from datetime import date
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.ingest import csv_blocks, csv_rows
from components.ingest.columns import ColumnMapping
from components.ingest.csv_blocks import RowBlock, read_blocks
from components.ingest.csv_rows import RawRow, read_rows
from components.ingest.raw_files import REVIEWS, RawFile, RawSource
from components.ingest.review_blocks import staged_reviews
from components.ingest.staging import FileReport, converters, staged_rows
from steam_recsys.errors import UserError

NARROW = RawFile("narrow.csv", ("a", "b", "c"))
TODAY = date(2024, 6, 1)
ORDINARY = [
    "a,b,c\n", '"a","b","c"\n', '"x,y","q""t",\n', '"l1\nl2","b",c\r\n', ",,\n", '"a,,,,,\n,,1,2,3",b,\\N\n',
    'é,"ü",z\n', '"a\x85b","\u2028",c\n', "a\x0b,b,c\n",
]  # fmt: skip
ODD = [
    "\n", "\r\n", "a,b\n", "a,b,c,d\n", 'a"b,c,d\n', '"a"b,c,d\n', '"open,b,c\n', 'a,b,c"\n', "x,\0y,z\n", "a,b,c\r",
    '"a",b,"c\r\r\n"\n', ' "a",b,c\n', '\\"a\\",b,c\n', "b\udcff",
]  # fmt: skip
PLAIN = ("fine, ok", "1.5", "2", "0", "Recommended", "2015-03-01", "Alpha", "bob")
VALUES = (
    ("", "  ", "\\N", " \\N ", "a\tb", "a\nb", "c\\d", "\u2003", "\x1f", "\x85", "é", " sp ", "x\r\ny"),
    ("", "1,234.5", "-3", "abc", "1e5", "\\N", "0.0000001"),
    ("", "1,000", "-1", "x", "1.5"),
    ("7",),
    ("Not Recommended", "TRUE", "maybe", ""),
    ("November 5, 2011", "5 March", "", "2031-01-01", "x", "1420070400"),
    ("Beta &amp; C", " Al  pha", "", "n\\m", "x" * 2100, "café"),
    ("", "NULL", " nan", " bob ", "\u200bz", "76561198000000000.0", "1.2E+17", "3+4", "e\u0301", "a\\b", "u\tv",
     "y" * 600, "é" * 1500, "\ufeffk"),
)  # fmt: skip

several = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("raw") / "file.csv"


def outcome(rows: Callable[[], list[RawRow]]) -> list[RawRow] | str:
    try:
        return rows()
    except UserError as error:
        return str(error)


def rows_of(block: RowBlock | list[RawRow]) -> list[RawRow]:
    """Return the rows of a block, after a comparison with its columns."""
    if isinstance(block, list):
        return block
    rows = [block.row(index) for index in range(len(block))]
    fields = zip(*(column.to_pylist() for column in block.columns), strict=True)
    assert [row.fields for row in rows] == list(fields)
    assert [row.line for row in rows] == block.lines.tolist()
    assert not any(row.problem for row in rows)
    assert not any(row.inner_rows for row, may in zip(rows, block.may_hold_rows, strict=True) if not may)
    return rows


@several
@given(
    st.lists(st.sampled_from(ORDINARY) | st.sampled_from(ORDINARY + ODD), max_size=30),
    st.sampled_from([8, 30, 1000]),
    st.sampled_from([1, 40]),
)
def test_blocks_have_the_rows_of_a_file_in_order(path: Path, parts: list[str], block: int, others: int) -> None:
    path.write_bytes("".join(["a,b,c\n", *parts]).encode(errors="surrogateescape"))
    source = RawSource(NARROW.name, path)
    with (
        patch.object(csv_blocks, "BLOCK_BYTES", block),
        patch.object(csv_blocks, "ROW_BY_ROW_BYTES", others),
        patch.object(csv_rows, "LINE_BYTES", others),
    ):
        in_blocks = outcome(lambda: [row for part in read_blocks(source, NARROW) for row in rows_of(part)])
    assert in_blocks == outcome(lambda: list(read_rows(source, NARROW)))


@several
@given(
    st.lists(st.tuples(*(st.just(plain) | st.sampled_from(odd) for plain, odd in zip(PLAIN, VALUES, strict=True)))),
    st.booleans(),
    st.sampled_from([1, 60]),
)
def test_blocks_of_reviews_become_the_same_rows_and_report(
    path: Path, rows: list[tuple[str, ...]], quoted: bool, divisor: int
) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerows([REVIEWS.columns, *rows])
    path.write_bytes(text.getvalue().encode())
    source, mapping = RawSource(REVIEWS.name, path), ColumnMapping({}, divisor)
    expected, report = FileReport(REVIEWS.name), FileReport(REVIEWS.name)
    one_by_one = staged_rows(
        read_rows(source, REVIEWS, mapping, expected.remark), converters(REVIEWS, TODAY, mapping), expected
    )
    with patch.object(csv_blocks, "BLOCK_BYTES", 2_000), patch.object(csv_blocks, "ROW_BY_ROW_BYTES", 1):
        blocks = read_blocks(source, REVIEWS, mapping, report.remark)
        content = b"".join(staged_reviews(blocks, TODAY, mapping, report)).decode()
    assert sorted(io.StringIO(content, newline="\n")) == sorted(one_by_one)
    assert report == expected


@pytest.mark.parametrize("field", [b"\xe9", b"a\xff", b"\xed\xa0\x80"])
def test_text_that_is_not_utf_8_in_a_column_that_is_left_out_is_reported(path: Path, field: bytes) -> None:
    path.write_bytes(b"a,unread,b,c\n" + b"a,x,b,c\n" * 1_000 + b"a," + field + b",b,c\n")
    source = RawSource(NARROW.name, path)
    in_blocks = outcome(lambda: [row for part in read_blocks(source, NARROW) for row in rows_of(part)])
    assert in_blocks == outcome(lambda: list(read_rows(source, NARROW)))
    assert str(in_blocks).startswith("narrow.csv is not UTF-8 on line 1002: convert it")


def test_ordinary_rows_are_read_in_blocks_around_a_damaged_one(path: Path) -> None:
    path.write_text("a,b,c\n" + "a,b,c\n" * 50_000 + 'a"b,c,d\n' + "a,b,c\n" * 50_000)
    parts = list(read_blocks(RawSource(NARROW.name, path), NARROW))
    assert [type(part) for part in parts] == [RowBlock, list, RowBlock]
    assert sum(map(len, parts)) == 100_001
    assert next(row.problem for row in parts[1]) == "a quote is inside a field that does not begin with one"
    assert parts[2].lines[-1] == 100_002
