"""The stage: predictions → a version, made current when it is complete and accepted; and the way back.

A version is made ready with nobody seeing it, and becomes current in a short switch. Whatever happens before that
leaves the readers with the version that they had, and what a dead run left is dropped by the next.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from components.reverse_etl.acceptance import decide
from components.reverse_etl.destinations import Destination, Destinations, Places, open_destinations
from components.reverse_etl.limits import DEFAULT, Limits
from components.reverse_etl.postgres.connections import publishing_connection
from components.reverse_etl.postgres.switch import transaction
from components.reverse_etl.predictions import Predictions
from components.reverse_etl.versions import (
    KeptVersion,
    Made,
    check_name,
    current,
    expired,
    named,
    rollback_target,
)
from components.shared.console import log
from components.shared.database import Connection, connect, create_schema, replace_functions, require_schema
from components.shared.errors import UserError
from components.shared.storage import open_folder


@dataclass(frozen=True)
class Publication:
    """What a publication did.

    Attributes:
        version: the version that was published.
        users: users with recommendations of their own.
        rows: games recommended, summed over the users.
        switched: whether it was made current now; False where it had been published before.
        seconds: wall time.
        acceptance: the rules that it was accepted by, and how they came out, by destination.
    """

    version: str
    users: int
    rows: int
    switched: bool
    seconds: float
    acceptance: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for the journal and artifacts."""
        return asdict(self)


def publish(
    places: Places, predictions: str, made: Made, ranges: Sequence[tuple[int, int]], limits: Limits = DEFAULT
) -> Publication:
    """Publish predictions as a version, make it current, and remove the predictions.

    A version that is published already is left alone, even where another is current: a retry does not undo a
    rollback. One that a dead run began is started over. Publications at the same time take turns.

    Args:
        places: where to publish.
        predictions: the path or URI of a folder with `recommendations/shard-00000.parquet` and following, in the
            schema RECOMMENDATIONS, and `popular.parquet`.
        made: the version and what it is made from.
        ranges: of each shard the first and the last user whom it is for, in ascending order.
        limits: how far the version may be from the one that is shown.

    Raises:
        UserError: the predictions are not as they must be, or a destination refuses the version, gave up, or cannot
            switch; what was current stays so.
    """
    started = time.perf_counter()
    check_name(made.version)
    folder = open_folder(predictions)
    acceptance: dict[str, tuple[str, ...]] = {}
    with publishing_connection(places.database) as connection:
        _take_turn(connection)
        with open_destinations(places, connection) as destinations:
            destinations.reconcile()
            for destination in destinations.all:
                destination.drop_unfinished()
            switched = _is_wanted(destinations, made.version)
            if switched:
                missing = [each for each in destinations.all if named(each.kept(), made.version) is None]
                if missing:
                    opened = Predictions.open(folder, ranges)
                    try:
                        acceptance = _load(missing, made, opened, limits)
                    except Exception:
                        _clean_up(connection, destinations)
                        raise
                destinations.switch(lambda kept: made.version)
                for destination in destinations.all:
                    destination.drop(expired(destination.kept()))
            published = named(destinations.leading.kept(), made.version)
    assert published is not None  # it was there, or it is there now
    folder.remove("")
    seconds = round(time.perf_counter() - started, 3)
    done = Publication(made.version, published.users, published.rows, switched, seconds, acceptance)
    what = "is current" if switched else "was published before, nothing is changed"
    log("reverse_etl", f"version {made.version} {what}: {done.users:,} users, {done.rows:,} recommended games")
    return done


def rollback(places: Places, version: str | None = None) -> str:
    """Make a kept version current again, everywhere or nowhere.

    Args:
        places: where it is kept.
        version: None takes the one that was current last among those published before the current one.

    Returns:
        The version that is current now.

    Raises:
        UserError: the version is not kept, there is none to go back to, or a destination cannot switch.
    """
    with _published(places) as destinations:
        destinations.reconcile()
        return destinations.switch(lambda kept: rollback_target(kept, version))


def reconcile(places: Places) -> str | None:
    """Bring MongoDB to the version that PostgreSQL shows, after a switch of both that was cut off; that version.

    Raises:
        UserError: nothing was ever published to this database, MongoDB does not keep that version, or a destination
            gave up.
    """
    with _published(places) as destinations:
        version = destinations.reconcile()
        if version and not all(named(destination.kept(), version) for destination in destinations.all):
            raise UserError(f"MongoDB does not keep {version}, which PostgreSQL shows: publish to both again.")
        return version


def kept_versions(places: Places) -> dict[str, list[KeptVersion]]:
    """The versions that are kept, the newest publication first, by destination.

    Raises:
        UserError: nothing was ever published to this database, or a destination gave up.
    """
    with _published(places) as destinations:
        return {destination.name: destination.kept() for destination in destinations.all}


@contextmanager
def _published(places: Places) -> Iterator[Destinations]:
    with connect(places.database, application="steam-recsys versions") as connection:
        require_schema(connection, "recsys")
        connection.commit()
        with open_destinations(places, connection) as destinations:
            yield destinations


def _take_turn(connection: Connection) -> None:
    """Create the schema where it is missing, renew its functions, and wait until no other publication is under way."""
    require_schema(connection, "steam")
    create_schema(connection, "recsys")
    replace_functions(connection, "recsys")
    connection.commit()
    with transaction(connection) as cursor:
        # The lock is held by the session, over all the transactions of this publication, and ends with the connection.
        cursor.execute("SELECT pg_try_advisory_lock(hashtext('steam-recsys:recsys.publish'))")
        if cursor.fetchone() == (False,):
            log("reverse_etl", "another publication is under way, waiting for its end")
            cursor.execute("SELECT pg_advisory_lock(hashtext('steam-recsys:recsys.publish'))")


def _is_wanted(destinations: Destinations, version: str) -> bool:
    """Whether a version is to become current: not where that has happened, even where another was gone back to."""
    published = named(destinations.leading.kept(), version)
    if published is None:
        return True
    shown = [current(destination.kept()) for destination in destinations.all]
    return published.current and not all(each and each.version == version for each in shown)


def _load(
    missing: Sequence[Destination], made: Made, predictions: Predictions, limits: Limits
) -> dict[str, tuple[str, ...]]:
    """Make a version ready where it is missing; all rules that it was accepted by.

    Raises:
        UserError: the predictions are not as they must be, or a destination refuses the version or gave up.
    """
    acceptance = {}
    for destination in missing:
        shown = destination.shown()
        census, stored = destination.load(made, predictions, shown)
        verdict = decide(census, stored, shown, limits)
        acceptance[destination.name] = verdict.reasons
        for reason in verdict.reasons:
            log("reverse_etl", f"{destination.name}, {reason}")
        if not verdict.accepted:
            refusals = "; ".join(rule.finding for rule in verdict.refusals)
            raise UserError(
                f"Version {made.version} is not accepted, {refusals}: extract a new snapshot and predict again, or "
                f"set the limit where the change is meant."
            )
    return acceptance


def _clean_up(connection: Connection, destinations: Destinations) -> None:
    """Drop what was not finished, unless the turn is another's already; what is left, the next publication drops."""
    with suppress(Exception):
        with transaction(connection) as cursor:
            cursor.execute("SELECT")
        for destination in destinations.all:
            destination.drop_unfinished()
