"""The stage: publish predictions as a version, and make it current once it is complete and accepted.

A version is loaded without being shown, and becomes current in a short switch. Until then readers see the version that
they saw before, and what a dead run left is dropped by the next one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from components.reverse_etl.acceptance import DEFAULT, Thresholds, decide
from steam_recsys.data.predictions import Predictions
from steam_recsys.database.connection import connect, create_schema, replace_functions, require_schema
from steam_recsys.errors import UserError
from steam_recsys.logging import log
from steam_recsys.publications.destinations import Destination, DestinationConfig, Destinations, open_destinations
from steam_recsys.publications.lease import APPLICATION, publishing_lease
from steam_recsys.publications.versions import VersionInfo, check_name, expired_versions, find_current, find_version
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import clean_up, remove_artifact


@dataclass(frozen=True)
class Publication:
    """What a publication did.

    Attributes:
        version: Version that was published.
        users: Number of users with personal recommendations.
        rows: Number of recommended games, summed over the users and their lists.
        overlap, coverage, popular_ten: How personal the version is, as in `Personalisation`; None if it is not known.
        switched: Whether it became current now; False if it had been published before.
        seconds: Wall time.
        acceptance: Rules that it was accepted by, with their outcomes, by destination.
    """

    version: str
    users: int
    rows: int
    overlap: float | None
    coverage: float | None
    popular_ten: float | None
    switched: bool
    seconds: float
    acceptance: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """The same as plain values, for the journal and artifacts."""
        return asdict(self)


def publish(
    config: DestinationConfig,
    predictions: str,
    info: VersionInfo,
    ranges: Sequence[tuple[int, int]],
    thresholds: Thresholds = DEFAULT,
) -> Publication:
    """Publish predictions as a version, make it current, and remove the predictions.

    A version that was published before is not made current again: a retry does not undo a rollback. A version that a
    dead run left unfinished is started over. In any case, old versions are dropped. Publications at the same time take
    turns.

    Args:
        config: Destinations to publish to.
        predictions: Path or URI of a folder with `recommendations/shard-00000.parquet` and so on, in the schema
            RECOMMENDATIONS, and `popular.parquet`.
        info: The version and what it is made from.
        ranges: First and last user of each shard, in ascending order.
        thresholds: How far the version may be from the current one.

    Raises:
        UserError: The predictions are invalid, the version is not accepted, or a destination failed or cannot switch.
            The current version stays current.
    """
    started = time.perf_counter()
    check_name(info.version)
    folder = open_folder(predictions)
    acceptance: dict[str, tuple[str, ...]] = {}
    _prepare_schema(config.database)
    # 1. Wait for other publications to end.
    with (
        publishing_lease(config.database, info.version) as lease,
        open_destinations(config, lease) as destinations,
    ):
        # 2. Clean up after a killed run.
        destinations.reconcile()
        for destination in destinations.all:
            destination.drop_unfinished()
        switched = _is_wanted(destinations, info.version)
        if switched:
            # 3. Load the version and check it, in each destination that does not have it.
            missing = [each for each in destinations.all if not find_version(each.kept_versions(), info.version)]
            if missing:
                opened = Predictions.open(folder, ranges)
                try:
                    acceptance = _load(missing, info, opened, thresholds)
                except Exception:
                    _clean_up(destinations)
                    raise
            # 4. Make it current everywhere.
            destinations.switch(lambda kept: info.version)
        published = find_version(destinations.primary.kept_versions(), info.version)
        # 5. Drop old versions, also those that a run left when it was killed after its switch.
        for destination in destinations.all:
            destination.drop(expired_versions(destination.kept_versions()))
    assert published is not None  # it was there before, or it is there now
    # 6. Remove the predictions.
    with clean_up("reverse_etl", f"the predictions in {folder.uri}"):
        remove_artifact(folder)
    seconds = round(time.perf_counter() - started, 3)
    done = Publication(
        version=info.version,
        users=published.users,
        rows=published.rows,
        overlap=published.overlap,
        coverage=published.coverage,
        popular_ten=published.popular_ten,
        switched=switched,
        seconds=seconds,
        acceptance=acceptance,
    )
    outcome = "is current" if switched else "was published before, the current version stays"
    log("reverse_etl", f"version {info.version} {outcome}: {done.users:,} users, {done.rows:,} recommended games")
    return done


def _prepare_schema(database: str) -> None:
    """Create the schema if it is missing, and update its functions."""
    with connect(database, application=APPLICATION) as connection:
        require_schema(connection, "steam")
        create_schema(connection, "recsys")
        replace_functions(connection, "recsys")


def _is_wanted(destinations: Destinations, version: str) -> bool:
    """Return whether to make a version current: if it is new, or if a switch stopped between two destinations.

    A version that was current before, and from which an operator has rolled back, does not become current again.
    """
    published = find_version(destinations.primary.kept_versions(), version)
    if published is None:
        return True
    current = [find_current(destination.kept_versions()) for destination in destinations.all]
    return published.current and not all(each and each.version == version for each in current)


def _load(
    missing: Sequence[Destination], info: VersionInfo, predictions: Predictions, thresholds: Thresholds
) -> dict[str, tuple[str, ...]]:
    """Load a version where it is missing; the rules that accepted it, by destination.

    Raises:
        UserError: The predictions are invalid, the version is not accepted, or a destination failed.
    """
    acceptance = {}
    for destination in missing:
        current = destination.current_version()
        if current:
            current = current.without_control_group(info.control_share)
        stats, stored = destination.load(info, predictions, current)
        verdict = decide(stats, stored, current, thresholds)
        acceptance[destination.name] = verdict.sentences
        for sentence in verdict.sentences:
            log("reverse_etl", f"{destination.name}: {sentence}")
        if not verdict.passed:
            failures = " ".join(map(str, verdict.failures))
            raise UserError(
                f"Version {info.version} is not accepted. {failures} Extract a new snapshot and predict again; if the "
                f"change is intended, set the threshold for one run."
            )
    return acceptance


def _clean_up(destinations: Destinations) -> None:
    """Drop what is unfinished, unless the database or the lease is lost: then the next publication does."""
    with suppress(UserError):
        for destination in destinations.all:
            destination.drop_unfinished()
