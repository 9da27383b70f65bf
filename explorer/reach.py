"""How many users have each game among their recommendations, estimated from a sample of the users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from explorer.schemas import Coverage, Publication, Reach

SAMPLED_USERS = 20_000
"""Approximate size of the sample: the standard error of a share of 1 % is then 0.07 %."""


def sample_percent(publication: Publication) -> float:
    """Return the share of the users to sample, in percent."""
    return min(100.0, 100.0 * SAMPLED_USERS / max(publication.users, 1))


@dataclass(frozen=True)
class PublicationReach:
    """The reach of one publication's games.

    Attributes:
        version: The publication.
        users: Number of its users with recommendations.
        sampled: Number of users in the sample.
        games: By game id, the number of sampled users who have it, and its mean rank in their lists.
    """

    version: str
    users: int
    sampled: int
    games: Mapping[int, tuple[int, float]]

    @classmethod
    def from_rows(cls, publication: Publication, rows: Sequence[Any]) -> PublicationReach:
        """Build it from the rows of the query `reach`."""
        sampled = rows[0]["sampled"] if rows else 0
        games = {row["game_id"]: (row["users"], row["mean_rank"]) for row in rows}
        return cls(publication.version, publication.users, sampled, games)

    def game(self, game_id: int) -> Reach:
        """Return a game's reach."""
        users, mean_rank = self.games.get(game_id, (0, None))
        share = users / self.sampled if self.sampled else 0.0
        return Reach(round(share * self.users), share, mean_rank, self.sampled)

    def coverage(self, available_games: int) -> Coverage:
        """Return the share of the available games that a sampled user has recommended."""
        share = min(1.0, len(self.games) / available_games) if available_games else 0.0
        return Coverage(share, self.sampled)
