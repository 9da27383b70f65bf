"""Publications in separate processes, for tests that kill them; a fork server has loaded their imports."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from steam_recsys.publications import lease
from steam_recsys.publications.destinations import DestinationConfig
from steam_recsys.publications.mongo import MongoDestination
from tests.components.reverse_etl.predicted import publish_version

Ranges = list[tuple[int, int]]

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([__name__])


LEASE_SECONDS = 1.0
"""How long the lease of a killed process is valid: the next publication waits for it."""


def start_publication(
    config: DestinationConfig, predictions: Path, version: str, ranges: Ranges, *, dies_between_both: bool = False
) -> ForkServerProcess:
    """Start to publish a version; on request the process kills itself after MongoDB has switched and PostgreSQL not."""
    urls = {name: os.environ[name] for name in ("DATABASE_URL", "MONGODB_URL") if name in os.environ}
    target: Callable[..., None] = _publish_and_die if dies_between_both else _publish
    process = _SERVER.Process(target=target, args=(urls, config, predictions, version, ranges))
    process.start()
    return process


def _publish(urls: dict[str, str], config: DestinationConfig, predictions: Path, version: str, ranges: Ranges) -> None:
    os.environ.update(urls)
    lease.LEASE_SECONDS, lease.RENEW_SECONDS = LEASE_SECONDS, LEASE_SECONDS / 5
    publish_version(config, predictions, version, ranges)


def _publish_and_die(
    urls: dict[str, str], config: DestinationConfig, predictions: Path, version: str, ranges: Ranges
) -> None:
    switch = MongoDestination.point_to

    def switch_and_die(self: MongoDestination, version: str) -> None:
        switch(self, version)
        os.kill(os.getpid(), signal.SIGKILL)

    MongoDestination.point_to = switch_and_die
    _publish(urls, config, predictions, version, ranges)
