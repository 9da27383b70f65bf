"""Genres that say something about taste: for a card's tags, a user's likes, and personas made from the catalogue."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

PERSONA_GAMES = 4
"""Games that a persona likes."""

MOST_PERSONAS = 8
PERSONA_GENRES = 24
"""Most telling genres of the catalogue, of which personas are made."""

MOST_SHARED_TAGS = 2
"""Most genres of both games that a reason names."""

TELLING: Final = (
    "Strategy", "Horror", "RPG", "Racing", "Shooter", "Puzzle", "Sports", "Survival", "Simulation", "Platformer",
    "Sandbox", "Stealth", "Fighting", "Visual Novel", "Massively Multiplayer", "MOBA", "Tower Defense", "Card Game",
    "Point & Click", "Role-Playing", "Zombies", "Sci-fi", "Fantasy", "FPS", "RTS", "Turn-Based", "Open World",
    "Story Rich", "Adventure", "Casual", "Action", "Indie",
)  # fmt: skip
"""What people say that they like, the most telling first. A catalogue's other genres, such as "Singleplayer" or
"Great Soundtrack", follow."""

_RANKS = {genre.lower(): rank for rank, genre in enumerate(TELLING)}


@dataclass(frozen=True)
class GenreTags:
    """The genres of the catalogue, by id: their names, and their ranks by name and by number of games."""

    names: Mapping[int, str]
    by_name: Mapping[int, int]
    by_size: Mapping[int, int]

    @classmethod
    def from_rows(cls, rows: Sequence[Any]) -> GenreTags:
        """Build it from the rows of the query `genre_tags`, which come in the order of the names."""
        sizes = {row["genre_id"]: math.inf if row["games"] is None else row["games"] for row in rows}
        by_size = {genre: rank for rank, genre in enumerate(sorted(sizes, key=lambda genre: (sizes[genre], genre)))}
        by_name = {genre: rank for rank, genre in enumerate(sizes)}
        return cls({row["genre_id"]: row["name"] for row in rows}, by_name, by_size)

    def in_order(self, genre_ids: Sequence[int]) -> list[str]:
        """Return the names of genres in alphabetical order."""
        return self._named(genre_ids, self.by_name)

    def shared(self, genre_ids: Sequence[int], others: Sequence[int]) -> list[str]:
        """Return the names of genres that two games share: of the fewest games first, at most two."""
        return self._named(set(genre_ids).intersection(others), self.by_size)[:MOST_SHARED_TAGS]

    def _named(self, genre_ids: Iterable[int], order: Mapping[int, int]) -> list[str]:
        known = (genre for genre in genre_ids if genre in order)  # one may have been removed in the meantime
        return [self.names[genre] for genre in sorted(known, key=order.__getitem__)]


def telling(genres: Collection[str]) -> list[str]:
    """Return genres with the most telling ones first, the others in their order.

    Example:
        >>> telling(["Action", "Singleplayer", "Horror"])
        ['Horror', 'Action', 'Singleplayer']
    """
    return sorted(genres, key=lambda genre: _RANKS.get(genre.lower(), len(TELLING)))


def likes(genres: Sequence[Collection[str]], sizes: Mapping[str, int | None], games: int) -> list[tuple[str, int]]:
    """Return the genres that liked games have more often than the catalogue, with their numbers, the strongest first.

    Args:
        genres: The genres of each liked game.
        sizes: Number of games of the catalogue by genre, None if unknown.
        games: Number of games of the catalogue.
    """
    counted = Counter(genre for names in genres for genre in set(names))
    weights = {
        genre: count * math.log1p(games / max(sizes.get(genre) or games, count)) for genre, count in counted.items()
    }
    return sorted(counted.items(), key=lambda each: (-weights[each[0]], each[0]))


def choose_personas(
    popular: Mapping[str, Sequence[int]], genres: Mapping[int, Collection[str]]
) -> list[tuple[str, list[int]]]:
    """Choose fans of the most telling genres; no game is liked by two of them.

    A fan likes the most popular games of those that are typical of the genre.

    Args:
        popular: Ids of popular games by genre, the most popular first.
        genres: The genres of each of these games.

    Returns:
        Each genre with the ids of the games that its fan likes.
    """
    together = Counter((one, other) for names in genres.values() for one in names for other in names)
    taken: set[int] = set()
    chosen: list[tuple[str, list[int]]] = []
    for genre in telling(popular):
        tagged = [game_id for game_id in popular[genre] if genre in genres[game_id]]  # others are only ranked in it
        typical = {game_id: _typicality(genre, genres[game_id], together) for game_id in tagged}
        least = sorted(typical.values(), reverse=True)[: max(PERSONA_GAMES, len(typical) // 5)][-1:]
        liked = [game_id for game_id, value in typical.items() if [value] >= least and game_id not in taken]
        if len(liked) >= PERSONA_GAMES and len(chosen) < MOST_PERSONAS:
            taken.update(liked[:PERSONA_GAMES])
            chosen.append((genre, liked[:PERSONA_GAMES]))
    return chosen


def _typicality(genre: str, names: Collection[str], together: Mapping[tuple[str, str], int]) -> float:
    """Return how often games of the other genres of a game are of a genre: the mean of these shares, from 0 to 1."""
    shares = [together[other, genre] / together[other, other] for other in names if other != genre]
    return sum(shares) / len(shares) if shares else 1.0
