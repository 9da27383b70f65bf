"""Convert raw rows to rows of the staging tables, in PostgreSQL's COPY text format; unreadable rows are rejected."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import lru_cache, partial

from components.ingest.fields import (
    FieldError,
    Requirements,
    check_name,
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
from components.ingest.raw_files import RawRow
from steam_recsys.database.connection import COPY_BUFFER

# COPY's text format (PostgreSQL manual, COPY, "Text Format"); PostgreSQL stores no NUL, so it is dropped.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": None})
_NULL = "\\N"

MAX_RANK = 1_000_000_000

MAX_SHOWN_CHARACTERS = 60
"""Characters of an unreadable value that messages show."""


@dataclass(frozen=True)
class RejectedRow:
    """A row that cannot be loaded.

    Attributes:
        line: Line on which the row starts.
        reason: Why the row was rejected.
        value: The value that cannot be read; empty if the reason does not concern one value.
        content: The whole row.
    """

    line: int
    reason: str
    value: str
    content: str

    @property
    def shown_value(self) -> str:
        """The value, to follow the number of the line in a message."""
        value = self.value if len(self.value) <= MAX_SHOWN_CHARACTERS else f"{self.value[:MAX_SHOWN_CHARACTERS]}…"
        return f": {value!r}" if value else ""


@dataclass
class RejectedRows:
    """The rejected rows of one file.

    Attributes:
        file: Name of the file.
        rows_read: Number of rows read, including the rejected ones.
        rows: The rejected rows.
    """

    file: str
    rows_read: int = 0
    rows: list[RejectedRow] = field(default_factory=list)

    def by_reason(self) -> dict[str, int]:
        """Return the number of rejected rows per reason, the most frequent first."""
        return dict(Counter(row.reason for row in self.rows).most_common())

    def messages(self) -> list[str]:
        """Return one message per reason, with the number of rows and the first of them."""
        first = {row.reason: row for row in reversed(self.rows)}
        return [
            f"{reason}: {count:,}, the first on line {first[reason].line}{first[reason].shown_value}"
            for reason, count in self.by_reason().items()
        ]

    def copy_rows(self) -> Iterator[str]:
        """Yield the rows for `steam.rejected_rows`, in COPY's text format."""
        for row in self.rows:
            yield copy_row(self.file, row.line, row.reason, row.content)


def staged_rows(rows: Iterable[RawRow], convert: Callable[[RawRow], str], rejected: RejectedRows) -> Iterator[str]:
    """Convert raw rows for COPY. Rows that cannot be read are added to `rejected`."""
    for row in rows:
        rejected.rows_read += 1
        try:
            if row.problem:
                raise FieldError(row.problem)
            yield convert(row)
        except FieldError as error:
            rejected.rows.append(RejectedRow(row.line, str(error), error.value, row.text))


def copy_row(*values: object) -> str:
    """Return one row in COPY's text format; None and the empty string become NULL."""
    return "\t".join(map(_copy_value, values)) + "\n"


def review_converter(newest: date) -> Callable[[RawRow], str]:
    """Return a converter for the reviews file; `newest` is the latest possible date of a review."""
    return partial(_review, newest)


def _review(newest: date, row: RawRow) -> str:
    # Written out for speed: this runs for millions of rows, and `copy_row` takes three times as long.
    review, hours, helpful, funny, recommendation, day, game, username = row.fields
    played = parse_decimal(hours, "hours_played")
    author = _copy_value(check_name(username, "username")) if username.strip() else _NULL
    return (
        f"{row.line}\t{author}\t{_copy_game(game)}\t"
        f"{'t' if parse_recommendation(recommendation) else 'f'}\t{_NULL if played is None else played}\t"
        f"{parse_count(helpful, 'helpful') or 0}\t{parse_count(funny, 'funny') or 0}\t{_copy_day(day, newest)}\t"
        f"{_copy_value(review) if review.strip() else _NULL}\n"
    )


@lru_cache(maxsize=1 << 16)
def _copy_game(text: str) -> str:
    return _copy_value(_required_name(text, "game_name"))


@lru_cache(maxsize=1 << 16)
def _copy_day(text: str, newest: date) -> str:
    day = parse_review_day(text, newest)
    month, day_of_month = day.month_and_day or (None, None)
    return copy_row(day.day, month, day_of_month).rstrip("\n")


def game_converter() -> Callable[[RawRow], str]:
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
            short.strip(),
            long.strip(),
            parse_release_day(release),
            release.strip(),
            rating.strip(),
            counts.total,
            counts.positive_share,
            counts.positive_share_of,
            parse_count(english, "number_of_english_reviews"),
            link.strip(),
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


def ranking_converter() -> Callable[[RawRow], str]:
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
