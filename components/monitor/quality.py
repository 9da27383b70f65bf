"""Realised quality: what users reviewed since a version was published, compared with what it had recommended to them.

A version is measured by the reviews from its `as_of` day to the day before that of the next version, none of which it
had seen. Reviews have a day but no time, so days count as a whole: if a version is published during a day, users saw it
for the rest of the last day that counts for the version before. Rollbacks are not taken into account. Because versions
are kept for a few days only, their figures are stored separately, in `<store>/monitoring/<version>.parquet`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from steam_recsys.arrays import Int32Array, Int64Array
from steam_recsys.data.histories import Histories, positions_of
from steam_recsys.data.interactions import REVIEW_COLUMNS, Interactions, day_of, read_reviews
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.evaluation.intervals import Interval, intervals
from steam_recsys.evaluation.metrics import NDCG, HitRate, measure_ranked
from steam_recsys.evaluation.splits import Future
from steam_recsys.logging import log
from steam_recsys.publications.destinations import Destination
from steam_recsys.publications.versions import KeptVersion
from steam_recsys.storage.folder import Folder, open_folder

K = 10
METRICS = (NDCG(K), HitRate(K))
DAYS = 28
"""Length of the period, up to the newest version, whose versions are measured together."""

BATCH_USERS = 10_000
NEVER = np.iinfo(np.int32).max

FIGURES = ("ndcg", "hit_rate", "popular_ndcg", "popular_hit_rate")
USER_FIGURES = pa.schema(
    [
        pa.field("user_id", pa.int64(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in FIGURES),
        pa.field("as_of", pa.date32(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
    ]
)
"""One row per user who has reviewed a new game: the figures of the recommendations, and those of the games that were
popular at the time."""


@dataclass(frozen=True)
class Quality:
    """Means over the users of a model's last versions; a user of several versions counts once, with their mean.

    Attributes:
        users: Number of users.
        ndcg: NDCG@10 of the recommendations.
        hit_rate: Hit rate@10 of the recommendations.
        popular_ndcg: NDCG@10 of the most popular games that the user had not reviewed.
        popular_hit_rate: Hit rate@10 of the same games.
        ndcg_gain: NDCG@10 of the recommendations minus that of popularity.
        above_floor: NDCG@10 of the recommendations minus the required share of popularity's.
    """

    users: int
    ndcg: Interval | None = None
    hit_rate: Interval | None = None
    popular_ndcg: Interval | None = None
    popular_hit_rate: Interval | None = None
    ndcg_gain: Interval | None = None
    above_floor: Interval | None = None


def measure_versions(snapshot: Snapshot, destination: Destination, store: str) -> None:
    """Measure the versions that a destination keeps by the snapshot's reviews, and store the figures.

    Repeating it replaces earlier figures. Memory grows with the number of users who have reviewed a game since the
    oldest of the versions.
    """
    folder = _folder(store)
    kept = sorted(destination.kept_versions(), key=lambda version: version.first_switch)
    if not kept:
        return
    reviews = _reviews_of_active_users(snapshot, min(day_of(version.as_of) for version in kept))
    game_ids: Int32Array = np.sort(snapshot.table("games", ["game_id"])["game_id"].to_numpy())
    for version, following in zip_longest(kept, kept[1:]):
        name = f"{version.version}.parquet"
        if following and following.as_of <= version.as_of:  # republished for the same days, which count once
            folder.remove(name)
            continue
        end = day_of(following.as_of) if following else NEVER
        figures = pa.Table.from_batches(_measure(version, end, reviews, game_ids, destination), USER_FIGURES)
        if len(figures):
            folder.write(name, _parquet(figures))
        else:
            folder.remove(name)
    for name, figures in _stored_figures(folder).items():
        if not len(figures) or figures["as_of"][0].as_py() <= kept[-1].as_of - timedelta(days=DAYS):
            folder.remove(name)


def realised_quality(store: str, share: float, model_version: str) -> Quality:
    """Return the quality of a model's versions of the last weeks: what another model recommended says nothing of it.

    Args:
        store: Store with the figures that `measure_versions` wrote.
        share: Required share of popularity's NDCG@10.
        model_version: The model.
    """
    rows = pa.concat_tables([USER_FIGURES.empty_table(), *_stored_figures(_folder(store)).values()])
    rows = rows.filter(pc.field("model_version") == model_version)
    if not len(rows):
        return Quality(0)
    users = rows.group_by("user_id", use_threads=False).aggregate([(name, "mean") for name in FIGURES])
    users = users.sort_by("user_id")
    figures = {name: users[f"{name}_mean"].to_numpy() for name in FIGURES}
    figures["ndcg_gain"] = figures["ndcg"] - figures["popular_ndcg"]
    figures["above_floor"] = figures["ndcg"] - share * figures["popular_ndcg"]
    return Quality(len(users), **intervals(figures))


def _reviews_of_active_users(snapshot: Snapshot, start: int) -> Interactions:
    """Return all reviews of the users with a positive review since a day, in days since 1970-01-01."""
    active = [
        np.unique(batch["user_id"][(batch["reviewed_on"] >= start) & batch["recommended"]])
        for batch in read_reviews(snapshot, ["user_id", "reviewed_on", "recommended"])
    ]
    users = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *active]))
    names = ("user_id", "game_id", "reviewed_on", "recommended", "hours_played")
    parts: list[list[npt.NDArray[Any]]] = [[np.zeros(0, REVIEW_COLUMNS[name])] for name in names]
    for batch in read_reviews(snapshot, names):
        kept = positions_of(batch["user_id"], users) >= 0
        for part, name in zip(parts, names, strict=True):
            part.append(batch[name][kept])
    return Interactions(*(np.concatenate(part) for part in parts))


def _measure(
    version: KeptVersion, end: int, reviews: Interactions, game_ids: Int32Array, destination: Destination
) -> Iterator[pa.RecordBatch]:
    """Measure a version by the reviews from its day to before `end`, in batches of users."""
    start = day_of(version.as_of)
    positive = reviews.take(reviews.recommended & (reviews.days >= start) & (reviews.days < end))
    positive = positive.take(_first_of_each_pair(positive))
    future = Future.from_interactions(reviews.take(reviews.days < start), positive, game_ids)
    relevant = Histories.from_interactions(future.interactions, game_ids)
    popular = positions_of(np.array(destination.popular_games(version.version), dtype=np.int32), game_ids)
    for first in range(0, len(relevant), BATCH_USERS):
        batch = relevant.take(np.arange(first, min(first + BATCH_USERS, len(relevant))))
        shown = destination.first_games(version.version, batch.users.tolist(), K)
        batch = batch.take(np.flatnonzero(np.isin(batch.users, np.fromiter(shown, np.int64, len(shown)))))
        recommended = np.full((len(batch), K), -1, dtype=np.int32)
        for row, user in enumerate(batch.users.tolist()):
            recommended[row, : len(shown[user])] = positions_of(np.array(shown[user], dtype=np.int32), game_ids)
        unseen = _unseen(popular, positions_of(batch.users, future.history.users), future.history)
        figures = [measure_ranked(ranked, batch, METRICS).values() for ranked in (recommended, unseen)]
        columns = [batch.users, *(column for each in figures for column in each)]
        day = pa.array([version.as_of] * len(batch), pa.date32())
        model = pa.array([version.model_version] * len(batch))
        yield pa.RecordBatch.from_arrays([*map(pa.array, columns), day, model], schema=USER_FIGURES)


def _first_of_each_pair(reviews: Interactions) -> Int64Array:
    """Return the index of each user's first review of each game."""
    order = np.lexsort((reviews.games, reviews.users))
    users, games = reviews.users[order], reviews.games[order]
    again = (users[1:] == users[:-1]) & (games[1:] == games[:-1])
    return np.delete(order, 1 + np.flatnonzero(again))


