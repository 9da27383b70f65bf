"""The API's parameters in the words of OpenAPI. The handlers check them by themselves: see `explorer.parameters`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, get_args

from explorer.parameters import (
    LARGEST_GAME_ID,
    LARGEST_GB,
    LARGEST_ID,
    LARGEST_YEAR,
    LONGEST_HISTORY,
    LONGEST_TEXT,
    MOST_HOURS,
)
from explorer.views import RankBy, System

Schema = dict[str, Any]


@dataclass(frozen=True)
class Error:
    """Why a request is not answered, in one sentence."""

    error: str


BODIES = {408: "The body has not arrived in time", 413: "The body is too large"}
"""Why a body is not read to its end."""


def operation(answer: type, *parameters: Schema, body: Schema | None = None) -> dict[str, Any]:
    """The arguments of a route that answers with a dataclass."""
    described: dict[str, Any] = {"parameters": list(parameters)}
    if body:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    failures = {
        400: "A parameter is not as it must be",
        404: "It is not there",
        **(BODIES if body else {}),
        429: "Too many requests",
        503: "The database or the model cannot answer now",
    }
    responses: dict[int, Schema] = {
        status: {"model": Error, "description": sentence} for status, sentence in failures.items()
    }
    known: dict[int, Schema] = {} if body else {304: {"description": "As before"}}
    return {"responses": {200: {"model": answer}, **known, **responses}, "openapi_extra": described}


def rollback() -> dict[str, Any]:
    """The arguments of the route that rolls back."""
    body = {"type": "object", "properties": {"version": {"type": ["string", "null"]}}}
    described = {"requestBody": {"required": False, "content": {"application/json": {"schema": body}}}}
    failures = {
        400: "The body is not as it must be",
        403: "Not the operator's token, or from another site",
        404: "Nobody can roll back here",
        **BODIES,
        409: "There is no such publication, or it cannot be switched to",
        429: "Too many tokens were tried",
    }
    return {
        "responses": {status: {"model": Error, "description": sentence} for status, sentence in failures.items()},
        "openapi_extra": described,
    }


def limited(described: Schema, largest: int) -> Schema:
    """The description of an API where one request may ask for so many rows; it is changed."""
    for methods in described["paths"].values():
        for operation in methods.values():
            for parameter in operation.get("parameters", []):
                if parameter["name"] == "limit":
                    parameter["schema"]["maximum"] = largest
            for content in operation.get("requestBody", {}).get("content", {}).values():
                if "limit" in content["schema"]["properties"]:
                    content["schema"]["properties"]["limit"]["maximum"] = largest
    return described


def _whole(low: int, high: int, **further: Any) -> Schema:
    return {"type": "integer", "minimum": low, "maximum": high, **further}


def _query(name: str, schema: Schema, sentence: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": sentence}


def _path(name: str, schema: Schema, sentence: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": sentence}


USER_ID = _path("user_id", _whole(-LARGEST_ID - 1, LARGEST_ID, format="int64"), "The user's id.")
GAME_ID = _path("game_id", _whole(-LARGEST_GAME_ID - 1, LARGEST_GAME_ID, format="int32"), "The game's id.")
# The most that may be asked for is the installation's: see `limited`.
LIMIT = _query("limit", _whole(1, 100, default=10), "How many at most.")
TEXT: Schema = {"type": "string", "maxLength": LONGEST_TEXT, "pattern": r"^[^\x00]*$"}
QUESTION = _query("q", TEXT, "What to look for.")

FILTERS = (
    _query("rank_by", {"type": "string", "enum": list(get_args(RankBy)), "default": "relevance"}, "The order."),
    _query("genre", TEXT, "Only games of it; case does not matter."),
    _query("released_from", _whole(0, LARGEST_YEAR), "Not known to be older than this year."),
    _query("released_to", _whole(0, LARGEST_YEAR), "Not known to be newer than this year."),
    _query("max_ram_gb", {"type": "number", "minimum": 0, "maximum": LARGEST_GB}, "Not known to need more memory."),
    _query("max_storage_gb", {"type": "number", "minimum": 0, "maximum": LARGEST_GB}, "Nor more storage."),
    _query("os", {"type": "string", "enum": list(get_args(System))}, "Not known to run on other systems only."),
    LIMIT,
)

_GAME = {
    "oneOf": [
        _whole(-LARGEST_GAME_ID - 1, LARGEST_GAME_ID),
        {
            "type": "object",
            "properties": {
                "game_id": _whole(-LARGEST_GAME_ID - 1, LARGEST_GAME_ID),
                "recommended": {"type": "boolean", "default": True},
                "hours": {"type": ["number", "null"], "minimum": 0, "maximum": MOST_HOURS},
            },
            "required": ["game_id"],
            "additionalProperties": False,
        },
    ]
}

HISTORY: Schema = {
    "type": "object",
    "properties": {
        "history": {
            "type": "array",
            "maxItems": LONGEST_HISTORY,
            "items": _GAME,
            "description": "The user's games, the newest last: ids, or objects with a verdict and hours. Unknown ids "
            "are passed over; to an empty history the answer is what is popular now.",
        },
        **{parameter["name"]: parameter["schema"] for parameter in FILTERS},
    },
    "required": ["history"],
    "additionalProperties": False,
}
