"""How the explorer is served: its connections, its logging, and its workers on one port.

Each worker has its own socket on the port, so that the kernel spreads connections over them: of workers that share one
socket, a few would take nearly all connections. The supervisor is our own: uvicorn's gives all workers the same socket,
replaces workers that take more than some seconds to import, and leaves workers behind when it is killed.
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

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from steam_recsys.errors import UserError

LOG = logging.getLogger("explorer")

HEAD_SECONDS = 10.0
"""Longest time for the head of a request to arrive, from the connection's start or the first byte after an answer."""

PAUSE_SECONDS = 1.0
"""Pause before an ended worker is replaced, so that one that cannot start is not started all the time."""

POLL_SECONDS = 0.2
APPLICATION = "explorer.app:create_worker_app"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {
        "explorer": {"handlers": ["stderr"], "level": "INFO"},
        "uvicorn": {"handlers": ["stderr"], "level": "WARNING"},
    },
}
"""Neither requests nor their parameters are logged, because they are users' data."""


class HttpProtocol(HttpToolsProtocol):
    """Closes a connection if the head of a request does not arrive in time.

    uvicorn waits five seconds for the first byte after an answer, and forever for everything else. Once a head has
    arrived, `explorer.middleware` limits the request.
    """

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        answered = self.cycle is None or self.cycle.response_complete
        if answered and self._timer is None:  # part of a head, or the rest of a body
            self._start_timer()

    def on_headers_complete(self) -> None:
        """Handle a complete head; the parser calls this."""
        self._stop_timer()
        super().on_headers_complete()

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def listen(host: str, port: int, workers: int) -> list[socket.socket]:
    """Return a listening socket for each worker, all on one port; port 0 takes a free one.

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

    Args:
        sockets: Sockets from `listen`.
        trusted_proxies: Comma-separated addresses of proxies whose X-Forwarded-For names the client.
    """
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    workers = [_start(listener, trusted_proxies) for listener in sockets]
    while not stopping:
        wait([worker.sentinel for worker in workers], timeout=POLL_SECONDS)
        for index, worker in enumerate(workers):
            if not stopping and not worker.is_alive():
                LOG.error("A worker ended with %s: another one is started.", worker.exitcode)
                time.sleep(PAUSE_SECONDS)
                workers[index] = _start(sockets[index], trusted_proxies)
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join()


def _start(listener: socket.socket, trusted_proxies: str) -> BaseProcess:
    worker = multiprocessing.get_context("spawn").Process(target=_work, args=(listener, trusted_proxies), daemon=True)
    # Ctrl-C reaches workers and their children too, and would interrupt their imports; the parent ends them instead.
    resource_tracker.ensure_running()  # would otherwise start with the first worker, and unblock the signal
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        worker.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return worker


def _work(listener: socket.socket, trusted_proxies: str) -> None:
    server = uvicorn.Server(configure(APPLICATION, trusted_proxies))
    threading.Thread(target=_stop_without_parent, args=(server,), daemon=True).start()
    server.run(sockets=[listener])


def _stop_without_parent(server: uvicorn.Server) -> None:
    """Stop a worker whose parent was killed: it would keep the port, and nothing would stop or replace it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    server.should_exit = True
