"""The API's own page, made from its OpenAPI description on the server: nothing is loaded from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
class Operation:
    """What the API does at an address: its parameters, and the statuses that it answers with, in words."""

    method: str
    path: str
    summary: str
    description: str
    parameters: list[Parameter]
    body: list[Parameter]
    responses: dict[str, str]


@router.get("/api")
async def reference(request: Request) -> Response:
    """All operations."""
    described = request.app.openapi()
    about = described["info"]["description"]
    return render(request, "api.html", description=about, operations=list(operations(described)))


def operations(described: dict[str, Any]) -> Iterator[Operation]:
    """The operations of an OpenAPI description, in its order."""
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            yield Operation(
                method.upper(),
                path,
                operation["summary"],
                operation["description"],
                [
                    _parameter(each["name"], each["schema"], each["description"])
                    for each in operation.get("parameters", [])
                ],
                [
                    _parameter(name, schema, schema.get("description", "As in a query string."))
                    for name, schema in body.get("properties", {}).items()
                ],
                {status: response["description"] for status, response in operation["responses"].items()},
            )


def _parameter(name: str, schema: dict[str, Any], meaning: str) -> Parameter:
    kind = schema.get("type", "")
    values = kind if isinstance(kind, str) else " or ".join(kind)
    if "enum" in schema:
        values = f"one of {', '.join(schema['enum'])}"
    if "minimum" in schema:
        values += f" from {schema['minimum']:.0f} to {schema['maximum']:.0f}"
    if "default" in schema:
        values += f"; {schema['default']} where left out"
    return Parameter(name, values, meaning)
