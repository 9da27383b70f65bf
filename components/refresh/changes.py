"""What has changed between two snapshots: reviews that were added, removed or changed, and the counts of their games.

Snapshots share the files of equal rows, so only files that differ are read. A change of a review is a removal and an
addition; one that matters to no recommendation, such as that of its text or its votes, is none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from steam_recsys.arrays import Int32Array, Int64Array, contains
from steam_recsys.data.interactions import (
    REVIEW_COLUMNS,
    Reviews,
    day_of,
    no_reviews,
    read_reviews,
    review_rows,
    to_interactions,
)
from steam_recsys.data.snapshot import DataFile, Snapshot
from steam_recsys.model.game_counts import GameCounts


@dataclass(frozen=True)
class Changes:
    """The reviews in which two snapshots differ.

    Attributes:
        removed: Those of the earlier snapshot.
        added: Those of the later one.
    """

    removed: Reviews
    added: Reviews

    @property
    def users(self) -> Int64Array:
        """The users who wrote them, ascending, int64."""
        return np.union1d(self.removed["user_id"], self.added["user_id"])

    @property
    def review_ids(self) -> Int64Array:
        """Their ids, ascending, int64."""
        return np.union1d(self.removed["review_id"], self.added["review_id"])

    @classmethod
    def between(cls, earlier: Snapshot, later: Snapshot, max_users: int) -> Changes | None:
        """Compare two snapshots of the same database, one range of ids after the other.

        Memory grows with the changed reviews, so it stops and returns None once more than `max_users` users have some.
        """
        files = [{file.key_range: file for file in each.manifest.files["reviews"]} for each in (earlier, later)]
        removed, added, users = [no_reviews()], [no_reviews()], set[int]()
        for key_range in sorted(files[0].keys() | files[1].keys()):
            before, after = (each.get(key_range) for each in files)
            if before and after and before.sha256 == after.sha256:
                continue
            old, new = _read(earlier, before), _read(later, after)
            removed.append(_without(old, new))
            added.append(_without(new, old))
            for changed in (removed[-1], added[-1]):
                users.update(changed["user_id"].tolist())
            if len(users) > max_users:
                return None
        return cls(np.concatenate(removed), np.concatenate(added))

    def update(self, counts: GameCounts, game_ids: Int32Array, as_of: int, current: Reviews) -> GameCounts:
        """Count the changed reviews.

        If a user has reviewed a game more than once, the latest review counts, so others of the pair are needed too.

        Args:
            counts: The reviews of the earlier snapshot, as of the day.
            game_ids: The games that are counted, int32 [N], ascending.
            as_of: The day, in days since 1970-01-01.
            current: All reviews of `users` now.
        """
        pairs = np.union1d(self._pairs(self.removed), self._pairs(self.added))
        same = current[contains(pairs, self._pairs(current)) & ~contains(self.review_ids, current["review_id"])]
        before, after = (
            GameCounts.from_interactions(to_interactions(np.concatenate([same, changed])), game_ids, as_of)
            for changed in (self.removed, self.added)
        )
        return counts.replace(before, after)

    def _pairs(self, reviews: Reviews) -> Int64Array:
        """Return a number for the user, one of `users`, and the game of each review."""
        pairs: Int64Array = (np.searchsorted(self.users, reviews["user_id"]) << 32) + reviews["game_id"]
        return pairs


def last_day(snapshot: Snapshot) -> int:
    """Return the last day that a review of a snapshot may have, in days since 1970-01-01.

    It is the day after the extraction, which may have begun already in the east. Validation reports later ones as
    errors, and a refresh ignores them.
    """
    return day_of(datetime.fromisoformat(snapshot.manifest.extracted_at).date() + timedelta(days=1))


def _read(snapshot: Snapshot, file: DataFile | None) -> Reviews:
    """Read one file of a snapshot's reviews, without those by unknown users and those from the future."""
    if file is None:
        return no_reviews()
    manifest = replace(snapshot.manifest, files={**snapshot.manifest.files, "reviews": [file]})
    batches = read_reviews(Snapshot(snapshot.root, manifest), REVIEW_COLUMNS)
    reviews = np.concatenate([no_reviews(), *map(review_rows, batches)])
    return reviews[reviews["reviewed_on"] <= last_day(snapshot)]


def _without(reviews: Reviews, others: Reviews) -> Reviews:
    """Return the reviews that are not among others with equal values in all columns; unknown hours are equal."""
    if not len(others):
        return reviews
    other = others[np.minimum(np.searchsorted(others["review_id"], reviews["review_id"]), len(others) - 1)]
    same = np.ones(len(reviews), dtype=bool)
    for name in REVIEW_COLUMNS:
        equal = reviews[name] == other[name]
        if name == "hours_played":
            equal |= np.isnan(reviews[name]) & np.isnan(other[name])
        same &= equal
    return reviews[~same]
