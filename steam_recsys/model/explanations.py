"""Whether a recommendation owes its rank to the user's history or to popularity alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from steam_recsys.data.histories import Histories


@dataclass(frozen=True)
class PopularityOrder:
    """The n available games of a catalogue of N, most popular first.

    Attributes:
        positions: int32 [n], the catalogue position of each game.
        ranks: int32 [N], the popularity rank of each catalogue position, from 0. Equally popular games all have the
            last of their ranks; games that are not available have -1.
    """

    positions: Int32Array
    ranks: Int32Array

    @classmethod
    def from_popularity(cls, popularity: Float32Array, available: BoolArray | None) -> PopularityOrder:
        """Sort the available games by popularity.

        Args:
            popularity: float32 [N], higher for more popular games.
            available: bool [N]; None if all games are available.
        """
        candidates = np.arange(len(popularity)) if available is None else np.flatnonzero(available)
        positions = candidates[np.argsort(-popularity[candidates], kind="stable")].astype(np.int32)
        ranks = np.full(len(popularity), -1, dtype=np.int32)
        ranks[positions] = np.searchsorted(-popularity[positions], -popularity[positions], side="right") - 1
        return cls(positions, ranks)

    def above_popularity(self, positions: Int32Array, excluded: Histories, among: BoolArray | None = None) -> BoolArray:
        """Tell which games rank higher in their user's list than they would by popularity alone.

        Equally popular games all count as the last of them: popularity alone ranks none of them before the others.

        Args:
            positions: int32 [B, k], the best games for B users, best first; -1 for none.
            excluded: Games that may not be recommended to these users.
            among: bool [N], the games that may be recommended to any of these users; None for all.

        Returns:
            bool [B, k]; undefined where a position is -1.
        """
        columns, lengths = np.arange(positions.shape[1]), excluded.lengths
        enough = positions.shape[1] + int(lengths.max(initial=0))
        ranks = self._ranks_among(among, enough, self.ranks.take(positions))
        above_popularity = ranks > columns
        # Excluded games lower the popularity rank. They are only counted where that can change the result.
        users, undecided = np.nonzero(above_popularity & (ranks - lengths[:, None] <= columns))
        if len(users):
            before = self._excluded_before(excluded, among, users, positions[users, undecided])
            above_popularity[users, undecided] = ranks[users, undecided] - before > undecided
        return above_popularity

    def _ranks_among(self, among: BoolArray | None, enough: int, ranks: Int32Array) -> Int32Array:
        """Convert ranks to ranks among fewer games; they are exact up to `enough`, and larger ones are clipped."""
        if among is None or not len(self.positions):
            return ranks
        width = min(8 * (enough + 2), len(self.positions))
        while (counts := np.cumsum(among[self.positions[:width]]))[-1] < enough + 2 and width < len(self.positions):
            width = min(8 * width, len(self.positions))
        return counts[np.minimum(ranks, width - 1)] - 1

    def _excluded_before(
        self, excluded: Histories, among: BoolArray | None, users: Int64Array, positions: Int32Array
    ) -> Int64Array:
        """Count, for each of n pairs of user and game, the user's excluded games that are at least as popular.

        Args:
            excluded: Excluded games of all users.
            among: bool [N], the games that count; None for all.
            users: int64 [n], rows of `excluded`.
            positions: int32 [n], catalogue positions.

        Returns:
            int64 [n].
        """
        counted = self.ranks[excluded.games] >= 0
        if among is not None:
            counted &= among[excluded.games]
        games, width = excluded.games[counted], len(self.ranks)
        keys = np.sort((excluded.owners[counted] * width + self.ranks[games]) * width + games)
        keys = keys[np.diff(keys, prepend=-1) > 0]  # each game of a user once
        ends = np.searchsorted(keys, (users * width + self.ranks[positions] + 1) * width)
        return ends - np.searchsorted(keys, users * width * width)
