"""Convert raw rows to rows of the staging tables, in PostgreSQL's COPY text format; unreadable rows are rejected."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import lru_cache

from components.ingest.columns import ColumnMapping
from components.ingest.csv_rows import RawRow, Remark
from components.ingest.fields import (
    SQL_NULL,
    FieldError,
    Requirements,
    check_name,
    parse_author,
    parse_count,
    parse_decimal,
    parse_list,
    parse_name,
    parse_recommendation,
    parse_release_day,
    parse_requirements,
    parse_review_counts,
    parse_review_day,
)
from components.ingest.raw_files import GAMES, RANKINGS, RawFile
from steam_recsys.database.connection import COPY_BUFFER

# COPY's text format (PostgreSQL manual, COPY, "Text Format").
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_NULL = "\\N"

MAX_RANK = 1_000_000_000

MAX_RECORDED = 100_000
"""Rejected rows of a file that are recorded with their content: all of them may be more than fits into memory."""

MAX_SHOWN_CHARACTERS = 60
"""Characters of an unreadable value that messages show."""

Convert = Callable[[RawRow], str]
"""A function from a row of a file to a row of its staging table."""


@dataclass(frozen=True)
class RejectedRow:
    """A row that cannot be loaded.

    Attributes:
        line: Line on which the row starts.
        reason: Why the row was rejected.
        value: The value that cannot be read; empty if the reason does not concern one value.
        content: The whole row.
        rows: Number of rows that are lost with it: more than one if a lost quote or line break joins rows.
    """

    line: int
    reason: str
    value: str
    content: str
    rows: int = 1

    @property
    def shown_value(self) -> str:
        """The value, to follow the number of the line in a message."""
        value = self.value if len(self.value) <= MAX_SHOWN_CHARACTERS else f"{self.value[:MAX_SHOWN_CHARACTERS]}…"
        return f": {value!r}" if value else ""


@dataclass
class FileReport:
    """What a load found in one file.

    Attributes:
        file: Name of the file.
        rows_read: Number of rows read, including the rejected ones and those that they hold.
        rejected: The first `MAX_RECORDED` rejected rows.
        remarks: Number of rows per remark: what is unknown or left out although the row is loaded.
    """

    file: str
    rows_read: int = 0
    rejected: list[RejectedRow] = field(default_factory=list)
    remarks: Counter[str] = field(default_factory=Counter)
    _first_remarks: dict[str, int] = field(default_factory=dict)
    _rejected_by_reason: Counter[str] = field(default_factory=Counter)
    _first_rejected: dict[str, RejectedRow] = field(default_factory=dict)

    @property
    def rows_rejected(self) -> int:
        """The number of rows that are not loaded."""
        return self._rejected_by_reason.total()

    def reject(self, row: RejectedRow) -> None:
        """Count a rejected row, and keep it if there are not too many."""
        self._rejected_by_reason[row.reason] += row.rows
        self._first_rejected.setdefault(row.reason, row)
        if len(self.rejected) < MAX_RECORDED:
            self.rejected.append(row)

    def remark(self, message: str, line: int) -> None:
        """Count a remark about the row on a line."""
        self.remarks[message] += 1
        self._first_remarks.setdefault(message, line)

    def by_reason(self) -> dict[str, int]:
        """Return the number of rows rejected per reason, the most frequent first."""
        return dict(self._rejected_by_reason.most_common())

    def reasons(self) -> list[str]:
        """Return one message per reason for rejecting rows, with the number of rows and the first of them."""
        first = self._first_rejected
        return [
            f"{reason}: {count:,}, the first on line {first[reason].line}{first[reason].shown_value}"
            for reason, count in self.by_reason().items()
        ]

    def messages(self) -> list[str]:
        """Return what to log about the file."""
        return [
            f"{self.rows_read:,} rows read, {self.rows_rejected:,} rejected",
            *(f"rejected because {reason}" for reason in self.reasons()),
            *(
                f"{message}: {count:,}, the first on line {self._first_remarks[message]}"
                for message, count in self.remarks.most_common()
            ),
        ]

    def copy_rows(self) -> Iterator[str]:
        """Yield the rejected rows for `steam.rejected_rows`, in COPY's text format."""
        for row in self.rejected:
            yield copy_row(self.file, row.line, row.reason, row.content)


