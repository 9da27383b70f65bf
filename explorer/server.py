"""How the explorer is served: its connections, its logging, and its workers on one port.

Each worker has its own socket on the port, so that the kernel spreads connections over them: of workers that share one
socket, a few would take nearly all connections. No other process has that socket, so it closes with its worker, and the
kernel gives new connections to the other workers at once. The supervisor is our own: uvicorn's gives all workers the
same socket, replaces workers that take more than some seconds to import, and leaves workers behind when it is killed.
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
from collections.abc import Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
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
APPLICATION = "explorer.app:create_worker_app"

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


def listen(host: str, port: int, workers: int) -> list[socket.socket]:
    """Return a listening socket for each first worker, all on one port; port 0 takes a free one.

    Raises:
        UserError: The port is taken, or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as first:  # fails if another program has the port
            port = first.getsockname()[1]
        return [
            socket.create_server((host, port), family=family, backlog=2048, reuse_port=True) for _ in range(workers)
        ]
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise UserError(
            f"The explorer cannot listen on {host}, port {port} ({reason}): set EXPLORER_HOST or EXPLORER_PORT."
        ) from None


def configure(application: FastAPI | str, trusted_proxies: str) -> uvicorn.Config:
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


def serve(sockets: Sequence[socket.socket], trusted_proxies: str) -> None:
    """Run a worker for each socket until SIGTERM or SIGINT, then let the workers finish their requests.

    A worker that ends is replaced. Its successor listens once it can answer.

    Args:
        sockets: Sockets from `listen`; they are closed in this process.
        trusted_proxies: Comma-separated addresses of proxies whose X-Forwarded-For names the client.
    """
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    reserved = _bound(sockets[0])  # keeps the port while no worker listens
    workers = [_start(listener, trusted_proxies) for listener in sockets]
    while not stopping:
        wait([worker.sentinel for worker in workers], timeout=POLL_SECONDS)
        for index, worker in enumerate(workers):
            if not stopping and not worker.is_alive():
                LOG.error("A worker ended with %s: another one is started.", worker.exitcode)
                time.sleep(PAUSE_SECONDS)
                workers[index] = _start(_bound(reserved), trusted_proxies)
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join()
    reserved.close()


def _bound(other: socket.socket) -> socket.socket:
    """Return a socket on the same address as another one; it takes no connections until it listens.

    Without SO_REUSEADDR, with which another program could share an address without a listener.
    """
    bound = socket.socket(other.family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if other.family == socket.AF_INET6:
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # like `socket.create_server`
    bound.bind(other.getsockname())
    return bound


def _start(listener: socket.socket, trusted_proxies: str) -> BaseProcess:
    worker = multiprocessing.get_context("spawn").Process(target=_work, args=(listener, trusted_proxies), daemon=True)
    # Ctrl-C reaches workers and their children too, and would interrupt their imports; the parent ends them instead.
    resource_tracker.ensure_running()  # would otherwise start with the first worker, and unblock the signal
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        worker.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        listener.close()  # the worker has its own descriptor
    return worker


def _work(listener: socket.socket, trusted_proxies: str) -> None:
    mask_output()
    server = uvicorn.Server(configure(APPLICATION, trusted_proxies))
    threading.Thread(target=_stop_without_parent, args=(server,), daemon=True).start()
    server.run(sockets=[listener])


def _stop_without_parent(server: uvicorn.Server) -> None:
    """Stop a worker whose parent was killed: it would keep the port, and nothing would stop or replace it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    server.should_exit = True
