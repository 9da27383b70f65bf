"""The processes that answer, on one port: the kernel gives each its share of the connections.

With one socket for all of them, whichever wakes up first would take nearly all.
"""

from __future__ import annotations

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

from explorer.connections import Connection
from steam_recsys.errors import UserError

LOG = logging.getLogger("explorer")
APPLICATION = "explorer.app:from_environment"
LOOK_SECONDS = 0.2
PAUSE_SECONDS = 1.0
"""How long the place of a worker that ended stays empty: one that cannot start must not be started all the time."""

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
"""Neither requests nor their parameters are logged: they are other people's."""


def listen(host: str, port: int, workers: int) -> list[socket.socket]:
    """A socket for each worker, all on one port; port 0 takes a free one.

    Raises:
        UserError: somebody listens there already, or nobody may.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family) as first:  # shares with nobody
            port = first.getsockname()[1]
        return [
            socket.create_server((host, port), family=family, backlog=2048, reuse_port=True) for _ in range(workers)
        ]
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise UserError(
            f"The explorer cannot listen on {host}, port {port} ({reason}): set EXPLORER_HOST or EXPLORER_PORT."
        ) from None


def run(sockets: Sequence[socket.socket], trusted_proxies: str) -> None:
    """Keep a worker at each socket until SIGTERM or SIGINT; then let them finish what they are at.

    Args:
        sockets: as many as there are to be workers.
        trusted_proxies: the addresses, with commas between them, that are believed when they say who asks.
    """
    told = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal told
        told = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    workers = [_start(each, trusted_proxies) for each in sockets]
    while not told:
        wait([worker.sentinel for worker in workers], timeout=LOOK_SECONDS)
        for place, worker in enumerate(workers):
            if not told and not worker.is_alive():
                LOG.error("a worker ended with %s: another one is started", worker.exitcode)
                time.sleep(PAUSE_SECONDS)
                workers[place] = _start(sockets[place], trusted_proxies)
    for worker in workers:
        worker.terminate()
    for worker in workers:
        worker.join()


def _start(listener: socket.socket, trusted_proxies: str) -> BaseProcess:
    worker = multiprocessing.get_context("spawn").Process(target=_work, args=(listener, trusted_proxies), daemon=True)
    # Ctrl-C reaches workers and what they start too, even before they could take it: it is the parent that ends them.
    resource_tracker.ensure_running()  # else it is started with the first worker, and lets the signal through again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        worker.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return worker


def _work(listener: socket.socket, trusted_proxies: str) -> None:
    server = uvicorn.Server(configured(APPLICATION, trusted_proxies))
    threading.Thread(target=_stop_when_alone, args=(server,), daemon=True).start()
    server.run(sockets=[listener])


def _stop_when_alone(server: uvicorn.Server) -> None:
    """A worker whose parent was killed would keep the port, with nobody to stop it or to replace it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    server.should_exit = True


def configured(application: FastAPI | str, trusted_proxies: str) -> uvicorn.Config:
    """How uvicorn serves the application, or that which a function of that name makes."""
    return uvicorn.Config(
        application,
        factory=isinstance(application, str),
        http=Connection,
        access_log=False,
        log_config=LOGGING,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=trusted_proxies,
        timeout_graceful_shutdown=10,
    )
