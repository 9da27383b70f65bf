"""An HTTP server on loopback that answers like a platform's API and records its requests."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


@dataclass
class Request:
    """One request: method, path, first values of the query, token, and body, parsed if it is JSON."""

    method: str
    path: str
    query: dict[str, str]
    authorization: str | None
    body: Any


Answer = tuple[int, Any]
"""Status and body."""


def google_error(request: Request, status: int) -> Any:
    """Return the body of an error of Google's APIs."""
    return {"error": {"message": "no such luck", "code": status}}


@dataclass
class Api:
    """The server's requests and answers: statuses in `failures` come first, then those of `answer`."""

    answer: Callable[[Request], Answer]
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    failures: dict[str, list[int]] = field(default_factory=dict)
    """Statuses by HTTP method."""
    error: Callable[[Request, int], Any] = google_error
    """The body that comes with a status of `failures`."""

    def requests_to(self, method: str, ending: str) -> list[Request]:
        """Return the requests with a method to paths with an ending."""
        return [each for each in self.requests if each.method == method and each.path.endswith(ending)]


@contextmanager
def serving(answer: Callable[[Request], Answer]) -> Iterator[Api]:
    """Run the server while the context is open."""
    api = Api(answer)

    class Handler(http.server.BaseHTTPRequestHandler):
        def respond(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            is_json = "json" in self.headers.get("Content-Type", "") and raw
            address = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(address.query).items()}
            body = json.loads(raw) if is_json else raw
            request = Request(self.command, unquote(address.path), query, self.headers.get("Authorization"), body)
            api.requests.append(request)
            failures = api.failures.get(self.command, [])
            if failures:
                status = failures.pop(0)
                body = api.error(request, status)
            else:
                status, body = api.answer(request)
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = do_PATCH = respond

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    api.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
