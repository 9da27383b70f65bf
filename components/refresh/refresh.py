"""The stage: bring the current publication up to a snapshot.

Users who have reviewed since get new lists from the publication's own model, and visitors get new fallback lists. All
others keep theirs until the next publication, and users of the control group still have none. The publication names
the snapshot that it was brought up to, and the store keeps the counts of its reviews, so that the next refresh reads
only what has changed since.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from components.refresh.changes import Changes, last_day
from components.refresh.dismissals import read_dismissals_of
from components.refresh.reviews import read_reviews_of
from steam_recsys.arrays import Int32Array, Int64Array
from steam_recsys.data.games import GAME_COLUMNS, available, release_days
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import UNDATED, Reviews, date_of, to_interactions
from steam_recsys.data.schemas import POPULAR_LIST, RECOMMENDATIONS
from steam_recsys.data.snapshot import SNAPSHOTS_FOLDER, Snapshot, newest_manifest
from steam_recsys.database.connection import connect, create_schema
from steam_recsys.errors import ArtifactError, UserError
from steam_recsys.logging import log
from steam_recsys.model.batch import BATCH_USERS, BatchRecommender, catalogue_table
from steam_recsys.model.fallback_lists import fallback_lists
from steam_recsys.model.game_counts import StoredCounts, remove_counts, stored_counts
from steam_recsys.model.lists import new_releases
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.publications.control_group import in_control_group
from steam_recsys.publications.destinations import DestinationConfig, Destinations, open_destinations
from steam_recsys.publications.updates import VersionUpdate
from steam_recsys.publications.versions import KeptVersion, find_current
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import clean_up
from steam_recsys.storage.model_store import model_uri

MAX_USERS = 100_000
"""Users whose lists are made in memory, of about 10 KB each. After more changes, as an import, run inference."""

MIN_SHARE = 0.5
"""Share of the reviews and users that must be left. With fewer, the source may be in the middle of a reload."""

TRIES = 5
"""How often a refresh starts over because another version has become current, or another refresh was faster."""


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did.

    Attributes:
        version: The version that is current; None before the first publication.
        outcome: `refreshed`, or why there was nothing to do.
        users: Number of users with new lists, those who left the shop included.
        added, removed: Number of reviews that were added and removed; a changed review counts as both.
        new_games: Number of games that the version did not know.
        seconds: Wall time by step.
    """

    version: str | None
    outcome: str
    users: int = 0
    added: int = 0
    removed: int = 0
    new_games: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        """Return plain values for the journal and artifacts."""
        return asdict(self)


def refresh_publication(snapshot: str, source: str, store: str, config: DestinationConfig) -> Refreshed:
    """Bring the current publication up to a snapshot.

    It does nothing if no version is published, if the version knows the snapshot already or a later one, if the store
    no longer has the snapshot that the version knows, if fewer than `MIN_SHARE` of that snapshot's reviews or users are
    left, or if more than `MAX_USERS` users have new, changed or deleted reviews. If another version becomes current
    meanwhile, or if another refresh is faster, it starts over.

    Args:
        snapshot: Folder of the snapshot.
        source: Reference to the URL of the shop's database, or of a replica, to read users' reviews from.
        store: Store with the snapshots, the models and the counts.
        config: Destinations of the publication.

    Raises:
        UserError: A destination or the store failed, a file of the store is missing or damaged, or other versions
            became current `TRIES` times.
    """
    later = Snapshot.open(snapshot)
    with connect(config.database, application="steam-recsys refresh") as connection:
        create_schema(connection, "recsys")
    with open_destinations(config) as destinations:
        destinations.reconcile()
        for _ in range(TRIES):
            current = find_current(destinations.primary.kept_versions())
            try:
                done = _refresh(current, later, source, store, config, destinations)
            except ArtifactError:  # another refresh, or a publication, has removed what this one reads
                if find_current(destinations.primary.kept_versions()) == current:
                    raise
                done = None
            if done is not None:
                log("refresh", f"version {done.version}: {done.outcome}, {done.users:,} users with new lists")
                return done
            log("refresh", "the current version has changed meanwhile: starting over")
    raise UserError(f"The current version changed {TRIES} times during the refresh: run it again.")


