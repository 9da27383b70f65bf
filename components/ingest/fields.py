"""Parsers for the fields of raw files: pure functions from text to values that raise `FieldError` with a reason."""

from __future__ import annotations

import ast
import html
import re
import unicodedata
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache

from steam_recsys.data.schemas import EARLIEST_REVIEW

MAX_NAME_BYTES = 2_000
"""Length of a name in UTF-8 that fits into an index of PostgreSQL."""

MAX_NUMBER = 1e12
"""More than any shop counts, and well within PostgreSQL's bigint and real."""

MIN_NUMBER = 1e-6
"""A smaller number is 0: PostgreSQL's real refuses very small ones."""

MAX_GB = 1e6
"""A larger size is a typing error: it stays in the text only."""

SQL_NULL = "\\N"
"""How MySQL and PostgreSQL export a missing value."""

NO_NAMES = frozenset({SQL_NULL, "NULL", "null", "NA", "<NA>", "nan", "NaN", "None"})
"""What databases, R and pandas write for a missing name."""

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH_NAMES = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
_MONTH_FIRST = re.compile(r"([a-z]+)\.? (\d{1,2})(?:,? (\d{4}))?")
_DAY_FIRST = re.compile(r"(\d{1,2}) ([a-z]+)\.?(?:,? (\d{4}))?")
_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_MONTH_YEAR = re.compile(r"([a-z]+)\.?,? (\d{4})")
_NOT_A_DATE = "date is not a date such as November 5, 2011 or 2011-11-05"
_EPOCH = re.compile(r"(\d{9,10})(\d{3})?(?:\.0+)?")  # seconds or milliseconds since 1970
_TIME_OF_DAY = re.compile(
    r"(?:(?<=\d)t|[,@ ]+(?:at )?)(?:[01]?\d|2[0-4]):[0-5]\d(?::[0-6]\d(?:[.,]\d+)?)? ?(?:[ap]m)? ?"
    r"(?:z|utc|gmt|[+-]\d\d:?(?:\d\d)?)?$"
)
_NUMBER = re.compile(r"-?(?:[1-9]\d{0,2}(?:,\d{3})+|\d+)(?:\.\d+)?")
_TOTAL = re.compile(r"\(?\s*([\d,]+)\s*\)?")
_SHARE = re.compile(r"\(?\s*(\d{1,2}|100)%\s+of\s+([\d,]+)\s*\)?")
_ROUNDED_ID = re.compile(r"\d(?:[.,]\d+)?[eE]\+\d\d|\d{15,}\.0+")
_RECOMMENDATIONS = {
    **dict.fromkeys(("recommended", "true", "1", "1.0"), True),
    **dict.fromkeys(("not recommended", "false", "0", "0.0"), False),
}
_QUOTED_LIST = re.compile(r"""\[['"].*['"]\]""", re.DOTALL)
_STRING = r"""[uUrR]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
_LIST = re.compile(rf"\[\s*(?:{_STRING}\s*(?:,\s*{_STRING}\s*)*,?\s*)?\]", re.DOTALL)
_LIST_SEPARATOR = re.compile(r"""['"],\s*['"]""")
_WHITESPACE = re.compile(r"\s+")
# Invisible characters. Joiners stay between letters other than ASCII, where they change how these are written.
_INVISIBLE = re.compile(
    "[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]"
    "|(?<![^\\x00-\\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\\x00-\\x7f])"
)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}(,\d{3})+")
_SIZE = re.compile(r"(?<![\d.,])(\d{1,3}(?:,\d{3})+|\d+(?:[.,]\d+)?)\s*(TB|GB|MB|KB)", re.IGNORECASE)
_GB_PER_UNIT = {"tb": 1024.0, "gb": 1.0, "mb": 1 / 1024, "kb": 1 / 1024**2}


class FieldError(ValueError):
    """A field that cannot be read: the reason for rejecting its row, and the field's value."""

    def __init__(self, reason: str, value: str = "") -> None:
        super().__init__(reason)
        self.value = value


@dataclass(frozen=True)
class ReviewDay:
    """A review's date, or only its month and day if the file leaves out the year."""

    day: date | None
    month_and_day: tuple[int, int] | None = None


@dataclass(frozen=True)
class StoreReviewCounts:
    """Two quantities that share one column: a total, or the positive share of another number of reviews."""

    total: int | None = None
    positive_share: float | None = None
    positive_share_of: int | None = None


