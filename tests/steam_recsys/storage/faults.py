"""A proxy in front of an HTTP server that causes the faults of networks and servers, in a given order."""

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
    """A fault that one request meets."""


@dataclass(frozen=True)
class Answer(Fault):
    """The proxy answers instead of the server."""

    status: int
    body: bytes = b'{"error": {"message": "no"}}'


@dataclass(frozen=True)
class Drop(Fault):
    """The connection closes without a response: before the server gets the request, or after it handled it (`done`)."""

    done: bool = False


@dataclass(frozen=True)
class CutRequest(Fault):
    """The server receives this many bytes of the body, then both connections close."""

    sent: int


@dataclass(frozen=True)
class CutAnswer(Fault):
    """The client receives this many bytes of the body, then the connection closes."""

    sent: int


@dataclass(frozen=True)
class FlipBit(Fault):
    """The client receives a body whose first bit is another."""


@dataclass(frozen=True)
class Hold(Fault):
    """The request waits for an event, then succeeds."""

    until: threading.Event


@dataclass(frozen=True)
class Announce(Fault):
    """The request succeeds, and an event is set once it is answered."""

    done: threading.Event


@dataclass
class Faults:
    """The pending faults, and the requests so far: method, and path with query.

    A fault applies to the first request of its method whose path contains its text, or to all of them (`always`).
    """

    requests: list[tuple[str, str]] = field(default_factory=list)
    _pending: list[tuple[str, str, Fault, bool]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, method: str, text: str, *faults: Fault, always: bool = False) -> None:
        """Add faults, for one request each."""
        self._pending += [(method, text, fault, always) for fault in faults]

    def end(self) -> None:
        """Remove all faults."""
        self._pending.clear()

    @property
    def left(self) -> list[tuple[str, str]]:
        """Method and text of the faults that no request has met yet."""
        return [(method, text) for method, text, _, always in self._pending if not always]

    def next(self, method: str, path: str) -> Fault | None:
        """Return the fault of a request; None if it succeeds."""
        with self._lock:
            self.requests.append((method, path))
            for index, (expected, text, fault, always) in enumerate(self._pending):
                if expected == method and text in path:
                    if not always:
                        del self._pending[index]
                    return fault
        return None


@contextmanager
def faulty_proxy(upstream: str, faults: Faults) -> Iterator[str]:
    """Run the proxy on loopback and yield its URL."""
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
        """Ignore clients that closed the connection."""
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
            self._close()
        elif isinstance(fault, Drop) and not fault.done:
            self._close()
        else:
            if isinstance(fault, Hold):
                assert fault.until.wait(300)
            status, headers, content = self._forward(body)
            if isinstance(fault, Drop):
                self._close()
            elif isinstance(fault, FlipBit):
                self._answer(status, headers, bytes([content[0] ^ 128]) + content[1:])
            elif isinstance(fault, CutAnswer):
                self._answer(status, headers, content, sent=fault.sent)
                self._close()
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
        connection.request(self.command, self.path, body, self._forwarded_headers())
        response = connection.getresponse()
        content = response.read()
        connection.close()
        own = self.headers["Host"]  # URLs that the client requests next: upload sessions, object contents
        headers = [(name, value.replace(self.upstream, own)) for name, value in response.getheaders()]
        if response.headers.get_content_type() == "application/json":
            content = content.replace(self.upstream.encode(), own.encode())
        return response.status, headers, content

    def _forward_part(self, part: bytes, whole: int) -> None:
        connection = http.client.HTTPConnection(self.upstream)
        connection.putrequest(self.command, self.path)
        for name, value in self._forwarded_headers().items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(whole))
        connection.endheaders()
        connection.send(part)
        connection.close()

    def _forwarded_headers(self) -> dict[str, str]:
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

    def _close(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Do not log requests."""
