"""URLs of PostgreSQL, as every command takes them.

They are `postgres://` and `postgresql://`, with several hosts or a host after the `?`, and libpq's `key=value` strings
(https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING). psycopg2 reads them as libpq does;
asyncpg does not, so `asyncpg_arguments` converts them.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import psycopg2
from psycopg2.extensions import parse_dsn

_SCHEMES = ("postgres", "postgresql", "mongodb", "mongodb+srv")

_URL_PARAMETERS = (
    *("passfile", "service", "options", "target_session_attrs", "krbsrvname", "gsslib", "sslmode", "sslnegotiation"),
    *("sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
)
"""Parameters that asyncpg knows by libpq's names, in a URL only."""

_TUNING_PARAMETERS = (
    *("application_name", "fallback_application_name", "client_encoding", "connect_timeout", "load_balance_hosts"),
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"),
    *("sslcompression", "sslsni"),
)
"""Parameters that asyncpg does not have and that a connection is as good without; the caller sets the first ones."""

_OPTIONAL_PARAMETERS = ("channel_binding", "gssencmode", "sslcertmode")
"""Parameters that asyncpg does not have: it can do without unless they are `require`."""


_SILENT_SERVER = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
"""A server that is silent for a minute is given up, for example after a failover; the kernel's default is two hours."""


def socket_settings(url: str) -> dict[str, Any]:
    """Return the settings of TCP for a connection, as arguments of `psycopg2.connect`; those in the URL are kept.

    Raises:
        ValueError: It is not a PostgreSQL URL.
    """
    parameters = connection_parameters(url)
    return {name: value for name, value in _SILENT_SERVER.items() if name not in parameters}


def connection_parameters(url: str) -> dict[str, str]:
    """Read a URL, or a `key=value` string, as libpq does; the parameters by libpq's names.

    Raises:
        ValueError: It is not a PostgreSQL URL. The message does not show it, as it may contain a password.
    """
    try:
        if has_stray_separators(url):
            raise ValueError
        parameters = dict(parse_dsn(url))
        ports = [int(port) for port in parameters.get("port", "").split(",") if port]
        if not all(0 < port < 1 << 16 for port in ports):
            raise ValueError
    except (psycopg2.ProgrammingError, ValueError):  # a port that is not a number may be a part of the password
        raise ValueError(
            "not a PostgreSQL URL like postgresql://user:password@host:port/database, or one with an unknown "
            "parameter; in a user name or a password, write %2F for /, %3A for :, %40 for @"
        ) from None
    return parameters


def asyncpg_arguments(url: str) -> dict[str, Any]:
    """The arguments of `asyncpg.connect` for a URL that psycopg2 takes.

    Timeouts, the encoding and the name of the application are left to the caller.

    Example:
        >>> asyncpg_arguments("host=a,b port=5432 dbname=shop user=me")
        {'host': ['a', 'b'], 'port': 5432, 'user': 'me', 'database': 'shop'}

    Raises:
        ValueError: It is not a PostgreSQL URL, or has an option that asyncpg does not support.
    """
    parameters = connection_parameters(url)
    arguments: dict[str, Any] = {}
    host, address = parameters.pop("host", ""), parameters.pop("hostaddr", "")
    if address and host and parameters.get("sslmode") == "verify-full":
        raise ValueError("hostaddr is not supported with sslmode=verify-full: remove it")
    if hosts := address or host:
        arguments["host"] = [each or "localhost" for each in hosts.split(",")]
    if ports := parameters.pop("port", ""):
        numbers = [int(port or 5432) for port in ports.split(",")]
        arguments["port"] = numbers if len(numbers) > 1 else numbers[0]
    for name, argument in (("user", "user"), ("password", "password"), ("dbname", "database")):
        if value := parameters.pop(name, ""):
            arguments[argument] = value
    if parameters.get("sslrootcert") == "system":  # the certificates that the operating system trusts
        arguments["ssl"] = True
        del parameters["sslrootcert"]
        parameters.pop("sslmode", None)
    query = {name: parameters.pop(name) for name in _URL_PARAMETERS if name in parameters}
    for name, value in parameters.items():
        if name not in _TUNING_PARAMETERS and not (name in _OPTIONAL_PARAMETERS and value != "require"):
            raise ValueError(f"{name} is not supported: remove it")
    if query:
        arguments["dsn"] = f"postgresql://?{urlencode(query)}"
    return arguments


def has_stray_separators(url: str) -> bool:
    """Return whether a URL has a `/` or an `@` in a user name or a password.

    A driver takes what follows for the name of a host or a database, and its messages would show it.

    Example:
        >>> has_stray_separators("postgresql://me:pass@word@host/shop")
        True
    """
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    return scheme in _SCHEMES and (authority.count("@") > 1 or "@" in path.partition("?")[0])