@dataclass(frozen=True)
class Requirements:
    """A game's minimum or recommended system requirements, sizes in GB.

    `requirements` is the whole text, one requirement per line, including what could not be parsed.
    """

    os: str | None
    processor: str | None
    ram_gb: float | None
    storage_gb: float | None
    graphics: str | None
    directx: str | None
    requirements: str


@lru_cache(maxsize=1 << 16)
def parse_name(text: str) -> str:
    """Read a name, so that names that look the same are the same. Empty if the text is blank.

    HTML entities are resolved, invisible characters removed, whitespace collapsed, and accents composed (NFC).

    Raises:
        FieldError: The text has a character that is not Unicode.
    """
    name = html.unescape(text)
    if not name.isascii():
        name = unicodedata.normalize("NFC", _INVISIBLE.sub("", check_unicode(name)))
    name = _WHITESPACE.sub(" ", name.replace("\0", "")).strip()
    return "" if name == SQL_NULL else name


def check_unicode(text: str) -> str:
    """Return the text with surrogate pairs joined. PostgreSQL holds no half of a pair.

    Raises:
        FieldError: The text has half a pair.
    """
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            raise FieldError("a character is half of a surrogate pair, which is not Unicode", text) from None


@lru_cache(maxsize=1 << 16)
def parse_author(text: str) -> str | None:
    """Read an author's name; None if it is blank or stands for a missing value (`NO_NAMES`).

    Names identify users, so nothing that may tell two of them apart is removed.

    Raises:
        FieldError: The name is too long, or an id that a spreadsheet has rounded.
    """
    name = text if text.isascii() else unicodedata.normalize("NFC", text.replace("\ufeff", ""))
    stripped = name.strip()
    if not stripped or stripped in NO_NAMES:
        return None
    if stripped[0].isdigit() and _ROUNDED_ID.fullmatch(stripped):
        raise FieldError("username is an id that a spreadsheet has rounded: export it as text", text)
    return check_name(name, "username")


@lru_cache(maxsize=1 << 16)
def parse_decimal(text: str, field: str) -> float | None:
    """Read a number from 0 to `MAX_NUMBER`, with or without thousands separators; None if blank.

    Example:
        >>> parse_decimal("1,234.5", "hours_played")
        1234.5
    """
    plain = text.strip()
    if not plain or plain == SQL_NULL:
        return None
    if not _NUMBER.fullmatch(plain):
        if _NUMBER.fullmatch(plain.replace(",", "")):
            raise FieldError(f"{field} has a comma that does not separate thousands: write it as 1,234.5", text)
        raise FieldError(f"{field} is not a number", text)
    if plain.startswith("-"):
        raise FieldError(f"{field} is negative", text)
    number = float(plain.replace(",", ""))
    if number > MAX_NUMBER:
        raise FieldError(f"{field} is too large", text)
    return number if number >= MIN_NUMBER else 0.0


def parse_count(text: str, field: str) -> int | None:
    """Read a whole number of 0 or more, with or without thousands separators; None if blank."""
    if text.isdecimal() and text.isascii() and len(text) < 12:  # fast path for the common case
        return int(text)
    number = parse_decimal(text, field)
    if number is not None and not number.is_integer():
        raise FieldError(f"{field} is not a whole number", text)
    return None if number is None else int(number)


def check_name(name: str, field: str) -> str:
    """Return the name unless it is too long for an index."""
    if len(name) > MAX_NAME_BYTES // 4 and len(name.encode()) > MAX_NAME_BYTES:
        raise FieldError(f"{field} is longer than {MAX_NAME_BYTES:,} bytes")
    return name


def parse_recommendation(text: str) -> bool:
    """Read `Recommended` or `Not Recommended`, `True` or `False`, `1` or `0`."""
    if text == "Recommended":
        return True
    if text == "Not Recommended":
        return False
    recommended = _RECOMMENDATIONS.get(parse_name(text).lower())
    if recommended is None:
        raise FieldError("recommendation is neither Recommended nor Not Recommended", text)
    return recommended


