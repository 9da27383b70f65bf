"""Connections of clients: none stays open for a request that never comes."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""How long the head of a request may take, from the opening of the connection or from what first follows an answer."""


class Connection(HttpToolsProtocol):
    """Closes where the head of a request does not arrive in time.

    Uvicorn waits five seconds for the first byte after an answer, and for everything else as long as it takes. What is
    under way once a head is there is the application's to limit: see `explorer.security`.
    """

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._wait_no_longer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        answered = self.cycle is None or self.cycle.response_complete
        if answered and self._waiting is None:  # what came was no head: a part of one, or the rest of a body
            self._wait()

    def on_headers_complete(self) -> None:
        """The parser has read a head."""
        self._wait_no_longer()
        super().on_headers_complete()

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _wait_no_longer(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
