"""The publishers' lease: a row of `recsys.lease` that says which publication may change versions, and until when.

A lease outlives the connection that took it, so it works through a pooler that gives each transaction another one. Its
holder renews it; if the holder is killed, it expires, by the database's clock, and the next publication takes over.
Each grant has a higher fencing number. Every transaction that changes versions checks the number and locks the row, so
a publisher that has lost the lease without knowing can change nothing
(https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html).
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from steam_recsys import code_version
from steam_recsys.database.connection import Cursor, connect
from steam_recsys.database.limits import Limits
from steam_recsys.errors import UserError
from steam_recsys.logging import current_run, log, log_warning

APPLICATION, VERSIONS_APPLICATION = "steam-recsys publish", "steam-recsys versions"

LEASE_SECONDS = 30.0
"""How long a lease is valid after it was taken or renewed, and so how long the next run waits after a kill."""

RENEW_SECONDS = 5.0
"""How often the holder renews it."""

PATIENCE_SECONDS = 3600.0
"""How long a publication waits for another one to end."""

RETRY_SECONDS = 1.0
"""How often a waiting publication tries to take the lease."""

_LIMITS = Limits(lock=5, statement=10, idle=10)

_TAKE = """
UPDATE recsys.lease
SET fencing = fencing + 1, holder = %(holder)s, acquired_at = clock_timestamp(),
    expires_at = clock_timestamp() + %(seconds)s * interval '1 second'
WHERE name = 'publish' AND expires_at <= clock_timestamp()
RETURNING fencing
"""

_HOLDER = """
SELECT holder, to_char(acquired_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'),
    to_char(expires_at AT TIME ZONE 'UTC', 'HH24:MI:SS')
FROM recsys.lease WHERE name = 'publish'
"""

# Waits for a concurrent take-over, and keeps others from one until the end of the transaction. As the number is part of
# a key, a take-over conflicts with this lock and a renewal does not.
_CHECK = "SELECT FROM recsys.lease WHERE name = 'publish' AND fencing = %s FOR KEY SHARE"

_RENEW = """
UPDATE recsys.lease SET expires_at = clock_timestamp() + %s * interval '1 second'
WHERE name = 'publish' AND fencing = %s
"""


@dataclass(frozen=True)
class Lease:
    """A granted lease.

    Attributes:
        database: Reference to the database's URL.
        fencing: Number of the grant.
    """

    database: str
    fencing: int

    def check(self, cursor: Cursor) -> None:
        """Check that the lease is still held, and hold it until the end of the transaction.

        Raises:
            UserError: Another publication has taken over.
        """
        cursor.execute(_CHECK, [self.fencing])
        if cursor.rowcount != 1:
            raise UserError(
                f"This publication did not renew its lease for {LEASE_SECONDS:g} seconds and another one has taken "
                f"over ({_holder(cursor)}): let that one end, then run again."
            )

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lease while the body changes another database.

        Raises:
            UserError: Another publication has taken over.
        """
        with connect(self.database, application=APPLICATION) as connection, connection.cursor() as cursor:
            self.check(cursor)
            yield

    def renew(self, seconds: float) -> bool:
        """Let the lease expire in some seconds; return whether it was still held."""
        connected = connect(self.database, application=APPLICATION, limits=_LIMITS)
        with connected as connection, connection.cursor() as cursor:
            cursor.execute(_RENEW, [seconds, self.fencing])
            return cursor.rowcount == 1


@contextmanager
def publishing_lease(database: str, version: str) -> Iterator[Lease]:
    """Wait for the lease, keep it while the body runs, and release it.

    Args:
        database: Reference to the URL of a database that has the schema `recsys`.
        version: Version that is going to be published, for other publications to read.

    Raises:
        UserError: Another publication still holds it after `PATIENCE_SECONDS`.
    """
    lease = _wait_for_lease(database, _describe_holder(version))
    ended = threading.Event()
    renewing = threading.Thread(target=_keep_renewing, args=(lease, ended), name="lease", daemon=True)
    renewing.start()
    try:
        yield lease
    finally:
        ended.set()
        renewing.join()
        with suppress(UserError):  # without a database it expires by itself
            lease.renew(0)


def _wait_for_lease(database: str, holder: str) -> Lease:
    deadline = time.monotonic() + PATIENCE_SECONDS
    announced = ""
    while True:
        with connect(database, application=APPLICATION) as connection, connection.cursor() as cursor:
            cursor.execute(_TAKE, {"holder": holder, "seconds": LEASE_SECONDS})
            if row := cursor.fetchone():
                return Lease(database, row[0])
            other, since, until = _read_holder(cursor)
        if time.monotonic() > deadline:
            raise UserError(
                f"Another publication did not end within {PATIENCE_SECONDS / 60:g} minutes ({other}, since {since} "
                f"UTC): look at that run, then run again."
            )
        if announced != (announced := f"{other}, since {since} UTC"):
            log("reverse_etl", f"waiting for another publication: {announced}; without renewal until {until} UTC")
        time.sleep(RETRY_SECONDS)


def _keep_renewing(lease: Lease, ended: threading.Event) -> None:
    failed = False
    while not ended.wait(RENEW_SECONDS):
        try:
            if not lease.renew(LEASE_SECONDS):
                log_warning("reverse_etl", "the lease was lost: another publication has taken over")
                return
            failed = False
        except UserError as error:
            if not failed:
                log_warning("reverse_etl", f"the lease cannot be renewed now, trying again: {error}")
            failed = True


def _describe_holder(version: str) -> str:
    run = current_run()
    facts = [f"version {version}", *([f"run {run}"] if run else [])]
    facts += [f"process {os.getpid()} on {socket.gethostname()}", f"code {code_version()}"]
    return ", ".join(facts)


def _read_holder(cursor: Cursor) -> tuple[str, str, str]:
    cursor.execute(_HOLDER)
    rows: list[tuple[str, str, str]] = cursor.fetchall()
    return rows[0]


def _holder(cursor: Cursor) -> str:
    holder, since, _ = _read_holder(cursor)
    return f"{holder}, since {since} UTC"
