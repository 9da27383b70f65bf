"""Error responses: problem details (RFC 9457) for programs, a page for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException as StarletteError

from explorer.filters import page_address
from explorer.templating import render
from steam_recsys.database.failures import known_detail
from steam_recsys.secrets import mask

API_PATHS = ("/api/", "/healthz", "/readyz", "/metrics")
"""Beginnings of the paths whose errors are problem details."""

TITLES = {
    400: "Invalid request",
    403: "Not allowed",
    404: "Not found",
    409: "Not possible now",
    422: "Invalid request",
    429: "Too many requests",
    500: "Something went wrong",
    503: "Not available now",
}
RETRYABLE = (429, 500, 503)
"""Statuses of requests that may succeed when they are sent again."""

SEARCHES = {
    "/users/": ("Look for a user", "/users"),
    "/someone/": ("Look for a user", "/users"),
    "/games/": ("Look for a game", "/games"),
    "/rollback": ("To the overview", "/overview"),
}
"""Label and address of the page to go on from, by the beginning of a path."""

DETAILS = {400: "The body is not JSON.", 404: "This page does not exist.", 405: "Method not allowed."}
"""Details of errors that the framework raises."""

NOTHING_PUBLISHED = "Nothing has been published yet: run the inference pipeline first."
UNREACHABLE = "The database cannot be reached: try again in a moment."
OTHER_VERSION = "The published tables are of another version: run the pipelines."

DATABASE_ERRORS = {
    "08": UNREACHABLE,
    "28": UNREACHABLE,
    "3D000": UNREACHABLE,
    "3F000": NOTHING_PUBLISHED,
    "40": "The database cancelled the query: try again.",  # a deadlock, or a conflict on a replica
    "42501": "The role may not read this{known}: run explorer/reader.sql.",
    "42703": OTHER_VERSION,
    "42704": UNREACHABLE,  # a parameter in the URL's options
    "42883": OTHER_VERSION,
    "42P01": NOTHING_PUBLISHED,
    "53": "The database is out of room, memory or connections: try again in a moment.",
    "53300": UNREACHABLE,
    "55000": UNREACHABLE,  # a database that takes no connections
    "55P03": "The database's tables are locked: try again in a moment.",
    "57014": "The database took too long to answer: try again, or ask for fewer rows.",
    "57": UNREACHABLE,
    "58": UNREACHABLE,
    "F0": UNREACHABLE,
    "XX": UNREACHABLE,
}
"""Details of answers with status 503, by SQLSTATE or its class."""


CODES = {
    400: "bad_request",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    413: "body_too_large",
    422: "invalid_request",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
}
"""Codes of errors, by status, unless a `ProblemError` has its own."""

INVALID_JSON = "invalid_json"


class ProblemDetails(BaseModel):
    """An error (RFC 9457): `title` is the status as text, `detail` says what is wrong and what to do.

    `code` names the problem for programs, and stays the same when the texts change.
    """

    type: str = "about:blank"
    title: str
    status: int
    code: str
    detail: str


class ProblemError(HTTPException):
    """An error with a code of its own, such as `model_loading`."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(status, detail)
        self.code = code


DESCRIPTIONS = {
    400: "The body is not JSON",
    403: "Wrong token, or a request from another site",
    404: "Not found",
    408: "The body did not arrive in time",
    409: "Not possible now, such as going on from a cursor of another request, or switching to this publication",
    413: "The body is too large",
    422: "A parameter or field is invalid",
    429: "Too many requests",
    503: "The database or the model cannot answer now",
}
_CONTENT: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe errors for a route's `responses`; see `Application.openapi` for their schema."""
    return {status: {"description": DESCRIPTIONS[status], "content": _CONTENT} for status in statuses}


def add_error_handlers(app: FastAPI) -> None:
    """Answer the application's errors as `error_response` does."""
    app.add_exception_handler(StarletteError, _handle_http_error)
    app.add_exception_handler(RequestValidationError, _handle_validation_error)


def error_response(
    request: Request,
    status: int,
    detail: str,
    headers: Mapping[str, str] | None = None,
    parameter: str | None = None,
    code: str | None = None,
) -> Response:
    """Return problem details, or for a page's path an error page.

    Args:
        request: The request.
        status: HTTP status.
        detail: A sentence that says what is wrong; secrets in it are masked, as it is shown to the client.
        headers: Further headers.
        parameter: The invalid parameter of the query string, if any.
        code: The problem's code; None for that of the status.
    """
    detail = mask(detail)
    headers = {"cache-control": "no-store", **(headers or {})}
    if request.url.path.startswith(API_PATHS):
        problem = ProblemDetails(
            title=HTTPStatus(status).phrase,
            status=status,
            code=code or CODES.get(status, CODES[400 if status < 500 else 500]),
            detail=detail,
        )
        content = orjson.dumps(problem.model_dump())
        return Response(content, status, headers, media_type="application/problem+json")
    retry = status in RETRYABLE and request.method == "GET"
    links = [] if retry else list(_links(request, parameter))
    title = TITLES.get(status, TITLES[400])
    response = render(request, "error.html", status, title=title, detail=detail, retry=retry, links=links)
    response.headers.update(headers)
    return response


def describe_database_error(sqlstate: str, message: str) -> str | None:
    """Return the detail of the answer to an error of the database; None if it is an error of this program.

    Args:
        sqlstate: The error's SQLSTATE.
        message: The server's message, which is shown only if its form is known.
    """
    detail = DATABASE_ERRORS.get(sqlstate) or DATABASE_ERRORS.get(sqlstate[:2])
    known = known_detail(sqlstate, message)
    return None if detail is None else detail.format(known=f" ({known})" if known else "")


def _links(request: Request, parameter: str | None) -> Iterator[tuple[str, str]]:
    """Yield the same page without the invalid parameter, or the page to search on."""
    path, query = request.url.path, request.query_params
    if parameter in query:
        rest = {name: query.getlist(name) for name in query if name != parameter}
        yield f"The same page without {parameter}", page_address(path, rest)
        return
    yield from (link for beginning, link in SEARCHES.items() if path.startswith(beginning))


async def _handle_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StarletteError)
    status, detail, headers = error.status_code, error.detail, dict(error.headers or {})
    code = getattr(error, "code", None)
    if not detail.endswith("."):  # the framework's own
        detail = DETAILS.get(status, f"{detail}.")
        code = INVALID_JSON if status == 400 else None
    if headers.get("Allow") == "GET":
        headers["Allow"] = "GET, HEAD"  # see `Guard`
    return error_response(request, status, detail, headers, code=code)


async def _handle_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where, *names = first["loc"]
    if first["type"] == "json_invalid":
        return error_response(request, 400, f"The body is not JSON: {first['ctx']['error']}.", code=INVALID_JSON)
    if first["type"] == "extra_forbidden":  # whose name is the client's own text, and not repeated
        return error_response(request, 422, _unknown_name(request, where))
    name = ".".join(map(str, names)) or ("The body" if where == "body" else "")
    detail = f"{name}: {first['msg']}." if name else f"{first['msg']}."
    return error_response(request, 422, detail, parameter=str(names[0]) if where == "query" and names else None)


def _unknown_name(request: Request, where: str) -> str:
    if where != "query":
        return "The body has an unknown field; /api lists those that it may have."
    operation = request.app.openapi()["paths"][request.scope["route"].path][request.method.lower()]
    names = [each["name"] for each in operation.get("parameters", []) if each["in"] == "query"]
    return f"Unknown parameter: the parameters are {', '.join(names)}." if names else "This takes no parameters."
