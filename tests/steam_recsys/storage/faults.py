"""A proxy in front of an HTTP server that fails as networks and servers do, on request and in a known order."""

from __future__ import annotations

import http.client
import http.server
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

HOP = {"connection", "content-length", "keep-alive", "transfer-encoding"}


class Fault:
    """What happens to one request instead of what should."""


@dataclass(frozen=True)
class Answer(Fault):
    """The proxy answers in the server's place."""

    status: int
    body: bytes = b'{"error": {"message": "no"}}'


@dataclass(frozen=True)
class Drop(Fault):
    """The connection is closed without an answer: before the server hears of the request, or once it has done it."""

    done: bool = False


@dataclass(frozen=True)
class CutRequest(Fault):
    """The server gets this many bytes of the body, then both connections are closed."""

    sent: int


@dataclass(frozen=True)
class CutAnswer(Fault):
    """The client gets this many bytes of the body, then the connection is closed."""

    sent: int


@dataclass(frozen=True)
class Hold(Fault):
    """The request waits for an event, and then goes its way."""

    until: threading.Event


@dataclass(frozen=True)
class Announce(Fault):
    """The request goes its way, and an event is set once it is answered."""

    done: threading.Event


@dataclass
class Faults:
    """The faults to come, and the requests that came: a method and the path with its query.

    A fault is for the first request of its method whose path contains its text; `always` for each of them.
    """

    requests: list[tuple[str, str]] = field(default_factory=list)
    _waiting: list[tuple[str, str, Fault, bool]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, method: str, text: str, *faults: Fault, always: bool = False) -> None:
        """Let requests fail, one after the other."""
        self._waiting += [(method, text, fault, always) for fault in faults]

    def end(self) -> None:
        """Let nothing fail any more."""
        self._waiting.clear()

    @property
    def left(self) -> list[tuple[str, str]]:
        """The requests that were to fail and have not come yet."""
        return [(method, text) for method, text, _, always in self._waiting if not always]

    def next(self, method: str, path: str) -> Fault | None:
        """What happens to a request; None for what should."""
        with self._lock:
            self.requests.append((method, path))
            for place, (of, text, fault, always) in enumerate(self._waiting):
                if of == method and text in path:
                    if not always:
                        del self._waiting[place]
                    return fault
        return None


@contextmanager
def faulty_proxy(upstream: str, faults: Faults) -> Iterator[str]:
    """Run the proxy on loopback; its URL."""
    handler = type("Handler", (_Handler,), {"faults": faults, "upstream": urlsplit(upstream).netloc})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *arguments: object) -> None:
        """Say nothing of a client that hung up."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(*arguments)  # type: ignore[arg-type]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    faults: Faults
    upstream: str

    def _handle(self) -> None:
        body = self._body()
        fault = self.faults.next(self.command, self.path)
        if isinstance(fault, Answer):
            self._answer(fault.status, [("Content-Type", "application/json")], fault.body)
        elif isinstance(fault, CutRequest):
            self._forward_part(body[: fault.sent], len(body))
            self._hang_up()
        elif isinstance(fault, Drop) and not fault.done:
            self._hang_up()
        else:
            if isinstance(fault, Hold):
                assert fault.until.wait(30)
            status, headers, content = self._forward(body)
            if isinstance(fault, Drop):
                self._hang_up()
            elif isinstance(fault, CutAnswer):
                self._answer(status, headers, content, sent=fault.sent)
                self._hang_up()
            else:
                self._answer(status, headers, content)
            if isinstance(fault, Announce):
                fault.done.set()

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _handle

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection(self.upstream)
        connection.request(self.command, self.path, body, self._passed_on())
        response = connection.getresponse()
        content = response.read()
        connection.close()
        own = self.headers["Host"]  # where the client is to go on: the next part of an upload, an object's content
        headers = [(name, value.replace(self.upstream, own)) for name, value in response.getheaders()]
        if response.headers.get_content_type() == "application/json":
            content = content.replace(self.upstream.encode(), own.encode())
        return response.status, headers, content

    def _forward_part(self, part: bytes, whole: int) -> None:
        connection = http.client.HTTPConnection(self.upstream)
        connection.putrequest(self.command, self.path)
        for name, value in self._passed_on().items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(whole))
        connection.endheaders()
        connection.send(part)
        connection.close()

    def _passed_on(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if name.lower() not in HOP | {"host"}}

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, sent: int | None = None) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:sent])

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
