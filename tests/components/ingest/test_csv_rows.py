"""Rows of damaged files: each line of a file is in one row, and no row that became the text of another is loaded."""

import csv
import io
import re
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.ingest.columns import RAW_LAYOUT
from components.ingest.csv_rows import RawRow, read_rows
from components.ingest.ingestion import ingest
from components.ingest.raw_files import GAMES, RANKINGS, REVIEWS, RawFile, RawSource
from components.ingest.staging import FileReport, converters, staged_rows
from steam_recsys.errors import UserError
from tests.raw_files import game, ranking, review, write_raw

HEADER = ",".join(REVIEWS.columns) + "\n"
TODAY = date(2024, 6, 1)


def row(author: str, text: str = "ok") -> str:
    """Return a line of the reviews file; the text is written as it is."""
    return f"{text},1.5,0,0,Recommended,2015-03-01,Alpha,{author}\n"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("raw") / REVIEWS.name


def read(path: Path, content: str, raw: RawFile = REVIEWS) -> list[RawRow]:
    path.write_bytes(content.encode())
    return list(read_rows(RawSource(raw.name, path), raw))


def load(path: Path, content: str, raw: RawFile = REVIEWS) -> tuple[list[str], FileReport]:
    """Return the authors, or games, that are loaded from a file, and the report."""
    report = FileReport(raw.name)
    path.write_bytes(content.encode())
    rows = read_rows(RawSource(raw.name, path), raw, remark=report.remark)
    loaded = list(staged_rows(rows, converters(raw, TODAY, RAW_LAYOUT), report))
    return [line.split("\t")[1] for line in loaded], report


def test_rows_that_a_lost_quote_made_text_count_as_rejected(path):
    rows = [row(f"u{n}") for n in range(200)]
    rows[60] = row("u60", '"never closed')
    for text, reason in (
        ('also broken"', "a quote is missing or too many, so that rows have become the text of another"),
        ('"a proper one"', "the row is not CSV"),
    ):
        rows[100] = row("u100", text)
        authors, report = load(path, HEADER + "".join(rows))
        assert authors == [f"u{n}" for n in range(200) if not 60 <= n <= 100]
        assert (report.rows_read, report.rows_rejected) == (200, 41)
        assert report.reasons() == [f"{reason}: 41, the first on line 62"]
        assert report.rejected[0].content == "".join(rows[60:101])


@pytest.mark.parametrize(
    "lines",
    [
        [row("u1", '"a, b ""c""\r\n\r\nd, e, f, g, h, i, j"')],
        [row("u1", '"1,2,3,4,5,6,7,8\n,,,,,,,\nRecommended,1,0,0,Recommended,yesterday,Alpha,ann"')],
        [row("u1", '""'), row("u2", '""""""')],
        ['"x\ny","1.5","0","0","Recommended","2015-03-01","Alpha","u1"\n'],
    ],
)
def test_text_of_several_lines_is_loaded(lines, path):
    authors, report = load(path, HEADER + "".join(lines))
    assert (authors, report.rejected) == ([f"u{n}" for n in range(1, len(lines) + 1)], [])


def test_a_row_with_a_line_that_looks_like_a_review_is_rejected_and_the_line_is_not_loaded(path):
    authors, report = load(path, HEADER + row("ann", f'"a\n{row("victim")}b"') + row("bob"))
    assert (authors, report.rows_rejected) == (["bob"], 2)


def test_a_lost_line_break_counts_as_two_rows(path):
    authors, report = load(path, HEADER + row("u1").rstrip() + row("u2") + row("u3"))
    assert (authors, report.rows_read, report.rows_rejected) == (["u3"], 3, 2)
    assert report.reasons() == ["the row has 15 fields, the header 8: 2, the first on line 2"]


@pytest.mark.parametrize("text", ['he said "no"', 'lost"', '5" gun', ' "after a space"'])
def test_a_quote_inside_a_field_without_quotes_is_rejected(text, path):
    authors, report = load(path, HEADER + row("ann", text) + row("bob"))
    assert authors == ["bob"]
    assert report.reasons() == ["a quote is inside a field that does not begin with one: 1, the first on line 2"]


def test_escaped_quotes_are_read(path):
    rows = [
        row("u1", r'"she said \"run\", and\\or \"hide\""'),
        row("u2", '"two\\\nlines, \\"quoted\\", \\\nthree"'),
        row("u3", r'"ends in a backslash\\"'),
        row("u4", r"\N"),
    ]
    texts = [found.fields[0] for found in read(path, HEADER + "".join(rows))]
    assert texts == [
        'she said "run", and\\or "hide"', 'two\nlines, "quoted", \nthree', "ends in a backslash\\", "\\N",
    ]  # fmt: skip
    authors, report = load(path, HEADER + "".join(rows))
    assert (authors, report.rejected) == (["u1", "u2", "u3", "u4"], [])


