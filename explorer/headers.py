"""The headers that every response has, and the one that every request must have."""

from __future__ import annotations

import re

from starlette.types import Scope

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src {}; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PICTURES = "'self' data:"

HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY.format(PICTURES),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

_HOST = re.compile(rb"(?:[\w.~!$&'()*+;=%-]*|\[[\da-fA-F:.]+\])(?::\d*)?")


def headers(cover_origin: str | None) -> dict[str, str]:
    """Return the headers of an explorer whose pages also show pictures of another origin, if it is given."""
    if cover_origin is None:
        return HEADERS
    return {**HEADERS, "content-security-policy": CONTENT_SECURITY_POLICY.format(f"{PICTURES} {cover_origin}")}


def names_one_host(scope: Scope) -> bool:
    """Whether a request has one valid Host header, as RFC 9112 requires; HTTP/1.0 may have none."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if not hosts:
        return bool(scope["http_version"] == "1.0")
    return len(hosts) == 1 and _HOST.fullmatch(hosts[0]) is not None
