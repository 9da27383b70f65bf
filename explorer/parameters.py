"""What a request asks for, checked: the same names and the same rules in the pages' and the API's query strings."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast, get_args

from explorer.problems import Problem
from explorer.views import Filters, RankBy, System

LONGEST_TEXT = 200
LARGEST_ID = 2**63 - 1
LARGEST_GAME_ID = 2**31 - 1
LARGEST_GB = 1e6
LARGEST_YEAR = 9999


def filters_of(query: Mapping[str, str], largest_limit: int) -> Filters:
    """The filters in a query string; a parameter without a value counts as left out, as forms send them.

    Raises:
        Problem: (400) one is not as it must be.
    """
    return Filters(
        rank_by=cast(RankBy, _choice(query, "rank_by", get_args(RankBy)) or "relevance"),
        genre=text_of(query, "genre") or None,
        released_from=_year(query, "released_from"),
        released_to=_year(query, "released_to"),
        max_ram_gb=_gigabytes(query, "max_ram_gb"),
        max_storage_gb=_gigabytes(query, "max_storage_gb"),
        os=cast(System | None, _choice(query, "os", get_args(System))),
        limit=limit_of(query, largest_limit),
    )


def limit_of(query: Mapping[str, str], largest: int, default: int = 10) -> int:
    """How many rows are asked for."""
    return default if not query.get("limit") else whole_number("limit", query["limit"], 1, largest)


def text_of(query: Mapping[str, str], name: str) -> str:
    """A text that the database can compare with, without spaces around it."""
    text = query.get(name, "").strip()
    if len(text) > LONGEST_TEXT or "\0" in text or _unpaired(text):
        raise Problem(400, f"{name} must be a text of at most {LONGEST_TEXT} characters.")
    return text


def user_id_of(text: str) -> int:
    """A user's id."""
    return whole_number("The user's id", text, -LARGEST_ID - 1, LARGEST_ID)


def game_id_of(text: str) -> int:
    """A game's id."""
    return whole_number("The game's id", text, -LARGEST_GAME_ID - 1, LARGEST_GAME_ID)


def whole_number(name: str, value: Any, low: int, high: int) -> int:
    """A whole number, from a text or from JSON, between two others."""
    digits = value.removeprefix("-") if isinstance(value, str) else ""
    if isinstance(value, str) and digits.isascii() and digits.isdecimal() and len(digits) <= 20:
        value = int(value)
    if type(value) is not int or not low <= value <= high:
        raise Problem(400, f"{name} must be a whole number from {low} to {high}.")
    return value


def _year(query: Mapping[str, str], name: str) -> int | None:
    return whole_number(name, query[name], 0, LARGEST_YEAR) if query.get(name) else None


def _gigabytes(query: Mapping[str, str], name: str) -> float | None:
    if not query.get(name):
        return None
    try:
        number = float(query[name])
    except ValueError:
        number = math.nan
    if not 0 <= number <= LARGEST_GB:
        raise Problem(400, f"{name} must be a number from 0 to {LARGEST_GB:.0f}.")
    return number


def _choice(query: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str | None:
    value = query.get(name) or None
    if value is not None and value not in choices:
        raise Problem(400, f"{name} must be one of {', '.join(choices)}.")
    return value


def _unpaired(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