def staged_rows(
    rows: Iterable[RawRow], new_converter: Callable[[Remark], Convert], report: FileReport
) -> Iterator[str]:
    """Convert raw rows for COPY. Rows that cannot be read are added to the report.

    Args:
        rows: The rows of a file.
        new_converter: Makes a converter, which sends its remarks to the function that it is given.
        report: Report of the file.
    """
    convert = new_converter(report.remark)
    for row in rows:
        count = 1
        try:
            if row.problem:
                count = max(1, row.joined_rows, len(row.inner_rows))
                raise FieldError(row.problem)
            if len(row.inner_rows) > 1:
                count = max(1, sum(_is_valid(values, new_converter) for values in row.inner_rows))
                if count > 1:
                    raise FieldError("a quote is missing or too many, so that rows have become the text of another")
            yield convert(row)
        except FieldError as error:
            report.reject(RejectedRow(row.line, str(error), error.value, row.text, count))
        report.rows_read += count


def _is_valid(values: tuple[str, ...], new_converter: Callable[[Remark], Convert]) -> bool:
    try:
        new_converter(lambda message, line: None)(RawRow(0, "", values))
    except FieldError:
        return False
    return True


def converters(raw: RawFile, newest: date, mapping: ColumnMapping) -> Callable[[Remark], Convert]:
    """Return what makes converters for a file.

    Args:
        raw: The file of the layout.
        newest: Latest possible date of a review.
        mapping: Where the reviews file differs from the layout.
    """
    if raw is GAMES:
        return lambda remark: game_converter()
    if raw is RANKINGS:
        return lambda remark: ranking_converter()
    return lambda remark: review_converter(newest, mapping.hours_divisor, remark)


def copy_row(*values: object) -> str:
    """Return one row in COPY's text format; None and the empty string become NULL."""
    return "\t".join(map(_copy_value, values)) + "\n"


def review_converter(newest: date, hours_divisor: float, remark: Remark) -> Convert:
    """Return a converter for the reviews file.

    Args:
        newest: Latest possible date of a review.
        hours_divisor: What `hours_played` is divided by.
        remark: Receives what is unknown although the row is loaded.
    """

    def convert(row: RawRow) -> str:
        review, hours, helpful, funny, recommendation, day, game, username = row.fields
        played = copy_hours(hours, hours_divisor)
        values = (
            str(row.line),
            copy_author(username),
            copy_game(game),
            copy_recommendation(recommendation),
            played,
            copy_count(helpful, "helpful"),
            copy_count(funny, "funny"),
            copy_day(day, newest),
            copy_review(review),
        )
        if username.strip() and parse_author(username) is None:
            remark(f"the author is unknown, because username is {username.strip()}", row.line)
        return "\t".join(values) + "\n"

    return convert


# The values of a review in COPY's text format, each raising `FieldError` if it cannot be read.


def copy_author(username: str) -> str:
    """Convert an author's name, which may be missing."""
    return _copy_value(parse_author(username))


@lru_cache(maxsize=1 << 16)
def copy_game(text: str) -> str:
    """Convert a game's name."""
    return _copy_value(_required_name(text, "game_name"))


def copy_recommendation(text: str) -> str:
    """Convert the recommendation."""
    return _copy_value(parse_recommendation(text))


def copy_hours(text: str, divisor: float) -> str:
    """Convert the hours played, divided by `divisor`."""
    played = parse_decimal(text, "hours_played")
    if played and divisor != 1:
        played = round(played / divisor, 4)
    return _copy_value(played)


