"""What every request and every answer must keep to: headers, limits of rate, size and time, and no stack traces."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_network

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from explorer.counters import Counters
from explorer.problems import Problem
from explorer.settings import Settings

LOG = logging.getLogger("explorer")

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS = [
    (name.encode(), value.encode())
    for name, value in (
        ("content-security-policy", CONTENT_SECURITY_POLICY),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "no-referrer"),
        ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    )
]

BODY_SECONDS = 10.0
"""How long a request's body may take to arrive."""

HANG_UP = {"Connection": "close"}
"""After an answer to a body that was not read to its end: else the rest of it would have to be."""

MOST_CLIENTS = 10_000
"""Clients whose rates are remembered: those that asked last."""

PROBES = ("/healthz", "/readyz")
"""What is asked by the machine that keeps this one alive."""


class Rates:
    """How often each client may ask: a bucket of tokens a client, filled at a steady rate, empty at worst."""

    def __init__(self, per_second: float, burst: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, client: str, now: float) -> bool:
        """Whether a client may ask at a time in seconds; if so, it has asked."""
        tokens, before = self._clients.get(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - before) * self._per_second)
        allowed = tokens >= 1
        self._clients[client] = (tokens - allowed, now)
        self._clients.move_to_end(client)
        if len(self._clients) > MOST_CLIENTS:
            self._clients.popitem(last=False)
        return allowed


class Guard:
    """Stands between the server and the application, and answers in its place where a limit is overstepped."""

    def __init__(
        self, app: ASGIApp, settings: Settings, counters: Counters, show: Callable[[Request, Problem], Response]
    ) -> None:
        self._app = app
        self._counters = counters
        self._show = show
        self._body_bytes = settings.body_bytes
        self._rates = Rates(settings.requests_per_second, max(1.0, 2 * settings.requests_per_second))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # whose body the server leaves out
        started = time.perf_counter()
        status = 0

        async def send_guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        try:
            try:
                if scope["path"] not in PROBES and not self._rates.allows(client_of(scope), started):
                    raise Problem(429, "You ask too often: wait a second, then ask again.", {"Retry-After": "1"})
                await self._app(scope, _limited(receive, self._body_bytes), send_guarded)
            except ClientDisconnect:
                pass  # nobody is left to answer
            except Exception as error:
                if status:
                    raise  # it is too late for another answer
                await self._show(Request(scope), _problem_of(error, scope))(scope, receive, send_guarded)
        finally:
            route = getattr(scope.get("route"), "path", None)
            self._counters.add(route, status, time.perf_counter() - started)


def _problem_of(error: Exception, scope: Scope) -> Problem:
    if isinstance(error, Problem):
        return error
    LOG.error("a request to %s failed", getattr(scope.get("route"), "path", "a page"), exc_info=error)
    return Problem(500, "Something went wrong here: the explorer's log says what.")


def client_of(scope: Scope) -> str:
    """Whose rate counts: an address, and of IPv6, where everybody has as many as they like, a network."""
    host = (scope.get("client") or ("",))[0]
    if ":" not in host:
        return str(host)
    try:
        address = IPv6Address(host.partition("%")[0])
    except ValueError:
        return str(host)
    return str(address.ipv4_mapped or ip_network((address, 64), strict=False))


def _limited(receive: Receive, most: int) -> Receive:
    """A body that is refused where it is too large or too slow."""
    received, whole = 0, False
    deadline: float | None = None

    async def receive_limited() -> Message:
        nonlocal received, whole, deadline
        if deadline is None:
            deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            async with asyncio.timeout_at(None if whole else deadline):
                message = await receive()
        except TimeoutError:
            raise Problem(
                408, f"The body has not arrived within {BODY_SECONDS:.0f} s: send it again.", HANG_UP
            ) from None
        received += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if received > most:
            raise Problem(413, f"The body is larger than {most} bytes: send less.", HANG_UP)
        return message

    return receive_limited
