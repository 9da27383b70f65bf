"""The API's own page, made from its OpenAPI description on the server: nothing is loaded from elsewhere."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response

from explorer.rendering import render

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Parameter:
    """A parameter: its name, what it may be, in words, and what it means."""

    name: str
    values: str
    meaning: str


@dataclass(frozen=True)
class Example:
    """A request as a line for a shell, and the JSON that comes back."""

    request: str
    answer: str


@dataclass(frozen=True)
class Operation:
    """What the API does at an address: its parameters, the statuses that it answers with in words, and an example."""

    method: str
    path: str
    summary: str
    description: str
    parameters: list[Parameter]
    body: list[Parameter]
    responses: dict[str, str]
    example: Example | None


@router.get("/api")
async def reference(request: Request) -> Response:
    """All operations."""
    described = request.app.openapi()
    about = described["info"]["description"]
    found = list(operations(described, str(request.base_url).rstrip("/")))
    return render(request, "api.html", description=about, operations=found)


def operations(described: dict[str, Any], site: str) -> Iterator[Operation]:
    """The operations of an OpenAPI description, in its order; examples ask a site, `https://…` without a path."""
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            parameters = operation.get("parameters", [])
            body = _json(operation.get("requestBody", {}))
            yield Operation(
                method.upper(),
                path,
                operation["summary"],
                operation["description"],
                [_parameter(each["name"], each["schema"], each["description"]) for each in parameters],
                list(_properties(body.get("schema", {}))),
                {status: response["description"] for status, response in operation["responses"].items()},
                _example(method, f"{site}{path}", operation),
            )


def _json(described: dict[str, Any]) -> dict[str, Any]:
    """What is said of the JSON of a body or an answer."""
    content: dict[str, Any] = described.get("content", {}).get("application/json", {})
    return content


def _properties(schema: dict[str, Any], within: str = "") -> Iterator[Parameter]:
    """The fields of an object, after each list those of its objects."""
    for name, field in schema.get("properties", {}).items():
        yield _parameter(f"{within}{name}", field, field["description"])
        for item in field.get("items", {}).get("oneOf", []):
            yield from _properties(item, f"{within}{name}[].")


def _example(method: str, address: str, operation: dict[str, Any]) -> Example | None:
    """A request with the examples of its parameters and its body; None where no answer is given as one."""
    answer = _json(operation["responses"].get("200", {})).get("example")
    if answer is None:
        return None
    query = []
    for each in operation.get("parameters", []):
        if "example" in each and each["in"] == "path":
            address = address.replace(f"{{{each['name']}}}", str(each["example"]))
        elif "example" in each:
            query.append((each["name"], each["example"]))
    words = ["curl", f"{address}?{urlencode(query)}" if query else address]
    if method == "post":
        words += ["--json", json.dumps(_json(operation["requestBody"])["example"])]
    return Example(shlex.join(words), json.dumps(answer, indent=2))


def _parameter(name: str, schema: dict[str, Any], meaning: str) -> Parameter:
    kind = schema.get("type", "")
    values = kind if isinstance(kind, str) else " or ".join(kind)
    if "enum" in schema:
        values = f"one of {', '.join(schema['enum'])}"
    if "format" in schema:  # in JSON, its bounds may be beyond what a float can tell
        values += f" of {schema['format'].removeprefix('int')} bits"
    elif "minimum" in schema:
        values += f" from {schema['minimum']:.0f} to {schema['maximum']:.0f}"
    if "maxItems" in schema:
        values += f" of at most {schema['maxItems']}"
    if "default" in schema:
        default = schema["default"]
        values += f"; {default if isinstance(default, str) else json.dumps(default)} where left out"
    return Parameter(name, values, meaning)