def copy_count(text: str, field: str) -> str:
    """Convert a number of votes; 0 if it is missing."""
    return str(parse_count(text, field) or 0)


@lru_cache(maxsize=1 << 16)
def copy_day(text: str, newest: date) -> str:
    """Convert the date to three columns: the date, or else month and day if the year is missing."""
    day = parse_review_day(text, newest)
    month, day_of_month = day.month_and_day or (None, None)
    return copy_row(day.day, month, day_of_month).rstrip("\n")


def copy_review(text: str) -> str:
    """Convert the review's text; NULL if it is blank."""
    return _copy_value(_text(text) and text)


def game_converter() -> Convert:
    """Return a converter for the descriptions file; a second row for a game is rejected."""
    seen: set[str] = set()

    def convert(row: RawRow) -> str:
        (
            name_text, short, long, genres, minimum, recommended, release, developers, publishers, rating,
            counts_text, english, link,
        ) = row.fields  # fmt: skip
        name = _required_name(name_text, "name")
        counts = parse_review_counts(counts_text)
        converted = copy_row(
            row.line,
            name,
            _text(short),
            _text(long),
            parse_release_day(release),
            _text(release),
            _text(rating),
            counts.total,
            counts.positive_share,
            counts.positive_share_of,
            parse_count(english, "number_of_english_reviews"),
            _text(link),
            json.dumps(parse_list(genres, "genres")),
            json.dumps(parse_list(developers, "developer")),
            json.dumps(parse_list(publishers, "publisher")),
            json.dumps(_levels(minimum=parse_requirements(minimum), recommended=parse_requirements(recommended))),
        )
        if name in seen:
            raise FieldError("the game has a row already")
        seen.add(name)
        return converted

    return convert


def ranking_converter() -> Convert:
    """Return a converter for the rankings file; a second rank of a game in the same ranking is rejected."""
    seen: set[tuple[str, str, str]] = set()

    def convert(row: RawRow) -> str:
        game_text, genre_text, type_text, rank_text = row.fields
        game, genre = _required_name(game_text, "game_name"), _required_name(genre_text, "genre")
        rank_type = parse_name(type_text).capitalize()
        if rank_type not in ("Sales", "Revenue", "Review"):
            raise FieldError("rank_type is none of Sales, Revenue, Review", type_text)
        rank = parse_count(rank_text, "rank")
        if not rank or rank > MAX_RANK:
            raise FieldError(f"rank is not a number from 1 to {MAX_RANK:,}", rank_text)
        if (game, genre, rank_type) in seen:
            raise FieldError("the game has a rank in this ranking already")
        seen.add((game, genre, rank_type))
        return copy_row(row.line, game, genre, rank_type, rank)

    return convert


def copy_chunks(rows: Iterable[str]) -> Iterator[bytes]:
    """Join rows in COPY's text format into chunks of about a megabyte."""
    chunk: list[str] = []
    length = 0
    for row in rows:
        chunk.append(row)
        length += len(row)
        if length >= COPY_BUFFER:
            yield "".join(chunk).encode()
            chunk, length = [], 0
    if chunk:
        yield "".join(chunk).encode()


def _levels(**levels: Requirements | None) -> list[dict[str, object]]:
    return [{"level": level, **asdict(requirements)} for level, requirements in levels.items() if requirements]


def _text(value: str) -> str:
    """Return a text without whitespace around it; empty if it is blank or missing."""
    text = value.strip()
    return "" if text == SQL_NULL else text


def _required_name(text: str, field_name: str) -> str:
    name = parse_name(text)
    if not name:
        raise FieldError(f"{field_name} is blank")
    return check_name(name, field_name)


def _copy_value(value: object) -> str:
    if value is None or value == "":
        return _NULL
    if isinstance(value, str):
        return value.translate(_ESCAPES) or _NULL
    if isinstance(value, bool):
        return "t" if value else "f"
    return str(value)
