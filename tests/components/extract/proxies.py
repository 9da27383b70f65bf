"""A proxy that drops all connections after a number of bytes."""

import socket
import threading
from types import TracebackType
from typing import Self


class CuttingProxy:
    """A proxy on a loopback port, until its context ends."""

    def __init__(self, server_port: int, *, after: int) -> None:
        """Set the server's port on loopback, and the bytes from it after which all connections drop."""
        self._server_port, self._left = server_port, after
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut = False
        """Whether the connections have been dropped."""

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return  # the context has ended
            server = socket.create_connection(("127.0.0.1", self._server_port))
            with self._lock:
                self._open += [client, server]
            threading.Thread(target=self._forward, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, True), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, counts: bool) -> None:
        try:
            while content := source.recv(1 << 16):
                if counts and self._is_exhausted(len(content)):
                    return
                target.sendall(content)
        except OSError:
            pass  # dropped

    def _is_exhausted(self, size: int) -> bool:
        with self._lock:
            self._left -= size
            if self._left < 0:
                self.cut = True
                for connection in self._open:
                    connection.shutdown(socket.SHUT_RDWR)
                self._open.clear()
            return self.cut
