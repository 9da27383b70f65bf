"""How the explorer is served: its connections, its logging, and its workers on one port.

uvicorn's supervisor starts, checks and replaces the workers. Each opens its own socket on the port, so that the kernel
spreads connections over them: of workers that share one socket, a few would take nearly all connections.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import threading
from functools import partial
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors import Multiprocess

from steam_recsys.errors import UserError

HEAD_SECONDS = 10.0
"""Longest time for the head of a request to arrive, from the connection's start or the first byte after an answer."""

WORKER_SECONDS = 60
"""Time after which a silent worker is replaced; it includes the imports, which are slow on a busy machine."""

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


class WorkerSocket:
    """Stands for a listening socket that each worker opens when it receives this."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(listen, reuse_port=True), self._address


def listen(host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """Return a listening socket; port 0 takes a free one.

    Raises:
        UserError: The port is taken, or may not be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048, reuse_port=reuse_port)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise UserError(
            f"The explorer cannot listen on {host}, port {port} ({reason}): set EXPLORER_HOST or EXPLORER_PORT."
        ) from None


def reserve(host: str, port: int) -> socket.socket:
    """Return a bound socket that does not listen: it keeps the port for the workers.

    Raises:
        UserError: The port is taken, or may not be used.
    """
    with listen(host, port) as probe:  # fails if another program listens, even one that shares its port
        address = probe.getsockname()[:2]
    reserved = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(address)
    return reserved


def configure(application: FastAPI | str, trusted_proxies: str, workers: int = 1) -> uvicorn.Config:
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
        timeout_worker_healthcheck=WORKER_SECONDS,
        workers=workers,
    )


def serve(reserved: socket.socket, workers: int, trusted_proxies: str) -> None:
    """Run workers on a reserved port until SIGTERM or SIGINT, and let them finish their requests.

    Args:
        reserved: A socket from `reserve`.
        workers: Number of workers.
        trusted_proxies: Comma-separated addresses of proxies whose X-Forwarded-For names the client.
    """
    # Ctrl-C reaches workers too, which would be interrupted in their imports: they inherit this mask, and get SIGTERM.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    config = configure("explorer.app:create_worker_app", trusted_proxies, workers)
    address = reserved.getsockname()[:2]
    supervisor = Multiprocess(config, sockets=[WorkerSocket(address)])  # type: ignore[list-item]
    threading.Thread(target=_stop_on_interrupt, args=(supervisor,), daemon=True).start()
    supervisor.run()


def _stop_on_interrupt(supervisor: Multiprocess) -> None:
    signal.sigwait({signal.SIGINT})
    supervisor.should_exit.set()


def stop_without_parent() -> None:
    """Stop this worker when its parent has ended: it would keep the port, and nothing would stop or replace it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
