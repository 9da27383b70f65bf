"""The stage: predictions → a version, made current when it is complete and accepted.

A version is made ready with nobody seeing it, and becomes current in a short switch. Whatever happens before that
leaves the readers with the version that they had, and what a dead run left is dropped by the next.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from components.reverse_etl.acceptance import DEFAULT, Thresholds, decide
from steam_recsys.database.connection import Connection, create_schema, replace_functions, require_schema
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.publications.destinations import Destination, DestinationConfig, Destinations, open_destinations
from steam_recsys.publications.postgres.connections import publishing_connection
from steam_recsys.publications.postgres.switch import transaction
from steam_recsys.publications.predictions import Predictions
from steam_recsys.publications.versions import (
    VersionInfo,
    check_name,
    current,
    expired,
    named,
)
from steam_recsys.storage.folder import open_folder


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
    places: DestinationConfig,
    predictions: str,
    made: VersionInfo,
    ranges: Sequence[tuple[int, int]],
    thresholds: Thresholds = DEFAULT,
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
        thresholds: Acceptance's parameters.

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
                        acceptance = _load(missing, made, opened, thresholds)
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
    missing: Sequence[Destination], made: VersionInfo, predictions: Predictions, thresholds: Thresholds
) -> dict[str, tuple[str, ...]]:
    """Make a version ready where it is missing; all rules that it was accepted by.

    Raises:
        UserError: the predictions are not as they must be, or a destination refuses the version or gave up.
    """
    acceptance = {}
    for destination in missing:
        shown = destination.shown()
        stats, stored = destination.load(made, predictions, shown)
        verdict = decide(stats, stored, shown, thresholds)
        acceptance[destination.name] = verdict.sentences
        for sentence in verdict.sentences:
            log("reverse_etl", f"{destination.name}: {sentence}")
        if not verdict.passed:
            failures = " ".join(map(str, verdict.failures))
            raise UserError(
                f"Version {made.version} is not accepted. {failures} Extract a new snapshot and predict again; if the "
                f"change is intended, set the threshold for one run."
            )
    return acceptance


def _clean_up(connection: Connection, destinations: Destinations) -> None:
    """Drop what was not finished, unless the turn is another's already; what is left, the next publication drops."""
    with suppress(Exception):
        with transaction(connection) as cursor:
            cursor.execute("SELECT")
        for destination in destinations.all:
            destination.drop_unfinished()
