"""Secrets by reference: an environment variable, or a secret of Google Cloud's Secret Manager.

A secret that was resolved is masked in everything that a process writes: `mask` is called where text leaves it, for
log lines, stack traces, the run's journal, alerts and recorded errors.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

from steam_recsys.errors import UserError

SECRET_MANAGER_SCHEME = "sm://"

ENDPOINT_VARIABLE = "SECRET_MANAGER_ENDPOINT"
"""The environment variable for another server than Google's, such as a private endpoint."""

_NAME = re.compile(r"projects/[^/]+/secrets/[^/]+/versions/[^/]+")

_SHORTEST, _DISTINCT = 4, 8
"""Fewer characters are not masked, and fewer than the second number only as a word: `pass` would hit `passed`."""

_DELIMITERS = (re.compile(r"[@/:?#]"), re.compile(r"[^\w.~-]+"))
"""What parsers of URLs cut at, and what any parser may cut at."""

ORDINARY_WORDS = frozenset(
    {"postgresql", "postgres", "mongodb", "https", "http", "localhost", "password", "user", "host"}
)
"""Words of URLs that are not masked as a piece of one, and that do not count as a secret if one is a password."""

_ADDRESS = r"(?:[\w.-]*|\[[\da-fA-F:.]+\])(?::\d+)?"
_WITHOUT_CREDENTIALS = re.compile(rf"{_ADDRESS}(?:,{_ADDRESS})*/[^/?@:#]*(?:\?|$)")
"""What follows `://` in a URL that names only hosts, ports and a database before its query."""

_KEYWORD_PASSWORD = re.compile(
    r"(?i)(?:password|passwd|pwd|token|secret)\s*=\s*(.*?)"
    r"(?=[&;]|\s+(?:host|hostaddr|port|dbname|user|ssl\w+|options|application_name|connect_timeout)\s*=|$)"
)
"""A password in a query string, or in a `key=value` string even if it contains spaces."""

_PASSWORD_URL = re.compile(r"\s*[a-z][a-z0-9+.-]*://[^\s]*:[^\s]*@", re.IGNORECASE)
_MAYBE_PASSWORD = re.compile(r"@|password", re.IGNORECASE)
_SECRET_VARIABLES = ("PASSWORD", "SECRET", "TOKEN", "SECRET_ACCESS_KEY")
"""Endings of the names of environment variables that hold a secret other than a URL."""

_KNOWN: set[str] = set()
_PATTERNS: list[re.Pattern[str]] = []


def resolve_secret(reference: str) -> str:
    """Return the secret that a reference names.

    Parameters name secrets and never hold them: the value exists only inside the step, which masks it in what it
    writes. White space around a value is removed, such as the line break at the end of a file.

    Args:
        reference: `env:NAME` or `sm://projects/P/secrets/S/versions/V`.

    Raises:
        UserError: The reference has another form, or its secret does not exist or cannot be read.

    Example:
        >>> resolve_secret("env:DATABASE_URL")
        'postgresql://steam@localhost/steam'
    """
    if reference.startswith(SECRET_MANAGER_SCHEME):
        value = _read_secret(reference.removeprefix(SECRET_MANAGER_SCHEME))
        register_secret(value)
        return value
    scheme, _, name = reference.partition(":")
    if scheme != "env" or not name:
        raise UserError(
            "A database or a webhook is named as env:NAME, after the environment variable that holds its URL, or as "
            "sm://projects/P/secrets/S/versions/V, after a secret of Secret Manager."
        )
    value = os.environ.get(name, "").strip()
    if not value:
        raise UserError(
            f"The environment variable {name} is not set: set it to the URL, postgresql://… or mongodb://… of a "
            f"database, https://… of a webhook."
        )
    register_secret(value)
    return value


def register_secret(secret: str) -> None:
    """Mask every part of a secret from now on, in all threads."""
    parts = secret_parts(secret)
    if parts <= _KNOWN:
        return
    _KNOWN.update(parts)
    alternatives = [
        re.escape(part) if len(part) >= _DISTINCT else rf"(?<![^\W_]){re.escape(part)}(?![^\W_])"
        for part in sorted(_KNOWN, key=len, reverse=True)
    ]
    _PATTERNS[:] = [re.compile("|".join(alternatives), re.IGNORECASE)]


def register_environment() -> None:
    """Mask the passwords in the environment, also in malformed URLs: errors of another process may repeat them."""
    for name, value in os.environ.items():
        is_url = _PASSWORD_URL.match(value) or (name.endswith("_URL") and _MAYBE_PASSWORD.search(value))
        if is_url or name.endswith(_SECRET_VARIABLES):
            register_secret(value.strip())


