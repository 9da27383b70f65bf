"""The page that says what went wrong, and where to go on from there."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import Request
from fastapi.responses import Response

from explorer.addresses import address
from explorer.rendering import render

TITLES = {
    400: "That cannot be answered",
    403: "Not allowed",
    404: "Not found",
    409: "Not possible now",
    429: "Too fast",
    500: "Something went wrong",
    503: "Not available now",
}
AGAIN = (429, 500, 503)
"""Statuses of requests that may succeed when they are made again."""

WAYS_ON = {
    "/users/": ("Look for a user", "/users"),
    "/someone/": ("Look for a user", "/users"),
    "/games/": ("Look for a game", "/games"),
    "/rollback": ("To the overview", "/overview"),
}
"""Where to look for what was meant, in words and as an address, by the beginning of a page's path."""


def error_page(request: Request, status: int, sentence: str) -> Response:
    """A page that says what went wrong."""
    again = status in AGAIN and request.method == "GET"
    ways = [] if again else list(_ways_on(request, status, sentence))
    title = TITLES.get(status, TITLES[400])
    return render(request, "error.html", status, title=title, sentence=sentence, again=again, ways=ways)


def _ways_on(request: Request, status: int, sentence: str) -> Iterator[tuple[str, str]]:
    """The same page without the parameter that the sentence finds fault with, or where to look for another one."""
    path, query = request.url.path, request.query_params
    name = sentence.partition(" must be ")[0]
    if status == 400 and name in query:
        yield f"The same page without {name}", address(path, {each: query[each] for each in query if each != name})
        return
    yield from (way for beginning, way in WAYS_ON.items() if path.startswith(beginning))