def test_the_rest_of_a_text_after_an_escaped_quote_is_never_a_review(path):
    doubled = [row(f"u{n}", f'"say ""{n}"" twice"') for n in range(5)]
    broken = row("ann", f'"she said \\"run\\" and\n{row("victim")}\n\nand \\"hide\\"\n{row("victim")}the rest"')
    authors, report = load(path, HEADER + "".join([*doubled, broken, row("bob")]))
    assert authors == ["u0", "u1", "u2", "u3", "u4", "bob"]
    assert 'the row is not CSV: it writes quotes as \\", the file as ""' in report.by_reason()
    assert "".join(rejected.content for rejected in report.rejected) == broken


def test_a_file_with_backslashes_but_doubled_quotes_keeps_them(path):
    (found,) = read(path, HEADER + row("ann", r'"C:\new ""games"" in D:\"'))
    assert found.fields[0] == 'C:\\new "games" in D:\\'


def test_rows_after_an_unreadable_row_are_loaded(path):
    rows = [row("u1"), "too,few\n", row("u2"), row("u3", '"a"b"'), row("u4"), row("u5", '"a, b"'), row("u6")]
    authors, report = load(path, HEADER + "".join(rows))
    assert (authors, report.rows_rejected) == (["u1", "u2", "u4", "u5", "u6"], 2)


def test_nul_characters_are_left_out_and_reported(path):
    authors, report = load(path, HEADER + row("an\0n") + row("ann") + "\0\0\0")
    assert authors == ["ann", "ann"]
    assert dict(report.remarks) == {"NUL characters are left out": 2}


@pytest.mark.parametrize("separator", ["\n", "\r\n", "\r"])
def test_blank_lines_are_passed_over_with_any_line_break(separator, path):
    content = "\n\n".join([HEADER.strip(), row("u1").strip(), row("u2", '"a\n\nb"').strip(), ""])
    authors, report = load(path, content.replace("\n", separator))
    assert (authors, report.rows_read) == (["u1", "u2"], 2)
    assert [found.line for found in read(path, content.replace("\n", separator))] == [3, 5]


def test_a_header_with_a_lost_quote_is_reported(path):
    with pytest.raises(UserError, match="has a header that is not CSV: correct its quotes"):
        read(path, HEADER.replace("review,", '"review,') + row("ann"))


TEXTS = st.text(st.sampled_from("ab \",\n\r\\'é\u200b😀") | st.characters(codec="utf-8"), max_size=20)
NEVER_CLOSES = "a quote that opens near line .* and never closes"


def written(raw: RawFile, rows: list[dict[str, str]], *, quote_all: bool = False, escaped: bool = False) -> list[str]:
    """Return rows as a CSV writer writes them."""
    lines = []
    for row in rows:
        buffer = io.StringIO()
        quoting = csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL
        escapes = {"doublequote": False, "escapechar": "\\"} if escaped else {}
        csv.DictWriter(buffer, raw.columns, restval="", quoting=quoting, **escapes).writerow(row)
        lines.append(buffer.getvalue())
    return lines


def reviews(texts: list[str]) -> list[dict[str, str]]:
    """Return a review by an author of its own for each text."""
    dates = ("2015-03-01",) * 4 + ("March 1, 2015",)  # few with quotes, so that a lost one makes long texts
    return [review("Alpha", f"u{number}", dates[number % 5], review=text) for number, text in enumerate(texts)]


@given(st.lists(TEXTS, max_size=8), st.booleans())
def test_what_a_writer_writes_is_read_back(path, texts, quote_all):
    content = HEADER + "".join(written(REVIEWS, reviews(texts), quote_all=quote_all))
    assert [found.fields[0] for found in read(path, content)] == [text.replace("\0", "") for text in texts]
    assert load(path, content)[0] == [f"u{number}" for number in range(len(texts))]


@given(st.lists(TEXTS, min_size=1, max_size=8))
def test_what_a_writer_escapes_is_read_back(path, texts):
    texts = ['start "x" here', *(text.replace("\0", "") for text in texts)]  # the first shows how it writes quotes
    content = HEADER + "".join(written(REVIEWS, reviews(texts), quote_all=True, escaped=True))
    assert [found.fields[0] for found in read(path, content)] == texts


