"""Look at the published versions, make an earlier one current again, and reconcile two destinations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from steam_recsys.database.connection import connect, require_schema
from steam_recsys.errors import UserError
from steam_recsys.publications.destinations import DestinationConfig, Destinations, open_destinations
from steam_recsys.publications.versions import KeptVersion, named, rollback_target


def rollback(places: DestinationConfig, version: str | None = None) -> str:
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


def reconcile(places: DestinationConfig) -> str | None:
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


def kept_versions(places: DestinationConfig) -> dict[str, list[KeptVersion]]:
    """The versions that are kept, the newest publication first, by destination.

    Raises:
        UserError: nothing was ever published to this database, or a destination gave up.
    """
    with _published(places) as destinations:
        return {destination.name: destination.kept() for destination in destinations.all}


@contextmanager
def _published(places: DestinationConfig) -> Iterator[Destinations]:
    with connect(places.database, application="steam-recsys versions") as connection:
        require_schema(connection, "recsys")
        connection.commit()
        with open_destinations(places, connection) as destinations:
            yield destinations
