"""What a request asks for, checked: the same names and the same rules in query strings and in JSON.

All raise `Problem` (400) where a value is not as it must be. A parameter without a value, as forms send it, counts as
left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Final, cast, get_args

from starlette.datastructures import QueryParams

from explorer.problems import Problem
from explorer.views import Filters, RankBy, System
from steam_recsys.model.history_weights import MAX_HOURS as MAX_HOURS

LONGEST_TEXT = 200
LONGEST_HISTORY = 1000
LARGEST_ID = 2**63 - 1
LARGEST_GAME_ID = 2**31 - 1
LARGEST_GB = 1e6
LARGEST_YEAR = 9999

FILTERS: Final = tuple(field.name for field in fields(Filters))
"""The names of the filters."""

Query = Mapping[str, Any]
"""Parameters by name: texts of a query string, or values of JSON."""


def only(query: Query, known: Iterable[str]) -> Query:
    """The same parameters, none of which is given twice, or is one that nobody reads: a misspelt filter is none."""
    if isinstance(query, QueryParams) and len(query.multi_items()) > len(query):
        raise Problem(400, "There is a parameter that is given twice: give each of them once.")
    for name in query:
        if name not in known:
            names = ", ".join(known) or "none"
            raise Problem(400, f"There is a parameter that is not known here: the parameters are {names}.")
    return query


def filters_of(query: Query, largest_limit: int) -> Filters:
    """The filters among some parameters."""
    return Filters(
        rank_by=cast(RankBy, _choice(query, "rank_by", get_args(RankBy)) or "relevance"),
        genre=text_of(query, "genre") or None,
        released_from=_year(query, "released_from"),
        released_to=_year(query, "released_to"),
        max_ram_gb=_number(query, "max_ram_gb", LARGEST_GB),
        max_storage_gb=_number(query, "max_storage_gb", LARGEST_GB),
        os=cast(System | None, _choice(query, "os", get_args(System))),
        limit=limit_of(query, largest_limit),
    )


def limit_of(query: Query, largest: int, default: int = 10) -> int:
    """How many rows are asked for."""
    return default if _missing(query, "limit") else _whole("limit", query["limit"], 1, largest)


def text_of(query: Query, name: str) -> str:
    """A text that the database can compare with, without spaces around it."""
    text = "" if _missing(query, name) else query[name]
    if not isinstance(text, str) or len(text) > LONGEST_TEXT or "\0" in text or _half_a_character(text):
        raise Problem(400, f"{name} must be a text of at most {LONGEST_TEXT} characters.")
    return text.strip()


def user_id_of(text: str) -> int:
    """A user's id."""
    return _whole("The user's id", text, -LARGEST_ID - 1, LARGEST_ID)


def game_id_of(value: str | int) -> int:
    """A game's id."""
    return _whole("The game's id", value, -LARGEST_GAME_ID - 1, LARGEST_GAME_ID)


def history_of(query: Query) -> tuple[list[int], list[bool], list[float | None]]:
    """The games of a posted history, the newest last, whether each is recommended, and the hours of each."""
    history = query.get("history")
    if not isinstance(history, list) or len(history) > LONGEST_HISTORY:
        raise Problem(400, f"history must be a list of at most {LONGEST_HISTORY} games.")
    games = [game if isinstance(game, dict) else {"game_id": game} for game in history]
    for game in games:
        only(game, ("game_id", "recommended", "hours"))
        if not isinstance(game.get("recommended", True), bool):
            raise Problem(400, "recommended must be true or false.")
    return (
        [game_id_of(game.get("game_id", "")) for game in games],
        [game.get("recommended", True) for game in games],
        [_number(game, "hours", MAX_HOURS) for game in games],
    )


def _year(query: Query, name: str) -> int | None:
    return None if _missing(query, name) else _whole(name, query[name], 0, LARGEST_YEAR)


def _number(query: Query, name: str, largest: float) -> float | None:
    if _missing(query, name):
        return None
    value = query[name]
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not 0 <= number <= largest:
        raise Problem(400, f"{name} must be a number from 0 to {largest:.0f}.")
    return number


def _whole(name: str, value: Any, low: int, high: int) -> int:
    if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.removeprefix("-").isdecimal():
        value = int(value)
    if isinstance(value, float) and value.is_integer():  # which JSON cannot tell from a whole number
        value = int(value)
    if type(value) is not int or not low <= value <= high:
        raise Problem(400, f"{name} must be a whole number from {low} to {high}.")
    return value


def _choice(query: Query, name: str, choices: tuple[str, ...]) -> str | None:
    if _missing(query, name):
        return None
    if query[name] not in choices:
        raise Problem(400, f"{name} must be one of {', '.join(choices)}.")
    return str(query[name])


def _missing(query: Query, name: str) -> bool:
    return query.get(name) in (None, "")


def _half_a_character(text: str) -> bool:
    """Whether it has half of a pair of surrogates, which JSON can say and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False
