"""Where versions are published: PostgreSQL, MongoDB, or both as one.

Both switch or neither does. PostgreSQL's views are repointed in a transaction; while it is open, MongoDB's pointer is
set; then the transaction is committed. So PostgreSQL decides: what refuses its switch, as a reader who does not end,
does so before MongoDB changes, and where MongoDB refuses, the transaction is rolled back. Between the pointer and the
commit, for the milliseconds of one round trip, a reader of MongoDB sees the new version while readers of PostgreSQL
wait. A process that is killed just there leaves MongoDB ahead: each of the two still shows one complete version.
`reconcile`, which every publication and rollback begins with, sets it back to the version that PostgreSQL shows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from steam_recsys.database.connection import Connection, Cursor, connect
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.publications.postgres.destination import PostgresDestination
from steam_recsys.publications.postgres.switch import (
    SWITCH_PATIENCE_SECONDS,
    current_version,
    lock_switches,
    transaction,
)
from steam_recsys.publications.predictions import Predictions
from steam_recsys.publications.version_stats import Shown, VersionStats
from steam_recsys.publications.versions import Choice, KeptVersion, VersionInfo, named


class Destination(Protocol):
    """A place that keeps versions and shows one of them."""

    name: str

    def kept(self) -> list[KeptVersion]:
        """The versions that can be made current, the newest publication first."""

    def shown(self) -> Shown | None:
        """The version that readers see; None before the first publication."""

    def first_games(self, version: str, users: Sequence[int], k: int) -> dict[int, list[int]]:
        """The k first games of some users in a kept version; those without recommendations in it are left out."""

    def popular_games(self, version: str) -> list[int]:
        """The overall list of a kept version, the most popular first."""

    def load(self, made: VersionInfo, predictions: Predictions, shown: Shown | None) -> tuple[VersionStats, int]:
        """Make a version ready for the switch, indexes included, with nobody seeing it.

        Returns:
            What was counted on the way, and the users that the destination says it holds now.

        Raises:
            UserError: the predictions are not as they must be, or the destination gave up.
        """

    def drop_unfinished(self) -> None:
        """Drop all versions that never became current: no other publication is under way."""

    def drop(self, versions: Sequence[str]) -> None:
        """Drop versions that are not current; one that is still being read may be left to the next publication."""


class Pointer(Destination, Protocol):
    """A destination whose switch is one write."""

    def point_to(self, version: str) -> None:
        """Make a version current, where it is not already.

        Raises:
            UserError: it is not there.
        """


class Transactional(Destination, Protocol):
    """A destination whose switch can still be undone when another has switched."""

    def switching(self, choose: Choice) -> AbstractContextManager[str]:
        """Make a version current when the body ends, unless that raises; readers wait while it runs."""


PUBLISH_TO = ("postgresql", "mongodb", "both")


@dataclass(frozen=True)
class DestinationConfig:
    """Where to publish, by references to secrets.

    Attributes:
        database: of the shop's PostgreSQL, as `env:DATABASE_URL`: it says what users and games there are, and its locks
            keep publications apart, wherever they go.
        publish_to: postgresql, mongodb or both.
        mongodb: of MongoDB, as `env:MONGODB_URL`; only asked for where it is published to.
    """

    database: str
    publish_to: str = "postgresql"
    mongodb: str = "env:MONGODB_URL"


class Destinations:
    """The open destinations of one publication."""

    def __init__(
        self, places: DestinationConfig, connection: Connection, postgres: Transactional | None, mongo: Pointer | None
    ) -> None:
        """Take what is published to, at least one of the two."""
        self._places = places
        self._connection = connection
        self._postgres = postgres
        self._mongo = mongo
        self.all: tuple[Destination, ...] = tuple(each for each in (postgres, mongo) if each is not None)

    @property
    def leading(self) -> Destination:
        """The one whose versions count where two differ: PostgreSQL, if it is published to."""
        return self.all[0]

    def switch(self, choose: Choice) -> str:
        """Make one version current everywhere, or nowhere.

        Args:
            choose: chooses it from those that the leading destination keeps, while no other switch is under way.

        Returns:
            The version that is current now.

        Raises:
            UserError: a destination refused it.
        """
        if self._postgres is None:
            with self._no_other_switch():
                version = choose(self.leading.kept())
                self._point_to(version)
                return version
        try:
            with self._postgres.switching(choose) as version:
                self._point_to(version)
            return version
        except BaseException:
            if self._mongo is not None:
                with suppress(UserError), open_destinations(self._places) as fresh:  # else the next run sets it right
                    fresh.reconcile()
            raise

    def reconcile(self) -> str | None:
        """Bring MongoDB to the version that PostgreSQL shows, after a switch that was cut off between the two.

        Where MongoDB does not keep that version, as before the first publication to both, it stays as it is.

        Returns:
            The version that PostgreSQL shows; None before the first publication.
        """
        if self._postgres is None or self._mongo is None:
            return None
        with self._no_other_switch() as cursor:
            ours = current_version(cursor)
            kept = self._mongo.kept()
            theirs = named(kept, ours) if ours else None
            if theirs and not theirs.current:
                self._mongo.point_to(theirs.version)
                log("reverse_etl", f"MongoDB is at {ours} again, as PostgreSQL is: a switch of both was cut off")
        return ours

    @contextmanager
    def _no_other_switch(self) -> Iterator[Cursor]:
        with transaction(self._connection) as cursor:
            lock_switches(cursor, round(1000 * SWITCH_PATIENCE_SECONDS))  # no reader waits behind this
            yield cursor

    def _point_to(self, version: str) -> None:
        if self._mongo is not None:
            self._mongo.point_to(version)


@contextmanager
def open_destinations(places: DestinationConfig, connection: Connection | None = None) -> Iterator[Destinations]:
    """The destinations of those places, over an open connection to the shop's database or one of their own.

    Raises:
        UserError: a place is unknown, or cannot be reached, or gives up in the body.
    """
    if places.publish_to not in PUBLISH_TO:
        raise UserError(f"publish_to is {places.publish_to!r}: choose one of {', '.join(PUBLISH_TO)}.")
    with ExitStack() as stack:
        if connection is None:
            connection = stack.enter_context(connect(places.database, application="steam-recsys versions"))
        postgres = mongo = None
        if places.publish_to != "mongodb":
            postgres = PostgresDestination(connection, places.database)
        if places.publish_to != "postgresql":
            from steam_recsys.publications.mongo.destination import open_mongo  # not there unless it is published to

            mongo = stack.enter_context(open_mongo(places.mongodb, places.database))
        yield Destinations(places, connection, postgres, mongo)