def _refresh(
    current: KeptVersion | None,
    later: Snapshot,
    source: str,
    store: str,
    config: DestinationConfig,
    destinations: Destinations,
) -> Refreshed | None:
    """Bring a version up to a snapshot; None if it has changed meanwhile."""
    clock = _Clock()
    # 1. Find the snapshot that the version knows.
    if current is None:
        return Refreshed(None, "nothing has been published yet")
    earlier, reason = _earlier_snapshot(store, current, later)
    if earlier is None:
        return Refreshed(current.version, reason)

    # 2. Find the reviews that have changed, and read all reviews of their users.
    changes = Changes.between(earlier, later, MAX_USERS)
    clock.lap("changes")
    if changes is None:
        return Refreshed(
            current.version, f"more than {MAX_USERS:,} users have new, changed or deleted reviews: run inference"
        )
    reviews, users = read_reviews_of(source, changes.users, last_day(later))
    clock.lap("reviews")

    # 3. Count them.
    old = stored_counts(store, current.version) - {current.newest_snapshot_id}
    before = StoredCounts.read(store, current.version, current.newest_snapshot_id)
    games = later.table("games", ["name", *GAME_COLUMNS, "delisted_on"]).sort_by("game_id")
    counts = _update_counts(before, changes, games["game_id"].to_numpy(), reviews)
    clock.lap("counts")

    # 4. Recommend games to the users, except to those of the control group, and to visitors.
    can_recommend = available(games, date_of(counts.as_of) if counts.as_of else None)
    catalogue = catalogue_table(games.drop_columns("name"), counts.counts, can_recommend)
    model = TwoTowerArrays.load(model_uri(store, current.model_version))
    recommender = BatchRecommender.from_catalogue(model, catalogue, counts.as_of, counts.new_release_days)
    served = users[~in_control_group(users, current.control_share)]
    histories = Histories.of_users(served, to_interactions(reviews), counts.game_ids)
    histories = histories.select(histories.games >= 0)  # a reviewed game may be newer than the snapshot
    recommendations = _recommend(recommender, histories, read_dismissals_of(config.database, served))
    new = new_releases(release_days(games), counts.as_of, counts.new_release_days)
    popular = fallback_lists(games, later.table("rankings"), counts.counts, can_recommend, new)
    clock.lap("recommendations")

    # 5. Write them, unless the version has changed meanwhile.
    counts.write(store, current.version, later.manifest.snapshot_id)
    update = VersionUpdate(
        version=current.version,
        before=current.newest_snapshot_id,
        snapshot_id=later.manifest.snapshot_id,
        users=changes.users[~in_control_group(changes.users, current.control_share)],
        recommendations=recommendations,
        popular=popular if POPULAR_LIST in popular["list"].unique().to_pylist() else None,
    )
    if not destinations.update(update):
        return None
    clock.lap("writing")

    # 6. Remove the counts that were old when it began: another refresh may be writing new ones.
    with clean_up("refresh", f"old counts of version {current.version}"):
        remove_counts(store, current.version, old - {update.snapshot_id})
    return Refreshed(
        version=current.version,
        outcome="refreshed",
        users=len(update.users),
        added=len(changes.added),
        removed=len(changes.removed),
        new_games=int(np.count_nonzero(~np.isin(counts.game_ids, before.game_ids))),
        seconds=clock.seconds,
    )


def _earlier_snapshot(store: str, current: KeptVersion, later: Snapshot) -> tuple[Snapshot | None, str]:
    """Return the snapshot that a version knows; None if there is nothing to do, and why."""
    known = current.newest_snapshot_id
    if known == later.manifest.snapshot_id:
        return None, "nothing has changed"
    if newest_manifest(open_folder(f"{store.rstrip('/')}/{SNAPSHOTS_FOLDER}"), known) is None:
        return None, f"the store has no snapshot {known} any more, the next publication is fresh again"
    earlier = Snapshot.from_store(store, known)
    taken, later_taken = (datetime.fromisoformat(each.manifest.extracted_at) for each in (earlier, later))
    if later_taken <= taken:
        return None, "it knows a later snapshot already"
    for table in ("reviews", "users"):
        if later.manifest.rows(table) < MIN_SHARE * earlier.manifest.rows(table):
            return None, f"fewer than half of the {table} are left: run inference"
    return earlier, ""


def _update_counts(before: StoredCounts, changes: Changes, game_ids: Int32Array, reviews: Reviews) -> StoredCounts:
    """Count on from a version's counts, for the games of a later snapshot."""
    newest = int(changes.added["reviewed_on"].max(initial=UNDATED))
    as_of = max(before.as_of, newest + 1)
    aged = before.counts.select(before.game_ids, game_ids).older(as_of - before.as_of)
    return replace(before, game_ids=game_ids, counts=changes.update(aged, game_ids, as_of, reviews), as_of=as_of)


def _recommend(
    recommender: BatchRecommender, histories: Histories, dismissed: tuple[Int64Array, Int32Array]
) -> pa.Table:
    batches = [
        recommender.recommend(histories.take(np.arange(start, min(start + BATCH_USERS, len(histories)))), dismissed)
        for start in range(0, len(histories), BATCH_USERS)
    ]
    return pa.concat_tables([RECOMMENDATIONS.empty_table(), *batches])


class _Clock:
    """The seconds of each step."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def lap(self, step: str) -> None:
        """End a step."""
        now = time.perf_counter()
        self.seconds[step], self._last = round(now - self._last, 3), now
