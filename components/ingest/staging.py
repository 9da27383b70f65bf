"""Raw rows → rows of the staging tables, in PostgreSQL's COPY text format; what cannot be read is put aside."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import lru_cache, partial

from components.ingest.fields import (
    FieldError,
    check_name,
    parse_count,
    parse_decimal,
    parse_list,
    parse_name,
    parse_recommendation,
    parse_release_day,
    parse_review_counts,
    parse_review_day,
)
from components.ingest.raw_files import RawRow
from components.ingest.requirements import Requirements, parse_requirements
from steam_recsys.database.connection import COPY_BUFFER

# COPY's text format (PostgreSQL manual, COPY, "Text Format"); PostgreSQL stores no NUL, so it is dropped.
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": None})
_NULL = "\\N"

MAX_RANK = 1_000_000_000

SHOWN_CHARACTERS = 60
"""Of a value that cannot be read."""


@dataclass(frozen=True)
class Rejected:
    """A row that was put aside: its line, why, the value that cannot be read where there is one, and the whole row."""

    line: int
    reason: str
    value: str
    content: str

    @property
    def shown_value(self) -> str:
        """The value, as what follows a line's number."""
        value = self.value if len(self.value) <= SHOWN_CHARACTERS else f"{self.value[:SHOWN_CHARACTERS]}…"
        return f": {value!r}" if value else ""


@dataclass
class Rejects:
    """The rows of one file that were put aside, and how many were read in all."""

    file: str
    rows: int = 0
    rejected: list[Rejected] = field(default_factory=list)

    def by_reason(self) -> dict[str, int]:
        """The number of rejected rows a reason, most frequent first."""
        return dict(Counter(row.reason for row in self.rejected).most_common())

    def sentences(self) -> list[str]:
        """What is wrong, a reason each, with how many rows there are of it and the first of them."""
        first = {row.reason: row for row in reversed(self.rejected)}
        return [
            f"{reason}: {count:,}, the first on line {first[reason].line}{first[reason].shown_value}"
            for reason, count in self.by_reason().items()
        ]

    def copy_rows(self) -> Iterator[str]:
        """The rejected rows for `steam.rejected_rows`, in COPY's text format."""
        for row in self.rejected:
            yield copy_row(self.file, row.line, row.reason, row.content)


def staged_rows(rows: Iterable[RawRow], convert: Callable[[RawRow], str], rejects: Rejects) -> Iterator[str]:
    """Convert raw rows for COPY; a row that cannot be read goes to `rejects` with its line and reason."""
    for row in rows:
        rejects.rows += 1
        try:
            if row.problem:
                raise FieldError(row.problem)
            yield convert(row)
        except FieldError as error:
            rejects.rejected.append(Rejected(row.line, str(error), error.value, row.text))


def copy_row(*values: object) -> str:
    """One row in COPY's text format; None and the empty text become NULL."""
    return "\t".join(map(_copy_value, values)) + "\n"


def review_converter(newest: date) -> Callable[[RawRow], str]:
    """Converts rows of the reviews file; `newest` is the newest date that a review can have."""
    return partial(_review, newest)


def _review(newest: date, row: RawRow) -> str:
    # Written out for speed: this runs for each of millions of rows, `copy_row` would take three times as long.
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
    """Converts rows of the descriptions file; a second row for a game is refused."""
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
    """Converts rows of the rankings file; a game's second place in the same ranking is refused."""
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
            raise FieldError("the game has a place in this ranking already")
        seen.add((game, genre, rank_type))
        return copy_row(row.line, game, genre, rank_type, rank)

    return convert


def copy_chunks(rows: Iterable[str]) -> Iterator[bytes]:
    """Rows in COPY's text format in chunks of about a megabyte."""
    block: list[str] = []
    length = 0
    for row in rows:
        block.append(row)
        length += len(row)
        if length >= COPY_BUFFER:
            yield "".join(block).encode()
            block, length = [], 0
    if block:
        yield "".join(block).encode()


def _levels(**levels: Requirements | None) -> list[dict[str, object]]:
    return [{"level": level, **asdict(said)} for level, said in levels.items() if said]


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