def _unseen(popular: Int32Array, rows: Int32Array, history: Histories) -> Int32Array:
    """Return the first `K` popular games outside each user's history.

    Args:
        popular: Positions of the popular games, int32 [L].
        rows: Row of each user in the histories, int32 [B], -1 without a history.
        history: The histories.

    Returns:
        Positions, int32 [B, K], -1 if fewer are left.
    """
    width = 1 + max(int(popular.max(initial=-1)), int(history.games.max(initial=-1)))
    seen = np.isin(rows.astype(np.int64)[:, None] * width + popular, history.owners * width + history.games)
    first = np.argsort(seen, axis=1, kind="stable")[:, :K]
    return np.where(np.take_along_axis(seen, first, axis=1), np.int32(-1), popular[first])


def _folder(store: str) -> Folder:
    return open_folder(f"{store.rstrip('/')}/monitoring")


def _stored_figures(folder: Folder) -> dict[str, pa.Table]:
    """Read the figures of all versions. Files that cannot be read are removed: kept versions are measured again."""
    figures = {}
    for name in folder.names(""):
        content = folder.read(name)
        if content is None:
            continue
        try:
            table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
            figures[name] = table.select(USER_FIGURES.names).cast(USER_FIGURES)
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            log("monitor", f"{folder.uri}/{name} cannot be read as figures ({reason}) and was removed")
            folder.remove(name)
    return figures


def _parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd", write_page_checksum=True)
    return content.getvalue()
