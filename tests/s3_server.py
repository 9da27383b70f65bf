"""A server that speaks S3's protocol, for tests."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from urllib.request import Request, urlopen

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

S3_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "the-key-id",
    "AWS_SECRET_ACCESS_KEY": "the-secret-key",
    # Neither this machine's settings, nor those of a cloud's machine.
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "AWS_EC2_METADATA_DISABLED": "true",
}


def create_bucket(url: str) -> str:
    """Create a bucket and return its name."""
    name = f"bucket-{secrets.token_hex(6)}"
    urlopen(Request(f"{url}/{name}", method="PUT")).close()
    return name


class _OneAtATime:
    """The server's application with requests one after the other: its conditional writes are not atomic otherwise."""

    def __init__(self, ignored: Collection[str]) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()
        self._ignored = {f"HTTP_{name.upper().replace('-', '_')}" for name in ignored}

    def __call__(self, environ: dict[str, object], start: Callable[..., object]) -> Iterable[bytes]:
        environ = {name: value for name, value in environ.items() if name not in self._ignored}
        with self._lock:
            return list(self._app(environ, start))


class _Handler(MotoRequestHandler):
    def log_request(self, *_: object) -> None:
        """Do not log requests."""


@contextmanager
def s3_server(ignored: Collection[str] = ()) -> Iterator[str]:
    """Run the server on loopback and yield its URL. It ignores some of the requests' headers, as other servers do."""
    server = make_server("127.0.0.1", 0, _OneAtATime(ignored), threaded=True, request_handler=_Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
