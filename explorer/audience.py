"""How often each game is recommended: counted over a sample of the users, once a publication."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from explorer.queries import QUERIES
from explorer.views import Audience, Coverage, Publication

SAMPLED_USERS = 20_000
"""About how many users are looked at, where there are so many: a share of 1 % is then known within 0.14 %."""


@dataclass(frozen=True)
class Audiences:
    """The audiences of one publication's games.

    Attributes:
        version: the publication.
        users: that have recommendations in it.
        sampled: those that were looked at.
        games: by game id, how many of these have it, and its mean place in their lists.
    """

    version: str
    users: int
    sampled: int
    games: Mapping[int, tuple[int, float]]

    @classmethod
    async def read(cls, connection: Any, publication: Publication) -> Audiences:
        """Count over about `SAMPLED_USERS` users."""
        percent = min(100.0, 100.0 * SAMPLED_USERS / max(publication.users, 1))
        rows = await connection.fetch(QUERIES["audience"], percent)
        sampled = rows[0]["sampled"] if rows else 0
        games = {row["game_id"]: (row["users"], row["mean_rank"]) for row in rows}
        return cls(publication.version, publication.users, sampled, games)

    def of(self, game_id: int) -> Audience:
        """A game's audience."""
        users, mean_rank = self.games.get(game_id, (0, None))
        share = users / self.sampled if self.sampled else 0.0
        return Audience(round(share * self.users), share, mean_rank, self.sampled)

    def coverage(self, on_sale: int) -> Coverage:
        """How many of so many games somebody of the sample has recommended."""
        return Coverage(min(1.0, len(self.games) / on_sale) if on_sale else 0.0, self.sampled)
