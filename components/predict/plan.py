"""The plan of a publication: its version, its shards of users, its catalogue and its fallback lists.

`plan_predictions` writes everything that the shards are predicted from, except the model, so that a shard reads only
its own histories. These files are an artifact, whose manifest is written last. Users without a history get a fallback
list: the games that are popular now, overall or in a genre.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.predict.dismissals import Dismissals
from steam_recsys import code_version
from steam_recsys.arrays import Int32Array, Int64Array
from steam_recsys.data.games import GAME_COLUMNS, available, release_days
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import (
    REVIEW_COLUMNS,
    REVIEW_DTYPE,
    UNDATED,
    Interactions,
    date_of,
    newest_day,
    no_reviews,
    read_reviews,
    review_rows,
    to_interactions,
)
from steam_recsys.data.popularity import DECAYS, popularity_as_of
from steam_recsys.data.predictions import (
    CATALOGUE_FILE,
    PLAN_FILE,
    POPULAR_FILE,
    Plan,
    histories_name,
    open_plan,
    predictions_uri,
)
from steam_recsys.data.schemas import HISTORIES, list_array
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import ArtifactError, UserError
from steam_recsys.logging import log, progress
from steam_recsys.model.batch import catalogue_table
from steam_recsys.model.fallback_lists import fallback_lists
from steam_recsys.model.game_counts import GameCounts, StoredCounts
from steam_recsys.model.lists import NEW_RELEASE_DAYS, ReviewCounts, new_releases
from steam_recsys.publications.control_group import check_control_share
from steam_recsys.publications.destinations import DestinationConfig, is_published
from steam_recsys.storage.folder import open_folder
from steam_recsys.storage.manifest import ArtifactWriter
from steam_recsys.storage.model_store import champion

ROW_GROUP_USERS = 8192
"""Users per row group of a file of histories: as many as a shard reads and answers at a time."""

PROGRESS_REVIEWS = 10_000_000


def plan_predictions(
    snapshot: str | Path,
    store: str,
    users_per_shard: int,
    new_release_days: int = NEW_RELEASE_DAYS,
    control_share: float = 0.0,
    config: DestinationConfig | None = None,
) -> Plan:
    """Plan a publication and write its catalogue, fallback lists and histories to the store.

    Memory grows with the catalogue and with the users per shard, not with the number of users. The same champion,
    snapshot, dismissed games, parameters and code give the same version: a run that is started again continues it and
    does not rewrite what is complete. For a version that is published already, nothing is written.

    Args:
        snapshot: Folder of the snapshot.
        store: Store with the champion.
        users_per_shard: Number of users per shard, at least 1.
        new_release_days: Days up to the day after the newest review in which a new release came out, at least 1.
        control_share: Share of the users who are in the control group and get no recommendations.
        config: Destinations that may have the version already, and the database in which users dismiss games; None
            plans the version in any case, and knows of no dismissed games.

    Raises:
        UserError: The model store has no champion, a parameter is out of range, or a destination failed.
    """
    # 1. Name the publication: its champion, its snapshot and its shards.
    if users_per_shard < 1:
        raise UserError(f"users_per_shard is {users_per_shard}: give a number from 1.")
    if new_release_days < 1:
        raise UserError(f"new_release_days is {new_release_days}: give a number from 1.")
    check_control_share(control_share)
    opened = Snapshot.open(snapshot)
    model_version = champion(store).version
    newest = newest_day(opened)
    as_of = 0 if newest == UNDATED else newest + 1
    dismissals = Dismissals.read(config.database) if config else Dismissals()
    plan = Plan(
        version=_version(
            as_of,
            model_version,
            opened.manifest.snapshot_id,
            dismissals.digest,
            users_per_shard,
            new_release_days,
            control_share,
        ),
        model_version=model_version,
        snapshot_id=opened.manifest.snapshot_id,
        as_of=date_of(as_of).isoformat(),
        new_release_days=new_release_days,
        control_share=control_share,
        shards=[(int(users[0]), int(users[-1])) for users in users_by_shard(opened, users_per_shard)],
    )

    # 2. Leave a version that is published, and continue a run of the same version.
    if config and is_published(config, plan.version):
        log("plan", f"publication {plan.version} is already published")
        return plan
    if _is_planned(store, plan):
        log("plan", f"publication {plan.version} is already planned")
        return plan

    # 3. Write the histories of each shard, and count the games' reviews on the way.
    writer = ArtifactWriter(open_folder(predictions_uri(store, plan.version)))
    games = opened.table("games", ["name", *GAME_COLUMNS, "delisted_on"])
    game_ids = games["game_id"].to_numpy()
    counts = _write_histories(opened, dismissals, writer, plan.shards, users_per_shard, game_ids, as_of)

    # 4. Write the catalogue with popularity, reviews and availability, and the fallback lists.
    can_recommend = available(games, None if newest == UNDATED else date_of(as_of))
    catalogue = catalogue_table(games.drop_columns("name"), counts, can_recommend)
    new = new_releases(release_days(games), as_of, new_release_days)
    lists = fallback_lists(games, opened.table("rankings"), counts, can_recommend, new)
    writer.write(CATALOGUE_FILE, _parquet(catalogue))
    writer.write(POPULAR_FILE, _parquet(lists))
    stored = StoredCounts(games["game_id"].to_numpy(), counts, as_of, new_release_days)
    stored.write(store, plan.version, plan.snapshot_id)  # for refreshes of the version

    # 5. Write the plan, and the manifest last: it says that everything else is complete.
    writer.write(PLAN_FILE, plan.content())
    writer.finish()
    log("plan", f"publication {plan.version}: model {model_version}, {len(plan.shards)} shards of users")
    return plan


def users_by_shard(snapshot: Snapshot, users_per_shard: int) -> Iterator[Int64Array]:
    """Read the user IDs of each shard, int64, ascending.

    Raises:
        UserError: The snapshot's users are not sorted by ID.
    """
    users = np.zeros(0, dtype=np.int64)
    for batch in _user_batches(snapshot):
        users = np.concatenate([users, batch["user_id"].to_numpy()])
        if (np.diff(users) <= 0).any():
            raise UserError(f"The users of the snapshot {snapshot.root} are not sorted by ID: extract it again.")
        while len(users) > users_per_shard:  # keep one to compare the next batch with
            yield users[:users_per_shard]
            users = users[users_per_shard:]
    if len(users):
        yield users


def _user_batches(snapshot: Snapshot) -> Iterator[pa.RecordBatch]:
    with snapshot.reading("users"):
        yield from snapshot.dataset("users").to_batches(batch_readahead=1, fragment_readahead=1)


class ReviewsByShard:
    """The reviews of each shard's users, in an unnamed temporary file that disappears with the process.

    Each batch of the snapshot is sorted by shard before it is written, so a shard reads one range per batch.
    """

    def __init__(self, snapshot: Snapshot, shards: Sequence[tuple[int, int]]) -> None:
        """Read all reviews once.

        Args:
            snapshot: The snapshot.
            shards: First and last user ID of each shard, ascending.
        """
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - it stays open
        self._ends: list[Int64Array] = []
        last_users = np.array([last for _, last in shards], dtype=np.int64)
        read = 0
        for batch in read_reviews(snapshot, REVIEW_COLUMNS):
            shard = np.searchsorted(last_users, batch["user_id"])
            order = np.argsort(shard, kind="stable")
            reviews = review_rows(batch)[order]
            self._file.write(reviews.data)
            self._ends.append(read + np.cumsum(np.bincount(shard, minlength=len(shards))))
            if (read + len(reviews)) // PROGRESS_REVIEWS > read // PROGRESS_REVIEWS:
                progress("plan", f"{read + len(reviews):,} reviews")
            read += len(reviews)

    def interactions(self, shard: int) -> Interactions:
        """Return the interactions of a shard's users, as `load_interactions` does."""
        parts = [no_reviews()]
        batch_start = 0
        for ends in self._ends:
            start = int(ends[shard - 1]) if shard else batch_start
            self._file.seek(start * REVIEW_DTYPE.itemsize)
            parts.append(np.fromfile(self._file, REVIEW_DTYPE, int(ends[shard]) - start))
            batch_start = int(ends[-1])
        return to_interactions(np.concatenate(parts))