@st.composite
def damaged_files(draw: st.DrawFn, raw: RawFile, rows: st.SearchStrategy[list[dict[str, str]]]):
    """Draw the lines of a file, the numbers of those without damage, and the damaged content below the header.

    Damage is anywhere, and often a quote before the first field of a row and one after that of a later row: the rows
    between them become text.
    """
    lines = written(raw, draw(rows), quote_all=draw(st.booleans()))
    content = "".join(lines)
    starts = [sum(map(len, lines[:number])) for number in range(len(lines))]
    whole = set(range(len(lines)))
    anything = st.tuples(
        st.integers(0, len(content) - 1),
        st.integers(0, 3),  # characters that are overwritten
        st.sampled_from(['"', "", ",", "\n", "\\", '""', "x", "\0", "\0\0\n"]),
    )
    damage = draw(st.lists(anything, max_size=3))
    if draw(st.booleans()):
        first, last = sorted(draw(st.tuples(*[st.sampled_from(starts)] * 2)))
        damage += [(first, 0, '"'), (content.find(",", last), 0, '"')]
    end_of_original = len(content)  # what follows is damaged already
    for position, overwritten, new in sorted(damage, reverse=True):
        end = min(position + overwritten, end_of_original)
        end_of_original = position
        content = content[:position] + new + content[end:]
        whole -= {n for n, start in enumerate(starts) if start <= end and position <= start + len(lines[n])}
    return lines, whole, content


def read_unless_refused(path: Path, content: str, raw: RawFile = REVIEWS) -> list[RawRow] | None:
    """Return the rows of a file, or None if the whole file is refused because a quote never closes."""
    try:
        return read(path, content, raw)
    except UserError as error:
        if not re.search(NEVER_CLOSES, str(error)):
            raise
        return None


def assert_every_line_is_in_one_row(rows: list[RawRow], content: str) -> None:
    """Check that the rows are the whole content without NUL characters and blank lines between rows."""
    rest = content.replace("\0", "")
    for raw_row in rows:
        rest = rest.lstrip("\r\n")
        assert rest.startswith(raw_row.text)
        rest = rest.removeprefix(raw_row.text)
    assert not rest.strip("\r\n")


@settings(max_examples=300)
@given(damaged_files(REVIEWS, st.lists(st.just("ok") | TEXTS, min_size=1, max_size=12).map(reviews)))
def test_every_row_of_a_damaged_file_is_loaded_or_rejected(path, damaged):
    lines, whole, content = damaged
    if (found := read_unless_refused(path, HEADER + content)) is None:
        return
    assert_every_line_is_in_one_row(found, content)
    authors, report = load(path, HEADER + content)
    assert len(authors) + report.rows_rejected == report.rows_read

    # A row without damage is loaded as it was, or rejected and counted.
    rejected_lines = {row.line for row in report.rejected}
    loaded = {raw_row.text for raw_row in found if raw_row.line not in rejected_lines}
    rejected = "".join(row.content for row in report.rejected)
    lost = [text for number in whole if (text := lines[number].replace("\0", "")) not in loaded]
    assert all(text.rstrip("\r\n") in rejected for text in lost)
    assert len(lost) <= report.rows_rejected


GAME_ROWS = st.lists(
    st.builds(game, st.sampled_from(["Alpha", "Beta"]), short_description=TEXTS), min_size=1, max_size=6
)
RANKING_ROWS = st.lists(st.builds(ranking, st.sampled_from(["Alpha", "Beta"])), min_size=1, max_size=6)


@pytest.mark.parametrize(("raw", "rows"), [(GAMES, GAME_ROWS), (RANKINGS, RANKING_ROWS)])
@given(data=st.data())
def test_every_row_of_other_damaged_files_is_loaded_or_rejected(path, raw, rows, data):
    _, _, content = data.draw(damaged_files(raw, rows))
    header = ",".join(raw.columns) + "\n"
    if (found := read_unless_refused(path, header + content, raw)) is None:
        return
    assert_every_line_is_in_one_row(found, content)
    games, report = load(path, header + content, raw)
    assert len(games) + report.rows_rejected == report.rows_read


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damaged=damaged_files(REVIEWS, st.lists(st.just("ok") | TEXTS, min_size=1, max_size=8).map(reviews)))
def test_a_damaged_file_is_in_the_database_or_in_the_rejected_rows(tmp_path, database, shop, damaged):
    _, _, content = damaged
    raw = write_raw(tmp_path / "raw")
    (tmp_path / "raw" / REVIEWS.name).write_bytes((HEADER + content).encode())
    with shop.cursor() as cursor:
        cursor.execute("TRUNCATE steam.reviews, steam.users, steam.games, steam.rejected_rows CASCADE")
        if read_unless_refused(tmp_path / "copy", HEADER + content) is None:
            with pytest.raises(UserError, match=NEVER_CLOSES):
                ingest(raw, database, max_rejected_share=1)
            return
        loaded = ingest(raw, database, max_rejected_share=1)
        cursor.execute("SELECT count(*) FROM steam.reviews")
        assert cursor.fetchone() == (loaded.rows[REVIEWS.name] - sum(loaded.rejected.values()),)
        cursor.execute("SELECT string_agg(content, '' ORDER BY line) FROM steam.rejected_rows")
        rejected = cursor.fetchone()[0] or ""
        assert rejected == "".join(row.content for row in load(tmp_path / "copy", HEADER + content)[1].rejected)
    again = ingest(raw, database, max_rejected_share=1)
    assert (again.rows, again.rejected, again.inserted, again.updated) == (loaded.rows, loaded.rejected, 0, 0)
