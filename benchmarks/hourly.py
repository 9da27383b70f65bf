"""`make benchmark-hourly`: what hourly refreshes add to nightly publications, on a month of real reviews.

The shop trains a model on the reviews before the month, and publishes every night with the functions of the pipelines'
stages. Reviews have a day but no hour, so each gets one at random, and the reviews of an hour arrive together. Before
they do, each user who recommends new games judges two lists: that of the last night, and that which refreshes have kept
up to date since then. Both leave out the games that the user has reviewed by then. A user without a list sees the
popular games. All users exist from the start.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from benchmarks.replay import (
    DATABASE,
    ingest_and_hold_back,
    parse_options,
    predict_and_publish,
    shop,
    train_and_promote,
)
from components.evaluate.gate import Thresholds
from components.extract.extraction import write_snapshot
from components.refresh.refresh import refresh_publication
from steam_recsys.database.connection import Cursor, connect
from steam_recsys.errors import UserError
from steam_recsys.evaluation.intervals import Interval, intervals
from steam_recsys.evaluation.metrics import HEADLINE_METRIC
from steam_recsys.logging import log
from steam_recsys.publications.destinations import DestinationConfig

DAYS, HOURS = 30, 24

WITHOUT_SLICES = Thresholds(slice_margin=1.0)
"""The gate of the month's only model. It compares two ways to serve a model, so no slice keeps that model back."""

_DAY = "SELECT review_id, user_id, game_id, recommended FROM held_back WHERE reviewed_on = %s ORDER BY review_id"
_REVIEWED = "SELECT user_id, array_agg(game_id) FROM steam.reviews WHERE user_id = ANY (%s) GROUP BY user_id"
_LISTS = "SELECT user_id, game_ids FROM recsys.recommendations WHERE list = 'relevance' AND user_id = ANY (%s)"
_POPULAR = "SELECT game_id FROM recsys.popular_games WHERE list = 'popular' AND genre = '' ORDER BY rank"
_ARRIVE = """
INSERT INTO steam.reviews OVERRIDING SYSTEM VALUE SELECT * FROM held_back WHERE review_id = ANY (%(reviews)s);
UPDATE steam.reviews SET updated_at = clock_timestamp() WHERE review_id = ANY (%(reviews)s)
"""

Review = tuple[int, int, int, bool]
"""A review's id, user, game, and whether it recommends the game."""


@dataclass(frozen=True)
class Published:
    """What readers see: the lists of some users, and the popular games."""

    lists: Mapping[int, Sequence[int]]
    popular: Sequence[int]

    @classmethod
    def read(cls, cursor: Cursor, users: Sequence[int]) -> Published:
        """Read the lists of these users."""
        cursor.execute(_LISTS, [list(users)])
        lists = dict(cursor.fetchall())
        cursor.execute(_POPULAR)
        return cls(lists, [game for (game,) in cursor.fetchall()])

    def ndcg(self, user: int, reviewed: set[int], taken: set[int]) -> float:
        """Return the NDCG@10 of what a user sees, who has reviewed some games and takes up others."""
        seen = [game for game in self.lists.get(user, self.popular) if game not in reviewed][: HEADLINE_METRIC.k]
        hits = np.array([[game in taken for game in seen]], dtype=bool)
        return float(HEADLINE_METRIC.per_user(hits, np.array([len(taken)]))[0])


@dataclass(frozen=True)
class Judged:
    """A user's new games of one hour, judged by both lists.

    Attributes:
        user: The user's id.
        group: `again` or `again, new` if the user has reviewed a game on the same day, new users for the first time;
            else `first`.
        nightly: NDCG@10 by the list of the night.
        refreshed: NDCG@10 by the refreshed list.
    """

    user: int
    group: str
    nightly: float
    refreshed: float


def replay(data: Path, days: int) -> Iterator[list[Judged]]:
    """Replay the last days of a folder's reviews; yields those judged on each day."""
    with shop() as scratch:
        store, snapshot = str(scratch / "store"), scratch / "snapshot"
        start = ingest_and_hold_back(data, lambda newest: newest - timedelta(days=days - 1))
        write_snapshot(DATABASE, snapshot, store)
        if not train_and_promote(snapshot, store, scratch, WITHOUT_SLICES):
            raise UserError("The model does not pass the gate: replay data with more reviews.")
        random = np.random.default_rng(0)
        for number in range(days):
            predict_and_publish(snapshot, store)
            yield _day(start + timedelta(days=number), random, snapshot, store)


