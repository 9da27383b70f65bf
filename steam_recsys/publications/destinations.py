"""The destinations of versions: PostgreSQL, MongoDB, or both as one; and rolling them back to an earlier version.

Both switch or neither does. A transaction repoints PostgreSQL's views; while it is open, MongoDB's pointer is set; then
the transaction is committed. So PostgreSQL decides: if it cannot switch, for example because of a reader's long
transaction, it fails before MongoDB changes, and if MongoDB fails, the transaction is rolled back. Between the pointer
and the commit, for the milliseconds of one round trip, readers of MongoDB see the new version while readers of
PostgreSQL wait. If the process is killed in between, MongoDB is ahead: each of the two still shows a complete version.
`reconcile`, with which every publication and every rollback begins, sets MongoDB back to PostgreSQL's version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Protocol

from steam_recsys.data.predictions import Predictions
from steam_recsys.database.connection import Cursor, connect, create_schema, require_schema
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.publications.lease import VERSIONS_APPLICATION, Lease
from steam_recsys.publications.loading import CurrentVersion, Stored, VersionStats
from steam_recsys.publications.postgres import (
    SWITCH_PATIENCE_SECONDS,
    PostgresDestination,
    lock_switches,
    read_current_version,
)
from steam_recsys.publications.updates import VersionUpdate
from steam_recsys.publications.versions import (
    Choice,
    KeptVersion,
    VersionInfo,
    find_current,
    find_version,
    rollback_target,
)

PUBLISH_TO = ("postgresql", "mongodb", "both")


@dataclass(frozen=True)
class DestinationConfig:
    """Where to publish, by references to secrets.

    Attributes:
        database: Reference to the URL of the shop's PostgreSQL, such as `env:DATABASE_URL`. It knows the users and the
            games, and its lease keeps publications apart, wherever they go.
        publish_to: postgresql, mongodb or both.
        mongodb: Reference to MongoDB's URL, such as `env:MONGODB_URL`; read only to publish there.
    """

    database: str
    publish_to: str = "postgresql"
    mongodb: str = "env:MONGODB_URL"


class Destination(Protocol):
    """A database that keeps versions and shows one of them."""

    name: str

    def kept_versions(self) -> list[KeptVersion]:
        """The versions that can be made current, the newest publication first."""

    def current_version(self) -> CurrentVersion | None:
        """The version that readers see; None before the first publication."""

    def first_games(self, version: str, users: Sequence[int], k: int) -> dict[int, list[int]]:
        """The first k relevant games of some users in a kept version; users without recommendations are left out.

        They are those that were published, at most `FIRST_GAMES` of a user whose lists have been refreshed since.
        """

    def popular_games(self, version: str) -> list[int]:
        """The overall list of popular games of a kept version as it was published, the most popular first."""

    def load(
        self, info: VersionInfo, predictions: Predictions, current: CurrentVersion | None
    ) -> tuple[VersionStats, Stored]:
        """Load a version, indexes included, without showing it to readers.

        Args:
            info: The new version.
            predictions: Its recommendations.
            current: The version that readers see, to compare with.

        Returns:
            The counts, and what the destination says it holds.

        Raises:
            UserError: The predictions are invalid, or the destination failed.
        """

    def drop_unfinished(self) -> None:
        """Drop all versions that never became current, while no other publication is running."""

    def drop(self, versions: Sequence[str]) -> None:
        """Drop versions that are not current. A version that is being read may be left to the next publication."""


class PointerDestination(Destination, Protocol):
    """A destination that switches with one write."""

    def point_to(self, version: str) -> None:
        """Make a version current, unless it already is.

        Raises:
            UserError: The version is missing.
        """

    def update(self, update: VersionUpdate, keep_out: Callable[[], None]) -> None:
        """Update a version; each user's lists change at once.

        Args:
            update: The update.
            keep_out: Raises unless this process still keeps other switches and refreshes out.
        """


class TransactionalDestination(Destination, Protocol):
    """A destination whose switch can be undone until it is committed."""

    def update(self, cursor: Cursor, update: VersionUpdate) -> None:
        """Update the current version; readers see it when the cursor's transaction is committed."""

    def switching(self, choose: Choice) -> AbstractContextManager[str]:
        """Make a version current when the body ends, unless it raises; readers wait while it runs."""