def histories_table(
    users: Int64Array, interactions: Interactions, dismissed: tuple[Int64Array, Int32Array]
) -> pa.Table:
    """Build a shard's histories in the schema HISTORIES.

    Args:
        users: int64, the shard's users, ascending.
        interactions: Interactions in the order of `load_interactions`; those of other users are ignored.
        dismissed: Users, int64 [n], ascending, and the games that they have dismissed, int32 [n]; those of other users
            are ignored.
    """
    interactions = interactions.take(np.isin(interactions.users, users))
    offsets = np.append(np.searchsorted(interactions.users, users), len(interactions))
    columns = (interactions.games, interactions.recommended, interactions.hours)
    owners, games = (each[np.isin(dismissed[0], users)] for each in dismissed)
    dismissed_games = list_array(np.append(np.searchsorted(owners, users), len(owners)), pa.array(games))
    lists = [*(list_array(offsets, pa.array(column)) for column in columns), dismissed_games]
    return pa.table([pa.array(users), *lists], HISTORIES)


def _is_planned(store: str, plan: Plan) -> bool:
    """Return whether the store has a plan with all of its files; log which one is damaged."""
    try:
        planned = open_plan(store, plan.version)
    except ArtifactError:
        return False
    try:
        planned.verify()
        with planned.file(PLAN_FILE) as path:
            return path.read_bytes() == plan.content()
    except ArtifactError as error:
        log("plan", f"planned again: {error}")
        return False


