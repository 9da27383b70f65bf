"""Realised quality: what users reviewed since a version was made, beside what it had recommended to them.

A version is judged by the reviews from the day that it counts popularity up to, to before that of the next version: of
these it knew nothing. Reviews have a day and no time, so days count whole: where versions are made in the midst of a
day, users saw the next one already for the rest of the last day that this one is judged by. Nor does a rollback count.
Its figures are kept in the store, `<store>/monitoring/<version>.parquet`, as it itself is only kept for a few days.
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
import pyarrow.parquet as pq

from steam_recsys.arrays import Int32Array, Int64Array
from steam_recsys.data.histories import Histories, positions_of
from steam_recsys.data.interactions import REVIEW_COLUMNS, Interactions, day_of, read_reviews
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.evaluation.holdout import Future
from steam_recsys.evaluation.intervals import Interval, intervals
from steam_recsys.evaluation.metrics import NDCG, HitRate, measure_ranked
from steam_recsys.publications.destinations import Destination
from steam_recsys.publications.versions import KeptVersion
from steam_recsys.storage.folder import Folder, open_folder

K = 10
METRICS = (NDCG(K), HitRate(K))
DAYS = 28
"""Of versions that are judged together, up to the newest."""

USERS_AT_A_TIME = 10_000
NEVER = np.iinfo(np.int32).max

FIGURES = ("ndcg", "hit_rate", "popular_ndcg", "popular_hit_rate")
JUDGED = pa.schema(
    [
        pa.field("user_id", pa.int64(), nullable=False),
        *(pa.field(name, pa.float64(), nullable=False) for name in FIGURES),
        pa.field("as_of", pa.date32(), nullable=False),
    ]
)
"""A row a user who has reviewed something that was new to them: the figures of what was recommended to them, and of
what was popular when it was."""


@dataclass(frozen=True)
class Quality:
    """Means over the users of the last versions, of each user's mean over these: what a user does is no evidence twice.

    Attributes:
        users: how many there were to judge by.
        ndcg, hit_rate: of the recommendations' first ten games.
        popular_ndcg, popular_hit_rate: of the most popular ones that the user had not reviewed.
    """

    users: int
    ndcg: Interval | None = None
    hit_rate: Interval | None = None
    popular_ndcg: Interval | None = None
    popular_hit_rate: Interval | None = None
    above_floor: Interval | None = None
    """What the recommendations' NDCG has more than the asked share of popularity's."""


def judge(snapshot: Snapshot, destination: Destination, store: str) -> None:
    """Judge the versions that a destination keeps by the snapshot's reviews; again replaces what was found before.

    Memory grows with the users who have reviewed something since the oldest of them was made.
    """
    folder = _folder(store)
    kept = sorted(destination.kept(), key=lambda version: version.first_switch)
    if not kept:
        return
    reviews = _reviews_of_active_users(snapshot, min(day_of(version.as_of) for version in kept))
    game_ids: Int32Array = np.sort(snapshot.table("games", ["game_id"])["game_id"].to_numpy())
    for version, following in zip_longest(kept, kept[1:]):
        name = f"{version.version}.parquet"
        if following and following.as_of <= version.as_of:  # made again for the same days, which count once
            folder.remove(name)
            continue
        parts = _judged(version, day_of(following.as_of) if following else NEVER, reviews, game_ids, destination)
        judged = pa.Table.from_batches(parts, JUDGED)
        if len(judged):
            folder.write(name, _parquet(judged))
        else:
            folder.remove(name)
    for name, judged in _judgements(folder).items():
        if not len(judged) or judged["as_of"][0].as_py() <= kept[-1].as_of - timedelta(days=DAYS):
            folder.remove(name)


def realised(store: str, share: float, seed: int = 0) -> Quality:
    """What the versions of the last weeks have been judged to be worth.

    Args:
        store: with what `judge` left there.
        share: of popularity's NDCG that is asked for.
        seed: of the resampling.
    """
    judged = pa.concat_tables([JUDGED.empty_table(), *_judgements(_folder(store)).values()])
    if not len(judged):
        return Quality(0)
    of_users = (
        judged.group_by("user_id", use_threads=False).aggregate([(name, "mean") for name in FIGURES]).sort_by("user_id")
    )
    figures = {name: of_users[f"{name}_mean"].to_numpy() for name in FIGURES}
    figures["above_floor"] = figures["ndcg"] - share * figures["popular_ndcg"]
    return Quality(len(of_users), **intervals(figures, seed))


def _reviews_of_active_users(snapshot: Snapshot, start: int) -> Interactions:
    """All reviews of the users who have recommended something since a day, in days since 1970-01-01."""
    active = [
        np.unique(batch["user_id"][(batch["reviewed_on"] >= start) & batch["recommended"]])
        for batch in read_reviews(snapshot, ["user_id", "reviewed_on", "recommended"])
    ]
    users = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *active]))
    names = ("user_id", "game_id", "reviewed_on", "recommended", "hours_played")
    parts: list[list[npt.NDArray[Any]]] = [[np.zeros(0, REVIEW_COLUMNS[name])] for name in names]
    for batch in read_reviews(snapshot, names):
        theirs = positions_of(batch["user_id"], users) >= 0
        for part, name in zip(parts, names, strict=True):
            part.append(batch[name][theirs])
    return Interactions(*(np.concatenate(part) for part in parts))


def _judged(
    version: KeptVersion, end: int, reviews: Interactions, game_ids: Int32Array, destination: Destination
) -> Iterator[pa.RecordBatch]:
    """A version by the reviews of the days from its own to before `end`, some of the users at a time."""
    start = day_of(version.as_of)
    asked = reviews.take(reviews.recommended & (reviews.days >= start) & (reviews.days < end))
    asked = asked.take(_first_of_each_pair(asked))
    future = Future.from_interactions(reviews.take(reviews.days < start), asked, game_ids)
    relevant = Histories.from_interactions(future.interactions, game_ids)
    popular = positions_of(np.array(destination.popular_games(version.version), dtype=np.int32), game_ids)
    for first in range(0, len(relevant), USERS_AT_A_TIME):
        some = relevant.take(np.arange(first, min(first + USERS_AT_A_TIME, len(relevant))))
        shown = destination.first_games(version.version, some.users.tolist(), K)
        some = some.take(np.flatnonzero(np.isin(some.users, np.fromiter(shown, np.int64, len(shown)))))
        recommended = np.full((len(some), K), -1, dtype=np.int32)
        for row, user in enumerate(some.users.tolist()):
            recommended[row, : len(shown[user])] = positions_of(np.array(shown[user], dtype=np.int32), game_ids)
        unseen = _unseen(popular, positions_of(some.users, future.history.users), future.history)
        figures = [measure_ranked(ranked, some, METRICS).values() for ranked in (recommended, unseen)]
        columns = [some.users, *(column for each in figures for column in each)]
        day = pa.array([version.as_of] * len(some), pa.date32())
        yield pa.RecordBatch.from_arrays([*map(pa.array, columns), day], schema=JUDGED)


def _first_of_each_pair(reviews: Interactions) -> Int64Array:
    """Where each user's first review of each game stands."""
    order = np.lexsort((reviews.games, reviews.users))
    users, games = reviews.users[order], reviews.games[order]
    again = (users[1:] == users[:-1]) & (games[1:] == games[:-1])
    return np.delete(order, 1 + np.flatnonzero(again))


def _unseen(popular: Int32Array, rows: Int32Array, history: Histories) -> Int32Array:
    """The first `K` of the popular games, int32 [L] positions, that are in nobody's own history: int32 [B, K].

    `rows` is int32 [B], each user's row of the histories, -1 without one.
    """
    width = 1 + max(int(popular.max(initial=-1)), int(history.games.max(initial=-1)))
    seen = np.isin(rows.astype(np.int64)[:, None] * width + popular, history.owners * width + history.games)
    first = np.argsort(seen, axis=1, kind="stable")[:, :K]
    return np.where(np.take_along_axis(seen, first, axis=1), np.int32(-1), popular[first])


def _folder(store: str) -> Folder:
    return open_folder(f"{store.rstrip('/')}/monitoring")


def _judgements(folder: Folder) -> dict[str, pa.Table]:
    contents = {name: folder.read(name) for name in folder.names("")}
    return {name: pq.read_table(pa.BufferReader(content)) for name, content in contents.items() if content is not None}


def _parquet(table: pa.Table) -> bytes:
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd")
    return content.getvalue()
