"""What a database's errors mean: one sentence each, with the remedy, by SQLSTATE.

A driver's own text is shown only if its form is known. It may contain parts of a password, if the URL is wrong, or
values of a row. SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from steam_recsys.errors import UserError

CONNECTION_LOST = "08006"
CANNOT_CONNECT = "08001"


class UnavailableError(UserError):
    """The database cannot do this at present, or this server cannot: it is down, full, busy or read-only."""


@dataclass(frozen=True)
class Meaning:
    """What an error means.

    Attributes:
        sentence: The sentence; `{name}` becomes the database's name, `{detail}` what else is known, in
            parentheses.
        passes: Whether it is the state of the server, which may change without a change to the request.
    """

    sentence: str
    passes: bool = False


_FAILED = "The database in {name} failed{detail}: see its log, then run again."
_OTHER_SCHEMA = (
    "The database in {name} does not match this release's schema{detail}: undo the change to it, or upgrade as "
    "docs/operations.md says."
)

MEANINGS = {
    "08": Meaning(_FAILED, passes=True),
    "08001": Meaning(
        "The database in {name} cannot be reached{detail}: check that the server is up and {name} is right.",
        passes=True,
    ),
    "08P01": Meaning(
        "The pooler in {name} does not accept the connection's settings{detail}: remove options from {name}, or add "
        "the setting to the pooler's ignore_startup_parameters."
    ),
    "22021": Meaning("The database in {name} does not accept a character of a text{detail}: remove it from the data."),
    "22P05": Meaning(
        "The database in {name} cannot store a character of a text{detail}: move it to a database that was created "
        "with ENCODING 'UTF8'."
    ),
    "25006": Meaning(
        "The database in {name} is read-only, as a standby is: let {name} name the primary server, or reset "
        "default_transaction_read_only if that is set.",
        passes=True,
    ),
    "25P03": Meaning(
        "The database in {name} ended a transaction that had waited for this process too long: run again.", passes=True
    ),
    "25P04": Meaning(
        "The database in {name} ended a transaction that took longer than transaction_timeout: raise it for this role.",
        passes=True,
    ),
    "28": Meaning("The database in {name} refused the user or the password: correct {name}."),
    "28000": Meaning(
        "The database in {name} does not let this user in from here: correct {name}, or add the user and this "
        "machine's address to the server's pg_hba.conf."
    ),
    "3D000": Meaning("The database that {name} names does not exist on its server: create it or correct {name}."),
    "3F000": Meaning(_OTHER_SCHEMA),
    "40": Meaning(
        "The database in {name} cancelled the transaction, which another one conflicted with: run again.", passes=True
    ),
    "42501": Meaning("The role in {name} may not do this{detail}: grant it."),
    "42P01": Meaning(_OTHER_SCHEMA),
    "42703": Meaning(_OTHER_SCHEMA),
    "42804": Meaning(_OTHER_SCHEMA),
    "42883": Meaning(_OTHER_SCHEMA),
    "53": Meaning(
        "The database in {name} lacks a resource{detail}: see its log, give it more, then run again.", passes=True
    ),
    "53100": Meaning(
        "The database in {name} has no room left on its disk: make some on its server, then run again.", passes=True
    ),
    "53200": Meaning(
        "The database in {name} is out of memory: give its server more, or lower work_mem, then run again.",
        passes=True,
    ),
    "53300": Meaning(
        "The database in {name} has no connection left for this role: end some, or raise max_connections or the "
        "role's or the database's CONNECTION LIMIT, then run again.",
        passes=True,
    ),
    "55000": Meaning("The database in {name} is not ready for this{detail}: run again later.", passes=True),
    "55006": Meaning(
        "An object of the database in {name} is in use by another session: end that session, then run again.",
        passes=True,
    ),
    "55P03": Meaning(
        "The database in {name} kept this process waiting too long for a lock{detail}: end the transaction that holds "
        "it, then run again.",
        passes=True,
    ),
    "57014": Meaning("The database in {name} cancelled a statement{detail}: run again.", passes=True),
    "57": Meaning(_FAILED, passes=True),
    "57P03": Meaning(
        "The database in {name} cannot be reached now (it starts, stops or recovers): run again in a moment.",
        passes=True,
    ),
    "58": Meaning(_FAILED, passes=True),
    "F0": Meaning(_FAILED, passes=True),
    "XX": Meaning(_FAILED, passes=True),
}
"""The meaning of each SQLSTATE, or of a class of them, by its first characters."""

_UNKNOWN = Meaning(_FAILED)

_DETAILS = {
    "42501": r"permission denied [\w\s\"().,-]+|must be [\w\s\".-]+",
    "3F000": r"[a-z ]+ .+ does not exist",
    "42P01": r"[a-z ]+ .+ does not exist",
    "42703": r"[a-z ]+ .+ does not exist",
    "42883": r"[a-z ]+ .+ does not exist",
    "55000": r"database \"[^\"]+\" is not currently accepting connections",
    "55P03": r"canceling statement due to lock timeout",
    "57014": r"canceling statement due to (statement timeout|user request)",
    "57P01": r"terminating connection due to administrator command",
    "57P05": r"terminating connection due to idle-session timeout",
    "08P01": r"unsupported startup parameter(?: in options)?: \w+",
}
"""The form in which the server's own words are shown, by SQLSTATE: names of objects and nothing else."""

