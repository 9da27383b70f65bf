"""Refreshes in separate processes, for tests that kill them; a fork server has loaded their imports."""

import multiprocessing
import os
from multiprocessing.context import ForkServerProcess

from tests.components.refresh.refreshing import PublishedShop

_SERVER = multiprocessing.get_context("forkserver")
_SERVER.set_forkserver_preload([__name__])


def start_refresh(shop: PublishedShop, snapshot: str) -> ForkServerProcess:
    """Start to refresh a publication from a snapshot."""
    urls = {name: os.environ[name] for name in ("DATABASE_URL", "MONGODB_URL") if name in os.environ}
    process = _SERVER.Process(target=_refresh, args=(urls, shop, snapshot))
    process.start()
    return process


def _refresh(urls: dict[str, str], shop: PublishedShop, snapshot: str) -> None:
    os.environ.update(urls)
    shop.refresh(snapshot)
