"""List the published versions, roll back to an earlier one, and reconcile two destinations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from steam_recsys.database.connection import connect, require_schema
from steam_recsys.errors import UserError
from steam_recsys.publications.destinations import DestinationConfig, Destinations, open_destinations
from steam_recsys.publications.versions import KeptVersion, find_version, rollback_target


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


@contextmanager
def _open_published(config: DestinationConfig) -> Iterator[Destinations]:
    with connect(config.database, application="steam-recsys versions") as connection:
        require_schema(connection, "recsys")
        connection.commit()
        with open_destinations(config, connection) as destinations:
            yield destinations
