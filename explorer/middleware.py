"""Middleware for every request and response: headers, limits of rate, size and time, and no stack traces."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from ipaddress import IPv6Address, ip_network

from fastapi import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from explorer.errors import error_response
from explorer.headers import headers, names_one_host
from explorer.health import RequestMetrics
from explorer.settings import Settings

LOG = logging.getLogger("explorer")

BODY_SECONDS = 10.0
"""Longest time for a request's body to arrive."""

HANG_UP = {"Connection": "close"}
"""Header that closes the connection: an unread body or further requests would otherwise have to be read."""

MOST_CLIENTS = 10_000
"""Most clients whose rates are remembered: the last ones."""

READINESS = "/readyz"
"""A path without a rate limit, for the orchestrator's probes; the server itself answers the one for liveness."""


class RateLimiter:
    """A token bucket per client, which fills at a steady rate."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, client: str, now: float) -> bool:
        """Whether a client may send a request at a time in seconds; if so, the request is counted."""
        tokens, before = self._clients.get(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - before) * self._per_second)
        allowed = tokens >= 1
        self._clients[client] = (tokens - allowed, now)
        self._clients.move_to_end(client)
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)
        return allowed


class Guard:
    """ASGI middleware that adds headers, measures requests, and answers errors and requests beyond a limit."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: RequestMetrics) -> None:
        self._app = app
        self._metrics = metrics
        self._body_bytes = settings.body_bytes
        self._headers = [(name.encode(), text.encode()) for name, text in headers(settings.cover_origin).items()]
        self._rates = RateLimiter(settings.requests_per_second, max(1.0, 2 * settings.requests_per_second))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request; see ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # the server leaves out the body
        if scope["method"] == "POST" and scope["path"].startswith("/api/"):
            # Every body is JSON there, also one that `curl -d` or `fetch` sends with another content type.
            scope = {**scope, "headers": [header for header in scope["headers"] if header[0] != b"content-type"]}
        started = time.perf_counter()
        status = 0
        body = _LimitedBody(receive, self._body_bytes)

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if body.disconnected:
                return
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        try:
            try:
                if not names_one_host(scope):
                    raise HTTPException(400, "The request must have one Host header: send it again with one.", HANG_UP)
                if scope["path"] != READINESS and not self._rates.allows(client_of(scope), started):
                    raise HTTPException(
                        429, "Too many requests. Try again in one second.", {"Retry-After": "1", **HANG_UP}
                    )
                await self._app(scope, body.receive, send_guarded)
            except ClientDisconnect:
                pass
            except Exception as error:
                if status:
                    raise  # too late for another answer
                answer = _as_http(error, scope)
                response = error_response(Request(scope), answer.status_code, answer.detail, answer.headers)
                await response(scope, receive, send_guarded)
        finally:
            route = getattr(scope.get("route"), "path", None)
            self._metrics.count(route, status, time.perf_counter() - started)


class _LimitedBody:
    """A request's body, refused if it is too large or too slow."""

    def __init__(self, receive: Receive, most: int) -> None:
        self.disconnected = False
        self._receive = receive
        self._most = most
        self._received = 0
        self._complete = False
        self._deadline: float | None = None

    async def receive(self) -> Message:
        """Return the next message; see ASGI."""
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            async with asyncio.timeout_at(None if self._complete else self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(
                408, f"The body did not arrive within {BODY_SECONDS:.0f} s: send it again.", HANG_UP
            ) from None
        self.disconnected = message["type"] == "http.disconnect"
        self._received += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._received > self._most:
            raise HTTPException(413, f"The body is larger than {self._most} bytes: send less.", HANG_UP)
        return message


def client_of(scope: Scope) -> str:
    """Return the client whose rate counts: an address, or for IPv6 its /64 network, as a client has a whole one."""
    host = (scope.get("client") or ("",))[0]
    if ":" not in host:
        return str(host)
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return str(host)
    return str(address.ipv4_mapped or ip_network((address, 64), strict=False))


def _as_http(error: Exception, scope: Scope) -> HTTPException:
    if isinstance(error, HTTPException):
        return error
    LOG.error("A request to %s failed.", getattr(scope.get("route"), "path", "a page"), exc_info=error)
    return HTTPException(500, "Something went wrong: see the explorer's log.")
