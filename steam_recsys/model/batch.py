"""Recommendations for many users at once: the lists of a catalogue on a day, as rows of a publication."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from steam_recsys.arrays import BoolArray, Int32Array, Int64Array, contains, offsets_from_lengths
from steam_recsys.data.games import Games, release_days
from steam_recsys.data.histories import Histories, positions_of
from steam_recsys.data.popularity import DECAYS
from steam_recsys.data.schemas import RECOMMENDATIONS, list_array
from steam_recsys.model.game_counts import GameCounts
from steam_recsys.model.lists import ReviewCounts, game_lists, new_releases
from steam_recsys.model.retrieval import GameList
from steam_recsys.model.scorer import Recommendations, Scorer
from steam_recsys.model.two_tower import TwoTowerArrays

BATCH_USERS = 8192
"""Users that are answered at a time."""


def catalogue_table(games: pa.Table, counts: GameCounts, can_recommend: BoolArray) -> pa.Table:
    """Return what recommendations need to know of each game besides the model.

    Args:
        games: The columns `GAME_COLUMNS` of N games, ordered by id.
        counts: Their reviews.
        can_recommend: bool [N], the games that may be recommended.

    Returns:
        The table with the columns `popularity`, a list with one number per decay, `available`, `likes` and `reviews`.
    """
    columns = {
        "popularity": pa.FixedSizeListArray.from_arrays(counts.popularity.T.reshape(-1), len(DECAYS)),
        "available": pa.array(can_recommend),
        "likes": pa.array(counts.reviews.likes),
        "reviews": pa.array(counts.reviews.reviews),
    }
    for name, column in columns.items():
        games = games.append_column(name, column)
    return games


@dataclass(frozen=True)
class BatchRecommender:
    """A model for a catalogue of N games on a day.

    Attributes:
        scorer: The scorer of the catalogue.
        lists: The lists that each user gets.
        game_ids: int32 [N], ascending.
    """

    scorer: Scorer
    lists: Sequence[GameList]
    game_ids: Int32Array

    @classmethod
    def from_catalogue(
        cls, model: TwoTowerArrays, catalogue: pa.Table, as_of: int, new_release_days: int
    ) -> BatchRecommender:
        """Prepare a model for a catalogue.

        Args:
            model: The model.
            catalogue: What `catalogue_table` returned.
            as_of: The day, in days since 1970-01-01.
            new_release_days: Days up to that day in which a new release came out.
        """
        popularity = catalogue["popularity"].combine_chunks().flatten().to_numpy().reshape(-1, len(DECAYS)).T
        scorer = model.for_catalogue(Games.from_table(catalogue), popularity)
        available = np.asarray(catalogue["available"])
        lists = game_lists(
            model.popularity_weight,
            model.interests_weight,
            scorer.popularity_prior,
            available,
            ReviewCounts(catalogue["likes"].to_numpy(), catalogue["reviews"].to_numpy()),
            new_releases(release_days(catalogue), as_of, new_release_days),
        )
        return cls(scorer.with_available(available), lists, catalogue["game_id"].to_numpy().astype(np.int32))

    def recommend(self, history: Histories, dismissed: tuple[Int64Array, Int32Array]) -> pa.Table:
        """Recommend games to a batch of users, except those that they have reviewed or dismissed.

        Args:
            history: The reviews of the users, who are ascending.
            dismissed: Users, int64 [n], and the ids of games that they have dismissed, int32 [n]; those of other users
                are ignored.

        Returns:
            Rows in the schema RECOMMENDATIONS, by user and list.
        """
        found = self.scorer.recommend_lists(history, self.lists, excluded=self._excluded(history, *dismissed))
        batches = [
            _rows(wanted.name, history.users, each, self.game_ids)
            for wanted, each in zip(self.lists, found, strict=True)
        ]
        # Rows are in the order of lists: a stable sort by user keeps it.
        users = np.concatenate([batch["user_id"].to_numpy() for batch in batches])
        return pa.Table.from_batches(batches, RECOMMENDATIONS).take(np.argsort(users, kind="stable"))

    def _excluded(self, history: Histories, users: Int64Array, dismissed: Int32Array) -> Histories | None:
        """Return the games that users have reviewed or dismissed; None if they have dismissed none."""
        ours = contains(history.users, users)
        if not ours.any():
            return None
        games = np.concatenate([history.games, positions_of(dismissed[ours], self.game_ids)]).astype(np.int64)
        owners = np.concatenate([history.owners, np.searchsorted(history.users, users[ours])])[games >= 0]
        pairs = np.unique(owners * len(self.game_ids) + games[games >= 0])  # a game may be reviewed and dismissed
        offsets = offsets_from_lengths(np.bincount(pairs // len(self.game_ids), minlength=len(history)))
        disliked, unknown = np.zeros(len(pairs), dtype=np.bool_), np.full(len(pairs), np.nan, dtype=np.float32)
        return Histories(history.users, offsets, (pairs % len(self.game_ids)).astype(np.int32), disliked, unknown)


def _rows(name: str, users: Int64Array, found: Recommendations, game_ids: Int32Array) -> pa.RecordBatch:
    """Convert one list to rows; users for whom no game is left get none."""
    filled = found.positions >= 0
    lengths = filled.sum(axis=1)
    served = lengths > 0
    offsets = offsets_from_lengths(lengths[served])
    reasons = found.because[filled]
    columns = [
        pa.array(users[served], pa.int64()),
        pa.array([name] * int(served.sum()), pa.string()),
        list_array(offsets, pa.array(game_ids[found.positions[filled]], pa.int32())),
        list_array(offsets, pa.array(found.taste[filled], pa.float32())),
        list_array(offsets, pa.array(found.popularity[filled], pa.float32())),
        list_array(offsets, pa.array(game_ids[reasons], pa.int32(), mask=reasons < 0)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=RECOMMENDATIONS)