def mask(text: str) -> str:
    """Replace every part of every known secret in a text.

    Example:
        >>> register_secret("postgresql://ann:Sup3r@S3cr3t@db/shop")
        >>> mask('could not translate host name "S3cr3t@db" to address')
        'could not translate host name "***@db" to address'
    """
    for pattern in _PATTERNS:
        text = pattern.sub("***", text)
    return text


def mask_values(value: Any) -> Any:
    """Mask the texts in a value of JSON; the names of its fields stay."""
    match value:
        case str():
            return mask(value)
        case dict():
            return {name: mask_values(each) for name, each in value.items()}
        case list() | tuple():
            return [mask_values(each) for each in value]
    return value


def secret_parts(secret: str) -> set[str]:
    """Return what must not be shown of a secret: the whole, and each part that a parser may cut off and repeat.

    A URL need not be valid, as the errors to fear are about those that are not. A password may contain the delimiters
    of a URL, so it ends at the last `@`, and each of its pieces counts: as it stands, decoded and encoded.
    """
    credentials = set(_credentials(secret))
    credentials |= {unquote(each) for each in credentials}
    pieces = {piece for each in credentials for cut in _DELIMITERS for piece in cut.split(each)} - ORDINARY_WORDS
    forms = {
        form
        for part in {secret} | credentials | pieces
        for form in (part, quote(part, safe=""), json.dumps(part)[1:-1], repr(part)[1:-1])
    }
    return {form for form in forms if len(form) >= _SHORTEST}


def _credentials(secret: str) -> Iterator[str]:
    """Yield the secret parts of a URL or of a `key=value` string; all of any other secret."""
    scheme, is_url, rest = secret.partition("://")
    passwords = [found[1].strip(" '\"") for found in _KEYWORD_PASSWORD.finditer(secret)]
    yield from passwords
    from steam_recsys.database.urls import connection_parameters  # imports the driver, which some commands do without

    try:
        parameters = connection_parameters(secret)
    except ValueError:  # what libpq does not read may show a part of the password in its messages
        pass
    else:
        if "password" in parameters:
            user_info, _, host = rest.partition("?")[0].rpartition("@")
            yield parameters["password"]
            yield user_info.partition(":")[2]  # as it stands, not decoded
            if not re.search(r"[/.:]", host):  # the host may be missing, and this the end of the password
                yield host
        return
    if not is_url:
        before, at, _ = secret.rpartition("@")
        if at or not passwords:  # a URL without its scheme, or a token
            yield before if at else secret
        return
    if scheme.lower().endswith(("http", "https")):  # a webhook, whose path has the secret beside ordinary words
        path = re.split(r"[/?&=]", rest.partition("/")[2])
        yield from (each for each in path if len(each) >= _DISTINCT and re.search(r"[A-Z0-9]", each))
    if _WITHOUT_CREDENTIALS.match(rest):
        return
    user_info, _, host = rest.rpartition("@")
    parts = re.split(r"[:/?#@]", user_info, maxsplit=1)
    if len(parts) == 2:
        yield parts[1]
        if not re.search(r"[/.:]", host):  # the host is missing, and this is the end of the password
            yield host


def google_client(client: type[Any], variable: str, endpoint: str | None = None) -> Any:
    """Return a client of a Google Cloud service.

    Args:
        client: Class of the client.
        variable: Environment variable that names another server, such as a private endpoint.
        endpoint: Host of the service, if it differs from region to region.
    """
    from google.auth.credentials import AnonymousCredentials

    server = os.environ.get(variable)
    if server is None:
        return client(client_options={"api_endpoint": endpoint} if endpoint else None)
    options: dict[str, Any] = {"client_options": {"api_endpoint": server}, "transport": "rest"}
    if server.startswith("http://"):  # credentials never cross the network unencrypted
        options["credentials"] = AnonymousCredentials()
    return client(**options)


def _read_secret(name: str) -> str:
    # Slow to import, and needed on Google Cloud only.
    from google.api_core.exceptions import Forbidden, GoogleAPICallError, NotFound, RetryError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud.secretmanager import SecretManagerServiceClient
    from requests.exceptions import ConnectionError as Unreachable

    if not _NAME.fullmatch(name):
        raise UserError(f"sm://{name} is not a secret: write it as sm://projects/P/secrets/S/versions/V.")
    try:
        service = google_client(SecretManagerServiceClient, ENDPOINT_VARIABLE)
        payload: bytes = service.access_secret_version(name=name, timeout=30).payload.data
    except NotFound:
        raise UserError(f"The secret sm://{name} does not exist: create it or correct its name.") from None
    except Forbidden:
        raise UserError(f"This account may not read sm://{name}: grant it Secret Manager Secret Accessor.") from None
    except (GoogleAuthError, GoogleAPICallError, RetryError, Unreachable) as error:
        raise UserError(f"The secret sm://{name} cannot be read now ({type(error).__name__}): try again.") from None
    return payload.decode().strip()
