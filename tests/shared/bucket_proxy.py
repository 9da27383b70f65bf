"""A proxy before a server of Google Cloud Storage's protocol, whose requests fail as a test says."""

import http.client
import http.server
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

CUT = 0
"""Instead of a status: the connection ends with half of the request on its way."""


@dataclass(frozen=True)
class Request:
    """Its method, its path with the query, and how many of its method there were, this one included."""

    method: str
    path: str
    number: int


class BucketProxy:
    """On a loopback port, for as long as its context lasts."""

    def __init__(self, server: str) -> None:
        self.fail: Callable[[Request], int | None] = lambda request: None
        """The status to answer a request with in place of the server, `CUT`, or None to pass it on."""
        self.lose: Callable[[Request], bool] = lambda request: False
        """Whether a request is passed on, and the connection ends before the answer comes back."""
        self.asked: Counter[str] = Counter()
        """Requests by method."""
        self._lock = threading.Lock()
        proxy, upstream = self, urlsplit(server).netloc

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                with proxy._lock:
                    proxy.asked[self.command] += 1
                    request = Request(self.command, self.path, proxy.asked[self.command])
                status = proxy.fail(request)
                if status == CUT:
                    self.rfile.read(length // 2)
                    return self.hang_up()
                body = self.rfile.read(length)
                if status is not None:
                    return self.respond(status, [], b'{"error": {"message": "no"}}')
                connection = http.client.HTTPConnection(upstream)
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                connection.request(self.command, self.path, body, {**headers, "Host": upstream})
                answered = connection.getresponse()
                content = answered.read()
                connection.close()
                if proxy.lose(request):
                    return self.hang_up()
                self.respond(answered.status, answered.getheaders(), content)

            do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = answer

            def hang_up(self) -> None:
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

            def respond(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
                self.send_response(status)
                for name, value in headers:
                    if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                        self.send_header(name, value.replace(f"http://{upstream}", proxy.url))
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