def _version(
    as_of: int,
    model_version: str,
    snapshot_id: str,
    dismissals: str,
    users_per_shard: int,
    new_release_days: int,
    control_share: float,
) -> str:
    """Name a publication by the day of the newest review and a hash of its inputs."""
    parameters = f"{users_per_shard} {new_release_days} {control_share!r}"
    inputs = f"{model_version} {snapshot_id} {dismissals} {code_version()} {parameters}"
    newest = date_of(max(as_of - 1, 0))
    return f"{newest:%Y%m%d}-{hashlib.sha256(inputs.encode()).hexdigest()[:8]}"


def _write_histories(
    snapshot: Snapshot,
    dismissals: Dismissals,
    writer: ArtifactWriter,
    shards: list[tuple[int, int]],
    users_per_shard: int,
    game_ids: Int32Array,
    as_of: int,
) -> GameCounts:
    """Write the histories of each shard, and count the reviews of N games over all shards, popularity as of a day."""
    decayed, n_games = np.zeros((len(DECAYS), len(game_ids))), len(game_ids)
    likes, total = np.zeros(n_games, dtype=np.int64), np.zeros(n_games, dtype=np.int64)
    reviews = ReviewsByShard(snapshot, shards)
    for shard, users in enumerate(users_by_shard(snapshot, users_per_shard)):
        interactions = reviews.interactions(shard)
        decayed = popularity_as_of(interactions, game_ids, as_of, initial=decayed)
        positions = positions_of(interactions.games, game_ids)
        total += np.bincount(positions[positions >= 0], minlength=n_games)
        likes += np.bincount(positions[(positions >= 0) & interactions.recommended], minlength=n_games)
        with tempfile.NamedTemporaryFile(suffix=".parquet") as local:
            table = histories_table(users, interactions, dismissals.until(int(users[-1])))
            pq.write_table(table, local.name, compression="zstd", row_group_size=ROW_GROUP_USERS)
            writer.put(Path(local.name), histories_name(shard))
    return GameCounts(decayed, ReviewCounts(likes, total))


def _parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd")
    return content.getvalue()
