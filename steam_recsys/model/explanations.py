"""Where popularity alone would place the games that are recommended: what a history has to do with a recommendation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steam_recsys.arrays import BoolArray, Float32Array, Int32Array, Int64Array
from steam_recsys.data.histories import Histories


@dataclass(frozen=True)
class PopularityOrder:
    """The n games of a catalogue of N that may be recommended, the most popular first.

    Attributes:
        positions: int32 [n], where each stands in the catalogue.
        places: int32 [N], the place here of each position of the catalogue, of several that are as popular the last of
            theirs; -1 for a game that may not be recommended.
    """

    positions: Int32Array
    places: Int32Array

    @classmethod
    def from_popularity(cls, popularity: Float32Array, offered: BoolArray | None) -> PopularityOrder:
        """Order games by float32 [N], the higher the more popular; `offered` is bool [N], all of them where None."""
        may_be = np.arange(len(popularity)) if offered is None else np.flatnonzero(offered)
        positions = may_be[np.argsort(-popularity[may_be], kind="stable")].astype(np.int32)
        places = np.full(len(popularity), -1, dtype=np.int32)
        places[positions] = np.searchsorted(-popularity[positions], -popularity[positions], side="right") - 1
        return cls(positions, places)

    def above_popularity(self, positions: Int32Array, excluded: Histories, among: BoolArray | None = None) -> BoolArray:
        """Whether games stand higher in their users' lists than they would if popularity alone decided.

        Of games that are equally popular each counts as the last: popularity alone puts none before its equals.

        Args:
            positions: int32 [B, k], the best games for B users, best first; -1 for none.
            excluded: the games that may not be recommended to these users.
            among: bool [N], the games that may be recommended to any of them; all where left out.

        Returns:
            bool [B, k], of no account where a position is -1.
        """
        ranks, lengths = np.arange(positions.shape[1]), excluded.lengths
        places = self._among(among, positions.shape[1] + int(lengths.max(initial=0)), self.places.take(positions))
        above_popularity = places > ranks
        # The user's excluded games count less: whether they decide is looked at only where they may.
        users, columns = np.nonzero(above_popularity & (places - lengths[:, None] <= ranks))
        if len(users):
            before = self._excluded_before(excluded, among, users, positions[users, columns])
            above_popularity[users, columns] = places[users, columns] - before > columns
        return above_popularity

    def _among(self, among: BoolArray | None, enough: int, places: Int32Array) -> Int32Array:
        """The places among some games; those that are beyond `enough` may be any that are so, too."""
        if among is None or not len(self.positions):
            return places
        width = min(8 * (enough + 2), len(self.positions))
        while (counts := np.cumsum(among[self.positions[:width]]))[-1] < enough + 2 and width < len(self.positions):
            width = min(8 * width, len(self.positions))
        return counts[np.minimum(places, width - 1)] - 1

    def _excluded_before(
        self, excluded: Histories, among: BoolArray | None, users: Int64Array, positions: Int32Array
    ) -> Int64Array:
        """How many of a user's excluded games are as popular as a game or more: int64 [n], of n users and games."""
        counted = self.places[excluded.games] >= 0
        if among is not None:
            counted &= among[excluded.games]
        games, width = excluded.games[counted], len(self.places)
        keys = np.sort((excluded.owners[counted] * width + self.places[games]) * width + games)
        keys = keys[np.diff(keys, prepend=-1) > 0]  # each game of a user once
        ends = np.searchsorted(keys, (users * width + self.places[positions] + 1) * width)
        return ends - np.searchsorted(keys, users * width * width)
