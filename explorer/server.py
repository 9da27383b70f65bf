"""How the explorer is served: its connections, its logging, and its workers on one port.

All workers take connections from one socket, so none waits for a worker that is busy, starting or dead. A worker that
has more connections than another one leaves a new connection to it. Otherwise the worker that wakes first would take
nearly all of them. With a socket for each worker (SO_REUSEPORT) the kernel chooses by a hash, and one of two workers
often gets twice as many as the other. The supervisor is our own: uvicorn's replaces workers that take more than some
seconds to import, and leaves workers behind when it is killed.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import MutableSequence
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from explorer.headers import HEADERS, names_one_host
from steam_recsys.errors import UserError
from steam_recsys.logging import mask_output, mask_record

LOG = logging.getLogger("explorer")

HEAD_SECONDS = 10.0
"""Longest time for the head of a request to arrive, from the connection's start or the first byte after an answer."""

SEND_SECONDS = 30.0
"""Longest time for a client to take what it was sent; one that reads nothing would keep its connection forever."""

MOST_PIPELINED = 16
"""Most requests of a connection that wait for the answers before them; then the client is hung up on."""

LIVENESS = "/healthz"
"""The path that says that the process answers; the database and the model may be down."""

PAUSE_SECONDS = 1.0
"""Pause before an ended worker is replaced, so that one that cannot start is not started all the time."""

POLL_SECONDS = 0.2

YIELD_SECONDS = 0.002
"""How long a worker leaves a new connection to another one that has fewer."""

APPLICATION = "explorer.app:create_worker_app"

Counts = MutableSequence[int]
"""The number of connections of each worker."""

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line", "filters": [mask_record]}},
    "loggers": {
        "explorer": {"handlers": ["stderr"], "level": "INFO"},
        "uvicorn": {"handlers": ["stderr"], "level": "ERROR"},
    },
}
"""Neither requests nor their parameters are logged, because they are users' data, and no line per malformed request."""


class HttpProtocol(HttpToolsProtocol):
    """Hangs up on clients that send too slowly or too much, or that do not read; answers liveness itself.

    uvicorn waits five seconds for the first byte after an answer, and forever for everything else, and it reads and
    queues any number of requests. Once a head has arrived, `explorer.middleware` limits the request.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None
    _running: RequestResponseCycle | None = None
    """The request that is being answered."""

    _ending = False
    """Whether what arrives is ignored: the connection is closed once the requests before have been answered."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._stop_head_timer()
        self._stop_send_timer()
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True  # uvicorn marks the last request, and this one may be before it
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if self._ending or self.transport.is_closing():
            return
        super().data_received(data)
        if self._is_answered() and self._head_timer is None:  # part of a head, or the rest of a body
            self._start_head_timer()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().pause_writing()
        self._start_send_timer()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        super().resume_writing()
        self._stop_send_timer()

    def on_message_begin(self) -> None:
        """Handle the first byte of a request; the parser calls this, and stops at an exception."""
        if len(self.pipeline) >= MOST_PIPELINED:
            raise ValueError("too many requests at once")
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Handle a complete head; the parser calls this."""
        self._stop_head_timer()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser refused; the complete requests before it are answered first."""
        if self._is_answered() or self.cycle.more_body:
            super().send_400_response(msg)
            self._start_send_timer()
        else:
            self.cycle.keep_alive = False  # of the last request
            self._ending = True

    def on_response_complete(self) -> None:
        """Go on with the next request, unless the connection is closed."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._start_send_timer()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection without a further request."""
        self._hang_up()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        answer: Any = _answer_of(cycle, app)  # uvicorn's types and Starlette's differ
        super()._start_asgi_task(cycle, answer)

    def _is_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _hang_up(self) -> None:
        self.transport.close()
        self._start_send_timer()

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self._hang_up)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _start_send_timer(self) -> None:
        if self._send_timer is None:
            self._send_timer = self.loop.call_later(SEND_SECONDS, self.transport.abort)

    def _stop_send_timer(self) -> None:
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None


def _answer_of(cycle: RequestResponseCycle, app: ASGIApp) -> ASGIApp:
    """Wrap the application for one request: liveness never reaches it, and nothing is sent to a client that left.

    uvicorn notices that a client left a moment after the transport, which raises errors until then.
    """

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_if_open() -> Message:
            cycle.disconnected |= cycle.transport.is_closing()
            return await receive()

        async def send_if_open(message: Message) -> None:
            cycle.disconnected |= cycle.transport.is_closing()
            await send(message)

        if scope["path"] == LIVENESS and scope["method"] in ("GET", "HEAD") and names_one_host(scope):
            await _LIVE(scope, receive_if_open, send_if_open)
        else:
            await app(scope, receive_if_open, send_if_open)

    return answer


_LIVE = PlainTextResponse("ok\n", headers=HEADERS)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        UserError: The port is taken, or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise UserError(
            f"The explorer cannot listen on {host}, port {port} ({reason}): set EXPLORER_HOST or EXPLORER_PORT."
        ) from None


