"""What one field of a raw file says. Pure functions from text to values; each raises `FieldError` with a reason."""

from __future__ import annotations

import ast
import html
import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache

from steam_recsys.data.schemas import EARLIEST_REVIEW

MAX_NAME_BYTES = 2_000
"""In UTF-8: what an index of PostgreSQL holds."""

MAX_NUMBER = 1e12
"""More than any shop counts, and well inside PostgreSQL's bigint and real."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_NAMES = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_MONTH_FIRST = re.compile(r"([a-z]+)\.? (\d{1,2})(?:,? (\d{4}))?")
_DAY_FIRST = re.compile(r"(\d{1,2}) ([a-z]+)\.?(?:,? (\d{4}))?")
_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_MONTH_AND_YEAR = re.compile(r"([a-z]+)\.?,? (\d{4})")
_NO_DATE = "date is not a date such as November 5, 2011 or 2011-11-05"
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_TOTAL = re.compile(r"\(?\s*([\d,]+)\s*\)?")
_SHARE = re.compile(r"\(?\s*(\d{1,3})%\s+of\s+([\d,]+)\s*\)?")
_QUOTED_LIST = re.compile(r"""\[['"].*['"]\]""", re.DOTALL)
_BETWEEN_QUOTES = re.compile(r"""['"],\s*['"]""")
_WHITE_SPACE = re.compile(r"\s+")


class FieldError(ValueError):
    """A field that cannot be read: the reason that is kept with the rejected row, and what the field holds."""

    def __init__(self, reason: str, value: str = "") -> None:
        super().__init__(reason)
        self.value = value


@dataclass(frozen=True)
class ReviewDay:
    """A review's date: a whole one, or only month and day where the file leaves out the year."""

    day: date | None
    month_and_day: tuple[int, int] | None = None


@dataclass(frozen=True)
class ReviewCounts:
    """The two quantities that share one column: a total, or the positive share of another number of reviews."""

    total: int | None = None
    positive_share: float | None = None
    positive_share_of: int | None = None


@lru_cache(maxsize=1 << 16)
def parse_name(text: str) -> str:
    """A game's or a genre's name: HTML entities resolved, white space folded; empty where there is none."""
    return _WHITE_SPACE.sub(" ", html.unescape(text)).strip()


@lru_cache(maxsize=1 << 16)
def parse_decimal(text: str, field: str) -> float | None:
    """A number from zero to `MAX_NUMBER`, with or without thousands separators; None where blank."""
    plain = text.replace(",", "").strip()
    if not plain:
        return None
    if not _NUMBER.fullmatch(plain):
        raise FieldError(f"{field} is not a number", text)
    if plain.startswith("-"):
        raise FieldError(f"{field} is negative", text)
    number = float(plain)
    if number > MAX_NUMBER:
        raise FieldError(f"{field} is too large", text)
    return number


def parse_count(text: str, field: str) -> int | None:
    """A whole number of zero or more, with or without thousands separators; None where blank."""
    if text.isdecimal() and text.isascii() and len(text) < 12:  # the common case, fast
        return int(text)
    number = parse_decimal(text, field)
    if number is not None and not number.is_integer():
        raise FieldError(f"{field} is not a whole number", text)
    return None if number is None else int(number)


def check_name(name: str, field: str) -> str:
    """A name that an index can hold."""
    if len(name) > MAX_NAME_BYTES // 4 and len(name.encode()) > MAX_NAME_BYTES:
        raise FieldError(f"{field} is longer than {MAX_NAME_BYTES:,} bytes")
    return name


def parse_recommendation(text: str) -> bool:
    """`Recommended` or `Not Recommended`."""
    if text == "Recommended":
        return True
    if text == "Not Recommended":
        return False
    folded = parse_name(text).lower()
    if folded not in ("recommended", "not recommended"):
        raise FieldError("recommendation is neither Recommended nor Not Recommended", text)
    return folded == "recommended"


def parse_review_day(text: str, newest: date) -> ReviewDay:
    """A review's date, as `November 5, 2011`, `5 November, 2011`, `2011-11-05`, without the year, or blank.

    Raises:
        FieldError: it is none of these, lies before 1997, or lies after `newest`.
    """
    try:
        return _review_day(parse_name(text).lower(), newest)
    except FieldError as error:
        raise FieldError(str(error), text) from None


def _review_day(folded: str, newest: date) -> ReviewDay:
    if not folded:
        return ReviewDay(None)
    year, month, day = _split_date(folded)
    if year is None:
        _date(2000, month, day)  # a leap year: every day that there can be
        return ReviewDay(None, (month, day))
    written = _date(year, month, day)
    if written < EARLIEST_REVIEW:
        raise FieldError("date is before 1997")
    if written > newest:
        raise FieldError("date is in the future")
    return ReviewDay(written)


def parse_release_day(text: str) -> date | None:
    """A release date; a month alone counts as its first day; None for free text, which is no error."""
    folded = parse_name(text).lower()
    try:
        if match := _MONTH_AND_YEAR.fullmatch(folded):
            return _date(int(match[2]), _month(match[1]), 1)
        year, month, day = _split_date(folded)
        return None if year is None else _date(year, month, day)
    except FieldError:
        return None


def parse_list(text: str, field: str) -> list[str]:
    """A list of names as a Python literal, without repeats, in the file's order; blank means none.

    Real files hold lists that are no literals, as in `['Traveller's Tales', 'Sega']`: these are split at the quotes
    around the commas.
    """
    literal = text.strip()
    if not literal:
        return []
    try:
        values = ast.literal_eval(literal)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        if not _QUOTED_LIST.fullmatch(literal):
            raise FieldError(f"{field} is not a list", text) from None
        values = _BETWEEN_QUOTES.split(literal[2:-2])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise FieldError(f"{field} is not a list of texts", text)
    return [check_name(name, field) for name in dict.fromkeys(map(parse_name, values)) if name]


def parse_review_counts(text: str) -> ReviewCounts:
    """`(654,820)`, `(81% of 62,791) All Time`, `() All Time` or blank."""
    plain = parse_name(text).removesuffix("All Time").strip()
    if plain in ("", "()"):
        return ReviewCounts()
    if match := _TOTAL.fullmatch(plain):
        return ReviewCounts(total=int(match[1].replace(",", "")))
    if match := _SHARE.fullmatch(plain):
        return ReviewCounts(None, int(match[1]) / 100, int(match[2].replace(",", "")))
    raise FieldError("number_of_reviews_from_purchased_people is neither a total nor a share of a total", text)


def _split_date(folded: str) -> tuple[int | None, int, int]:
    if match := _MONTH_FIRST.fullmatch(folded):
        return int(match[3]) if match[3] else None, _month(match[1]), int(match[2])
    if match := _DAY_FIRST.fullmatch(folded):
        return int(match[3]) if match[3] else None, _month(match[2]), int(match[1])
    if match := _ISO.fullmatch(folded):
        return int(match[1]), int(match[2]), int(match[3])
    raise FieldError(_NO_DATE)


def _month(name: str) -> int:
    if name in _MONTH_NAMES:
        return _MONTH_NAMES.index(name) + 1
    if name in _MONTHS:
        return _MONTHS.index(name) + 1
    if name == "sept":
        return 9
    raise FieldError(_NO_DATE)


def _date(year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        raise FieldError(_NO_DATE) from None