# What the server or the pooler says to a client that it does not let in, without a SQLSTATE in libpq's error.
_REFUSALS = (
    (r"too many (?:clients|connections)|connection slots are reserved|no more connections allowed", "53300"),
    (r"authentication failed|no password supplied", "28P01"),
    (r'role "[^"]*" (?:does not exist|is not permitted to log in)|no pg_hba\.conf entry|client certificate', "28000"),
    (r'database "[^"]*" does not exist|no such database', "3D000"),
    (r'database "[^"]*" is not currently accepting connections', "55000"),
    (r"permission denied for database", "42501"),
    (r"the database system is|not yet accepting connections", "57P03"),
    (r"unsupported startup parameter", "08P01"),
    (r"terminating connection due to administrator command", "57P01"),
    (r"session is read-only|server is in hot standby mode", "25006"),
)

_OBSTACLES = (
    ("Connection refused", "connection refused"),
    ("could not translate host name", "the host's name is unknown"),
    ("Name or service not known", "the host's name is unknown"),
    ("No such file or directory", "there is no such socket"),
    ("timeout expired", "no answer"),
    ("timed out", "no answer"),
    ("No route to host", "no route to the host"),
    ("Network is unreachable", "the network is unreachable"),
    ("server does not support SSL", "the server does not support SSL, which sslmode requires"),
    ("certificate", "SSL: the certificate is not accepted"),
    ("SSL error", "SSL failed"),
    ("server closed the connection", "the server closed the connection"),
    ("Connection reset by peer", "the server closed the connection"),
    ("definition of service", "the service in the URL or in PGSERVICE is not defined"),
)
"""Why a driver cannot connect: a part of its message, and what is shown for it."""


_INVALID_PARAMETER = (
    r'invalid (\w+) value: "|for connection option "(\w+)"|'
    r"unrecognized configuration parameter|invalid value for parameter"
)


def database_error(name: str, sqlstate: str, message: str = "", detail: str = "") -> UserError:
    """Return the error to raise instead of a driver's.

    Args:
        name: Name of the database's URL, such as DATABASE_URL.
        sqlstate: The error's SQLSTATE.
        message: The server's primary message.
        detail: What the caller knows besides, instead of the message.

    Example:
        >>> database_error("DATABASE_URL", "42501", "permission denied for table reviews")
        UserError('The role in DATABASE_URL may not do this (permission denied for table reviews): grant it.')
    """
    meaning = MEANINGS.get(sqlstate) or MEANINGS.get(sqlstate[:2]) or _UNKNOWN
    detail = detail or known_detail(sqlstate, message) or f"SQLSTATE {sqlstate}"
    sentence = meaning.sentence.format(name=name, detail=f" ({detail})")
    return UnavailableError(sentence) if meaning.passes else UserError(sentence)


def known_detail(sqlstate: str, message: str) -> str:
    """Return the server's own words if they have the form that is expected, else an empty text."""
    text = re.sub(r"\s+", " ", message).strip()
    return text if re.fullmatch(_DETAILS.get(sqlstate, r"(?!)"), text) else ""


def connection_error(name: str, message: str) -> UserError:
    """Return the error for libpq's message that a connection could not be opened.

    Args:
        name: Name of the database's URL.
        message: The message, which has no SQLSTATE; with several hosts it has a line for each.
    """
    for pattern, sqlstate in _REFUSALS:
        if found := re.search(pattern, message):
            return database_error(name, sqlstate, _first_sentence(message[found.start() :]))
    if found := re.search(_INVALID_PARAMETER, message):
        return UserError(f"{name} has an invalid value of {found[1] or found[2] or 'options'}: correct it.")
    reason = known_obstacle(message) or "libpq gives a reason that is not known here; psql shows it"
    return database_error(name, CANNOT_CONNECT, detail=reason)


def known_obstacle(message: str) -> str:
    """Return why a driver cannot connect, in our own words; empty if its message is not known."""
    return next((reason for part, reason in _OBSTACLES if part in message), "")


def _first_sentence(text: str) -> str:
    return text.partition("\n")[0].strip()