class Destinations:
    """The open destinations of one publication."""

    def __init__(
        self,
        config: DestinationConfig,
        postgres: TransactionalDestination | None,
        mongo: PointerDestination | None,
        lease: Lease | None = None,
    ) -> None:
        """Take the open destinations, at least one of the two, and the lease of the publication."""
        self._config = config
        self._postgres = postgres
        self._mongo = mongo
        self._lease = lease
        self.all: tuple[Destination, ...] = tuple(each for each in (postgres, mongo) if each is not None)

    @property
    def primary(self) -> Destination:
        """The destination that decides if the two differ: PostgreSQL, if it is published to."""
        return self.all[0]

    def switch(self, choose: Choice) -> str:
        """Make one version current in all destinations, or in none.

        Args:
            choose: Chooses it from the versions that the primary destination keeps, while no other switch is running.

        Returns:
            The version that is current now.

        Raises:
            UserError: A destination failed.
        """
        if self._postgres is None:
            with self._no_other_switch():
                version = choose(self.primary.kept_versions())
                self._point_to(version)
                return version
        try:
            with self._postgres.switching(choose) as version:
                self._point_to(version)
            return version
        except BaseException:
            if self._mongo is not None:
                with suppress(UserError), open_destinations(self._config) as fresh:  # else the next run reconciles
                    fresh.reconcile()
            raise

    def update(self, update: VersionUpdate) -> bool:
        """Update the current version in all destinations, unless another process has changed it meanwhile.

        Switches and other refreshes wait. PostgreSQL is updated in one transaction, which is committed last: until then
        the next refresh repeats what MongoDB already has.

        Returns:
            Whether it was updated; False if another version is current, or if it knows another snapshot than
            `update.before`.

        Raises:
            UserError: A destination failed.
        """
        with self._no_other_switch() as cursor:
            current = find_current(self.primary.kept_versions())
            if current is None or (current.version, current.newest_snapshot_id) != (update.version, update.before):
                return False
            if self._mongo is not None:
                self._mongo.update(update, lambda: cursor.execute("SELECT 1"))
            if self._postgres is not None:
                self._postgres.update(cursor, update)
        return True

    def reconcile(self) -> str | None:
        """Bring MongoDB to PostgreSQL's current version, after a switch that was interrupted between the two.

        If MongoDB does not keep that version, as before the first publication to both, MongoDB stays as it is.

        Returns:
            PostgreSQL's current version; None before the first publication.
        """
        if self._postgres is None or self._mongo is None:
            return None
        with self._no_other_switch() as cursor:
            current = read_current_version(cursor)
            in_mongo = find_version(self._mongo.kept_versions(), current) if current else None
            if in_mongo and not in_mongo.current:
                self._mongo.point_to(in_mongo.version)
                log("reverse_etl", f"set MongoDB back to {current}, as PostgreSQL: a switch of both was interrupted")
        return current

    @contextmanager
    def _no_other_switch(self) -> Iterator[Cursor]:
        connected = connect(self._config.database, application=VERSIONS_APPLICATION)
        with connected as connection, connection.cursor() as cursor:
            if self._lease is not None:
                self._lease.check(cursor)
            lock_switches(cursor, round(1000 * SWITCH_PATIENCE_SECONDS))  # no reader waits for this lock
            yield cursor

    def _point_to(self, version: str) -> None:
        if self._mongo is not None:
            self._mongo.point_to(version)


@contextmanager
def open_destinations(config: DestinationConfig, lease: Lease | None = None) -> Iterator[Destinations]:
    """Open the destinations.

    Args:
        config: Destinations to open.
        lease: The lease of the publication; None to read, or to switch between kept versions.

    Raises:
        UserError: A destination is unknown, cannot be reached, or fails in the body.
    """
    if config.publish_to not in PUBLISH_TO:
        raise UserError(f"publish_to is {config.publish_to!r}: choose one of {', '.join(PUBLISH_TO)}.")
    with ExitStack() as stack:
        postgres = mongo = None
        if config.publish_to != "mongodb":
            postgres = PostgresDestination(config.database, lease)
        if config.publish_to != "postgresql":
            from steam_recsys.publications.mongo import open_mongo  # needed only to publish there

            mongo = stack.enter_context(open_mongo(config.mongodb, config.database, lease))
        yield Destinations(config, postgres, mongo, lease)


def rollback(config: DestinationConfig, version: str | None = None) -> str:
    """Make a kept version current again, in all destinations or in none.

    Args:
        config: Destinations that keep it.
        version: Version to make current. None takes, of those published before the current one, the one that was
            current last.

    Returns:
        The version that is current now.

    Raises:
        UserError: The version is not kept, no earlier version exists, or a destination cannot switch.
    """
    with _open_published(config) as destinations:
        destinations.reconcile()
        return destinations.switch(lambda kept: rollback_target(kept, version))


def reconcile(config: DestinationConfig) -> str | None:
    """Bring MongoDB to PostgreSQL's current version, after a switch of both that was interrupted; that version.

    Raises:
        UserError: Nothing was published to this database yet, MongoDB does not keep that version, or a destination
            failed.
    """
    with _open_published(config) as destinations:
        version = destinations.reconcile()
        if version and not all(find_version(each.kept_versions(), version) for each in destinations.all):
            raise UserError(f"MongoDB does not keep {version}, which PostgreSQL shows: publish to both again.")
        return version


def kept_versions(config: DestinationConfig) -> dict[str, list[KeptVersion]]:
    """The kept versions, the newest publication first, by destination.

    Raises:
        UserError: Nothing was published to this database yet, or a destination failed.
    """
    with _open_published(config) as destinations:
        return {destination.name: destination.kept_versions() for destination in destinations.all}


def is_published(config: DestinationConfig, version: str) -> bool:
    """Return whether all destinations keep a version, current or not, so that it need not be predicted again.

    The schema `recsys` is created if it is missing.

    Raises:
        UserError: A destination failed.
    """
    with connect(config.database, application=VERSIONS_APPLICATION) as connection:
        create_schema(connection, "recsys")
    with open_destinations(config) as destinations:
        return all(find_version(each.kept_versions(), version) for each in destinations.all)


@contextmanager
def _open_published(config: DestinationConfig) -> Iterator[Destinations]:
    with connect(config.database, application=VERSIONS_APPLICATION) as connection:
        require_schema(connection, "recsys")
    with open_destinations(config) as destinations:
        yield destinations