def parse_review_day(text: str, newest: date) -> ReviewDay:
    """Read a review's date: `November 5, 2011`, `5 November, 2011`, `2011-11-05`, without the year, or blank.

    A time of day after the date is left out. Nine or ten digits are seconds since 1970 in UTC, three more milliseconds.

    Raises:
        FieldError: The text has another form, or the date is before 1997 or after `newest`.
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
        _date(2000, month, day)  # a leap year, which has every possible day
        return ReviewDay(None, (month, day))
    review_date = _date(year, month, day)
    if review_date < EARLIEST_REVIEW:
        raise FieldError("date is before 1997")
    if review_date > newest:
        raise FieldError("date is in the future")
    return ReviewDay(review_date)


def parse_release_day(text: str) -> date | None:
    """Read a release date. A month alone means its first day. None for free text, which is valid."""
    folded = parse_name(text).lower()
    try:
        if match := _MONTH_YEAR.fullmatch(folded):
            return _date(int(match[2]), _month(match[1]), 1)
        year, month, day = _split_date(folded)
        return None if year is None else _date(year, month, day)
    except FieldError:
        return None


def parse_list(text: str, field: str) -> list[str]:
    """Read a list of names, written as a Python literal. Repeats and blanks are dropped.

    Real files contain lists that are not valid literals, such as `['Traveller's Tales', 'Sega']`. These are split at
    the quotes around the commas.
    """
    literal = text.strip()
    if not literal or literal == SQL_NULL:
        return []
    try:
        values = ast.literal_eval(literal)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        if not _QUOTED_LIST.fullmatch(literal):
            raise FieldError(f"{field} is not a list", text) from None
        values = _LIST_SEPARATOR.split(literal[2:-2])
    else:
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise FieldError(f"{field} is not a list of texts", text)
        if not _LIST.fullmatch(literal):  # Python joins strings that only a space separates, as NumPy prints them
            raise FieldError(f"{field} has two names without a comma between them", text)
    return [check_name(name, field) for name in dict.fromkeys(map(parse_name, values)) if name]


def parse_review_counts(text: str) -> StoreReviewCounts:
    """Read `(654,820)`, `(81% of 62,791) All Time`, `() All Time` or blank."""
    plain = parse_name(text).removesuffix("All Time").strip()
    if plain in ("", "()"):
        return StoreReviewCounts()
    field = "number_of_reviews_from_purchased_people"
    if match := _TOTAL.fullmatch(plain):
        return StoreReviewCounts(total=parse_count(match[1], field))
    if match := _SHARE.fullmatch(plain):
        return StoreReviewCounts(None, int(match[1]) / 100, parse_count(match[2], field))
    raise FieldError(f"{field} is neither a total nor a share of a total", text)


def parse_requirements(text: str) -> Requirements | None:
    """Read system requirements such as `['OS: Windows 10', 'Memory: 8 GB RAM', …]`; None if blank.

    Known labels become fields; the whole text is kept, also if it is not a list.
    """
    try:
        lines = parse_list(text, "requirements")
    except FieldError:
        lines = [parse_name(text)]
    if not lines:
        return None
    values: dict[str, str] = {}
    for line in lines:
        label, colon, value = line.partition(":")
        if colon and value.strip():
            values.setdefault(label.strip(" *").lower(), value.strip())
    return Requirements(
        os=values.get("os"),
        processor=values.get("processor"),
        ram_gb=_gigabytes(values.get("memory")),
        storage_gb=_gigabytes(values.get("storage") or values.get("hard drive") or values.get("hard disk space")),
        graphics=values.get("graphics"),
        directx=values.get("directx"),
        requirements="\n".join(lines),
    )


def _split_date(folded: str) -> tuple[int | None, int, int]:
    if match := _EPOCH.fullmatch(folded):
        moment = datetime.fromtimestamp(int(match[1]), UTC)
        return moment.year, moment.month, moment.day
    folded = _TIME_OF_DAY.sub("", folded)
    if match := _MONTH_FIRST.fullmatch(folded):
        return int(match[3]) if match[3] else None, _month(match[1]), int(match[2])
    if match := _DAY_FIRST.fullmatch(folded):
        return int(match[3]) if match[3] else None, _month(match[2]), int(match[1])
    if match := _ISO.fullmatch(folded):
        return int(match[1]), int(match[2]), int(match[3])
    raise FieldError(_NOT_A_DATE)


def _month(name: str) -> int:
    if name in _MONTH_NAMES:
        return _MONTH_NAMES.index(name) + 1
    if name in _MONTHS:
        return _MONTHS.index(name) + 1
    if name == "sept":
        return 9
    raise FieldError(_NOT_A_DATE)


def _date(year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except ValueError:
        raise FieldError(_NOT_A_DATE) from None


def _gigabytes(text: str | None) -> float | None:
    match = _SIZE.search(text or "")
    if not match:
        return None
    size = match[1].replace(",", "" if _THOUSANDS.fullmatch(match[1]) else ".")
    gigabytes = float(size) * _GB_PER_UNIT[match[2].lower()]
    return round(gigabytes, 3) if gigabytes <= MAX_GB else None
