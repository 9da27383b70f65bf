"""The API's parameters in the words of OpenAPI. The handlers check them by themselves: see `explorer.parameters`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, get_args

from explorer import examples
from explorer.parameters import (
    LARGEST_GAME_ID,
    LARGEST_GB,
    LARGEST_ID,
    LARGEST_YEAR,
    LONGEST_HISTORY,
    LONGEST_TEXT,
    MAX_HOURS,
)
from explorer.views import RankBy, System

Schema = dict[str, Any]
_EXAMPLES = asdict(examples.FILTERS)


@dataclass(frozen=True)
class Error:
    """Why a request is not answered, in one sentence."""

    error: str


BODIES = {408: "The body has not arrived in time", 413: "The body is too large"}
"""Why a body is not read to its end."""


def operation(
    answer: type, *parameters: Schema, body: Schema | None = None, asked: Any = None, answered: Any = None
) -> dict[str, Any]:
    """The arguments of a route that answers with a dataclass; `asked` and `answered` are examples of both bodies."""
    described: dict[str, Any] = {"parameters": list(parameters)}
    if body:
        content = {"schema": body, "example": asked}
        described["requestBody"] = {"required": True, "content": {"application/json": content}}
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
    success: dict[str, Any] = {"model": answer, "description": "What was asked for"}
    if answered:
        success["content"] = {"application/json": {"example": answered}}
    known: dict[int, Schema] = {} if body else {304: {"description": "As before"}}
    return {"responses": {200: success, **known, **responses}, "openapi_extra": described}


VERSION: Schema = {
    "type": ["string", "null"],
    "description": "A publication that is kept; the one before the current where it is left out.",
}


def rollback() -> dict[str, Any]:
    """The arguments of the route that rolls back."""
    body = {"type": "object", "properties": {"version": VERSION}}
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
    example = {"example": _EXAMPLES[name]} if name in _EXAMPLES else {}
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": sentence, **example}


def _path(name: str, schema: Schema, sentence: str, example: int) -> Schema:
    return {
        "name": name, "in": "path", "required": True, "schema": schema, "description": sentence, "example": example,
    }  # fmt: skip


_GAME_ID: Schema = _whole(-LARGEST_GAME_ID - 1, LARGEST_GAME_ID, format="int32")
USER_ID = _path("user_id", _whole(-LARGEST_ID - 1, LARGEST_ID, format="int64"), "The user's id.", examples.USER_ID)
GAME_ID = _path("game_id", _GAME_ID, "The game's id.", examples.GAME_ID)
# The most that may be asked for is the installation's: see `limited`.
LIMIT = _query("limit", _whole(1, 100, default=10), "How many at most.")
_GB: Schema = {"type": "number", "minimum": 0, "maximum": LARGEST_GB}
TEXT: Schema = {"type": "string", "maxLength": LONGEST_TEXT, "pattern": r"^[^\x00]*$"}
QUESTION = _query("q", TEXT, "What to look for.")

FILTERS = (
    _query("rank_by", {"type": "string", "enum": list(get_args(RankBy)), "default": "relevance"}, "The order."),
    _query("genre", TEXT, "Only games of it; case does not matter."),
    _query("released_from", _whole(0, LARGEST_YEAR), "Not known to be older than this year."),
    _query("released_to", _whole(0, LARGEST_YEAR), "Not known to be newer than this year."),
    _query("max_ram_gb", {"type": "number", "minimum": 0, "maximum": LARGEST_GB}, "Not known to need more memory."),
    _query(
        "max_storage_gb", {"type": "number", "minimum": 0, "maximum": LARGEST_GB}, "Not known to need more storage."
    ),
    _query("os", {"type": "string", "enum": list(get_args(System))}, "Not known to run on other systems only."),
    LIMIT,
)

_GAME: Schema = {
    "oneOf": [
        _GAME_ID,
        {
            "type": "object",
            "properties": {
                "game_id": {**_GAME_ID, "description": "The game's id."},
                "recommended": {
                    "type": "boolean",
                    "default": True,
                    "description": "Whether the user recommends the game.",
                },
                "hours": {
                    "type": ["number", "null"],
                    "minimum": 0,
                    "maximum": MAX_HOURS,
                    "description": "How long the user has played it, null where that is not known.",
                },
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
        **{each["name"]: {**each["schema"], "description": each["description"]} for each in FILTERS},
    },
    "required": ["history"],
    "additionalProperties": False,
}