def _day(day: date, random: np.random.Generator, snapshot: Path, store: str) -> list[Judged]:
    """Let the reviews of a day arrive hour by hour, with a refresh after each hour; the last snapshot is kept."""
    with connect(DATABASE) as connection, connection.cursor() as cursor:
        cursor.execute(_DAY, [day])
        reviews: list[Review] = cursor.fetchall()
        users = [user for _, user, _, _ in reviews if user is not None]
        night = Published.read(cursor, users)
        cursor.execute(_REVIEWED, [users])
        known = {user for user, _ in cursor.fetchall()}
    hours = defaultdict(list)
    for review, hour in zip(reviews, random.integers(0, HOURS, len(reviews)), strict=True):
        hours[int(hour)].append(review)
    judged: list[Judged] = []
    reviewers: dict[int, str] = {}
    for hour in sorted(hours):
        with connect(DATABASE) as connection, connection.cursor() as cursor:
            judged += _judge(cursor, hours[hour], night, reviewers)
            cursor.execute(_ARRIVE, {"reviews": [review for review, _, _, _ in hours[hour]]})
        reviewers |= {user: "again" if user in known else "again, new" for _, user, _, _ in hours[hour]}
        shutil.rmtree(snapshot)
        write_snapshot(DATABASE, snapshot, store)
        refresh_publication(str(snapshot), DATABASE, store, DestinationConfig(DATABASE))
    return judged


def _judge(
    cursor: Cursor, reviews: Sequence[Review], night: Published, reviewers: Mapping[int, str]
) -> Iterator[Judged]:
    """Judge the users of an hour's reviews who recommend games that are new to them."""
    users = sorted({user for _, user, _, _ in reviews if user is not None})
    now = Published.read(cursor, users)
    cursor.execute(_REVIEWED, [users])
    reviewed = {user: set(games) for user, games in cursor.fetchall()}
    for user in users:
        before = reviewed.get(user, set())
        if taken := {game for _, by, game, recommended in reviews if by == user and recommended} - before:
            group = reviewers.get(user, "first")
            yield Judged(user, group, night.ndcg(user, before, taken), now.ndcg(user, before, taken))


@dataclass(frozen=True)
class Group:
    """The figures of a group of users: means over users of the means over their hours, with 95 % intervals."""

    name: str
    users: int
    nightly: Interval
    refreshed: Interval
    difference: Interval

    @classmethod
    def from_judged(cls, name: str, judged: Sequence[Judged]) -> Group:
        """Summarise what was judged of a group."""
        by_user = defaultdict(list)
        for each in judged:
            by_user[each.user].append((each.nightly, each.refreshed))
        means = np.array([np.mean(figures, axis=0) for figures in by_user.values()])
        nightly, refreshed = means.T
        found = intervals({"nightly": nightly, "refreshed": refreshed, "difference": refreshed - nightly})
        return cls(name, len(means), found["nightly"], found["refreshed"], found["difference"])

    def row(self) -> str:
        """Return one line of the Markdown table."""
        cells = [f"{each.mean:.4f} ({each.low:.4f} to {each.high:.4f})" for each in (self.nightly, self.refreshed)]
        difference = f"{self.difference.mean:+.4f} ({self.difference.low:+.4f} to {self.difference.high:+.4f})"
        return f"| {self.name} | {self.users:,} | {' | '.join(cells)} | {difference} |"


GROUPS = {
    "all": ("first", "again", "again, new"),
    "after a review on the same day, by users with reviews before that day": ("again",),
    "after a review on the same day, by users without": ("again, new",),
    "first of the day": ("first",),
}

HEADER = """
| reviews | users | NDCG@10, nightly publications | with hourly refreshes | difference |
|---|---|---|---|---|"""


def summarised(judged: Sequence[Judged]) -> list[Group]:
    """Return the figures of each group that has users."""
    groups = {name: [each for each in judged if each.group in kinds] for name, kinds in GROUPS.items()}
    return [Group.from_judged(name, of_group) for name, of_group in groups.items() if of_group]


def main() -> None:
    """Run the command line: replay, print the table and write its rows."""
    options = parse_options("hourly", __doc__, "days", DAYS)
    judged: list[Judged] = []
    try:
        for number, of_day in enumerate(replay(options.data, options.length), 1):
            judged += of_day
            log("benchmark", f"day {number} of {options.length}: {len(of_day)} judged")
    except UserError as error:
        sys.exit(f"benchmarks.hourly: {error}")
    if not judged:
        sys.exit(f"benchmarks.hourly: No user recommends a game in the last {options.length} days of {options.data}.")
    groups = summarised(judged)
    (options.output / "hourly.json").write_text(json.dumps([asdict(each) for each in groups], indent=2) + "\n")
    print("\n".join([HEADER, *(each.row() for each in groups)]))


if __name__ == "__main__":
    main()