def configure(application: ASGIApp | str, trusted_proxies: str) -> uvicorn.Config:
    """Return uvicorn's configuration for an application, or for the function of this name that returns one."""
    return uvicorn.Config(
        application,
        factory=isinstance(application, str),
        http=HttpProtocol,
        access_log=False,
        log_config=LOGGING,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=trusted_proxies,
        timeout_graceful_shutdown=10,
    )


class WorkerServer(uvicorn.Server):
    """A worker's server, which shares its listening socket with the other workers.

    Args:
        config: The configuration.
        listener: The listening socket.
        counts: The number of connections of each worker, in memory that all of them share.
        number: This worker's place in `counts`.
    """

    def __init__(self, config: uvicorn.Config, listener: socket.socket, counts: Counts, number: int) -> None:
        super().__init__(config)
        self._listener = listener
        self._counts = counts
        self._number = number
        self.server_state.connections = _CountedSet(counts, number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then take connections; see `uvicorn.Server`."""
        await super().startup(sockets=[])
        self._listener.setblocking(False)
        self._accepting = asyncio.create_task(self._accept())
        self._accepting.add_done_callback(self._stop)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, then finish the requests; see `uvicorn.Server`."""
        self._accepting.cancel()
        await asyncio.wait([self._accepting])
        self._listener.close()
        await super().shutdown()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await _readable(self._listener)
            if self._counts[self._number] > min(self._counts):
                await asyncio.sleep(YIELD_SECONDS)  # another worker takes it, unless that one is stuck or dead
            try:
                connection, _ = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):  # another worker has taken it, or the client left
                continue
            except OSError as error:
                LOG.error("No connection can be taken: %s.", error.strerror)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            connection.setblocking(False)
            try:
                await loop.connect_accepted_socket(self._protocol, connection)
            except OSError:  # the client has left
                connection.close()

    def _stop(self, accepting: asyncio.Task[None]) -> None:
        """Stop a worker that takes no connections any more, so that it is replaced."""
        self.should_exit = True

    def _protocol(self) -> HttpProtocol:
        return HttpProtocol(self.config, self.server_state, self.lifespan.state)


class _CountedSet(set[Any]):
    """A worker's open connections; their number is in `counts`."""

    def __init__(self, counts: Counts, number: int) -> None:
        super().__init__()
        self._counts = counts
        self._number = number
        counts[number] = 0  # also after a worker that died with connections

    def add(self, connection: object) -> None:
        """Add a connection."""
        super().add(connection)
        self._counts[self._number] = len(self)

    def discard(self, connection: object) -> None:
        """Remove a connection that has ended."""
        super().discard(connection)
        self._counts[self._number] = len(self)


async def _readable(listener: socket.socket) -> None:
    """Wait until a connection can be taken."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def notify() -> None:
        loop.remove_reader(listener)
        if not future.done():  # it is cancelled if a connection arrives while the worker stops
            future.set_result(None)

    loop.add_reader(listener, notify)
    try:
        await future
    finally:
        loop.remove_reader(listener)


def serve(listener: socket.socket, workers: int, trusted_proxies: str) -> None:
    """Run workers until SIGTERM or SIGINT, then let them finish their requests. A worker that ends is replaced.

    Args:
        listener: A socket from `listen`; it is closed at the end.
        workers: Number of workers.
        trusted_proxies: Comma-separated addresses of proxies whose X-Forwarded-For names the client.
    """
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    context = multiprocessing.get_context("spawn")
    counts = context.RawArray("i", workers)

    def start(number: int) -> BaseProcess:
        worker = context.Process(target=_work, args=(listener, counts, number, trusted_proxies), daemon=True)
        # Ctrl-C reaches workers and their children, too, and would interrupt their imports; the parent ends them.
        resource_tracker.ensure_running()  # would otherwise start with the first worker, and unblock the signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            worker.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        return worker

    running = [start(number) for number in range(workers)]
    while not stopping:
        wait([worker.sentinel for worker in running], timeout=POLL_SECONDS)
        for number, worker in enumerate(running):
            if not stopping and not worker.is_alive():
                LOG.error("A worker ended with %s: another one is started.", worker.exitcode)
                time.sleep(PAUSE_SECONDS)
                running[number] = start(number)
    listener.close()  # the last of its copies closes with the last worker: from then on connections are refused
    for worker in running:
        worker.terminate()
    for worker in running:
        worker.join()


def _work(listener: socket.socket, counts: Counts, number: int, trusted_proxies: str) -> None:
    mask_output()
    server = WorkerServer(configure(APPLICATION, trusted_proxies), listener, counts, number)
    threading.Thread(target=_stop_without_parent, args=(server,), daemon=True).start()
    server.run()


def _stop_without_parent(server: uvicorn.Server) -> None:
    """Stop a worker whose parent was killed: it would keep the port, and nothing would stop or replace it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    server.should_exit = True
