"""The API's own page, made from its OpenAPI description on the server: it loads nothing from other sites."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import Response

from explorer.templating import render

Schema = dict[str, Any]

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Parameter:
    """A parameter or field: its name, the values that it takes as text, and its description."""

    name: str
    values: str
    description: str


@dataclass(frozen=True)
class Example:
    """A request as a shell command, and the JSON that it returns."""

    request: str
    answer: str


@dataclass(frozen=True)
class Operation:
    """An operation of the API: its parameters, the descriptions of its statuses, and an example."""

    method: str
    path: str
    summary: str
    description: str
    parameters: list[Parameter]
    body: list[Parameter]
    responses: dict[str, str]
    example: Example | None


@router.get("/api")
async def api_docs(request: Request) -> Response:
    """Show all operations."""
    openapi = request.app.openapi()
    found = list(operations(openapi, str(request.base_url).rstrip("/")))
    return render(request, "api.html", description=openapi["info"]["description"], operations=found)


def operations(openapi: Schema, site: str) -> Iterator[Operation]:
    """Yield the operations of an OpenAPI description in its order, with examples for a site such as `https://…`."""
    schemas = openapi["components"]["schemas"]
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            parameters = operation.get("parameters", [])
            body = _resolve(_json(operation.get("requestBody", {})).get("schema", {}), schemas)
            yield Operation(
                method.upper(),
                path,
                operation["summary"],
                operation["description"],
                [_parameter(each["name"], each["schema"]) for each in parameters],
                list(_fields(body, schemas)),
                {status: response["description"] for status, response in operation["responses"].items()},
                _example(method, f"{site}{path}", operation, body),
            )


def _json(content: Schema) -> Schema:
    """Return what describes the JSON of a body or an answer."""
    described: Schema = content.get("content", {}).get("application/json", {})
    return described


def _resolve(schema: Schema, schemas: dict[str, Schema]) -> Schema:
    """Return the schema of an object that a schema refers to, or may refer to."""
    for choice in (schema, *schema.get("anyOf", [])):
        if "$ref" in choice:
            return schemas[choice["$ref"].rpartition("/")[2]]
    return schema


def _fields(schema: Schema, schemas: dict[str, Schema], prefix: str = "") -> Iterator[Parameter]:
    """Yield the fields of an object; the fields of a list's objects follow the list."""
    for name, field in schema.get("properties", {}).items():
        yield _parameter(f"{prefix}{name}", field)
        for item in field.get("items", {}).get("oneOf", []):
            yield from _fields(_resolve(item, schemas), schemas, f"{prefix}{name}[].")


def _example(method: str, address: str, operation: Schema, body: Schema) -> Example | None:
    """Return a request with the examples of its parameters and body; None if the answer has no example."""
    answer = _json(operation["responses"].get("200", {})).get("example")
    if answer is None:
        return None
    query = []
    for parameter in operation.get("parameters", []):
        (value,) = parameter["schema"].get("examples", [None])
        if parameter["in"] == "path":
            address = address.replace(f"{{{parameter['name']}}}", str(value))
        elif value is not None:
            query.append((parameter["name"], value))
    words = ["curl", f"{address}?{urlencode(query)}" if query else address]
    if method == "post":
        words += ["--json", json.dumps(body["examples"][0])]
    return Example(shlex.join(words), json.dumps(answer, indent=2))


def _parameter(name: str, schema: Schema) -> Parameter:
    choices = schema.get("anyOf", [schema])
    merged = {key: value for choice in reversed(choices) for key, value in choice.items()}
    values = " or ".join(choice["type"] for choice in choices)
    if "enum" in merged:
        values = f"one of {', '.join(merged['enum'])}"
    if "format" in merged:  # its bounds may be beyond the precision of JSON's numbers
        values += f" of {merged['format'].removeprefix('int')} bits"
    elif "minimum" in merged:
        values += f" from {merged['minimum']:.0f} to {merged['maximum']:.0f}"
    if "maxItems" in merged:
        values += f" of at most {merged['maxItems']}"
    default = schema.get("default", "")
    if default not in ("", None):
        values += f"; default {default if isinstance(default, str) else json.dumps(default)}"
    return Parameter(name, values, schema["description"])
