"""The lists that each user has: how long they are, how much popularity counts, and which games may be on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steam_recsys.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array
from steam_recsys.data.interactions import UNDATED
from steam_recsys.data.schemas import DISCOVERY, INTERESTS, NEW_RELEASES, RELEVANCE
from steam_recsys.model.retrieval import GameList

LENGTHS = {RELEVANCE: 50, INTERESTS: 200, DISCOVERY: 30, NEW_RELEASES: 30}

INTERESTS_SHARE = 1 / 4
"""Largest share of the catalogue that a user's interests may take: more would be no choice."""

HEAD_GAMES, HEAD_SHARE = 50, 1 / 5
"""The head of the catalogue: this many of its most popular games, and at most this share of it."""

MIN_LIKES = 2
"""Reviews that must recommend a game before taste alone may rank it: the vectors of others are noise."""

MIN_LIKED_SHARE = 0.6
"""Share of a game's reviews that must recommend it in the discovery list."""

NEW_RELEASE_DAYS = 90
"""Days up to the publication in which a new release came out."""


@dataclass(frozen=True)
class ReviewCounts:
    """The reviews of N games, dated or not.

    Attributes:
        likes: int64 [N], reviews that recommend the game.
        reviews: int64 [N], all reviews.
    """

    likes: Int64Array
    reviews: Int64Array

    @property
    def supported(self) -> BoolArray:
        """The games that taste alone may rank, bool [N]."""
        return np.asarray(self.likes >= MIN_LIKES)

    @property
    def well_liked(self) -> BoolArray:
        """The supported games that most reviews recommend, bool [N]."""
        return self.supported & (self.likes >= MIN_LIKED_SHARE * self.reviews)


def game_lists(
    popularity_weight: float,
    interests_weight: float,
    popularity_prior: Float32Array,
    available: BoolArray,
    counts: ReviewCounts,
    new: BoolArray,
) -> list[GameList]:
    """Describe the four lists of a catalogue of N games; a list that no game may be on is left out.

    Args:
        popularity_weight: Factor of the popularity prior in the list of the most relevant games.
        interests_weight: The same in the lists of games of the user's taste, above 0.
        popularity_prior: float32 [N].
        available: bool [N], the games that may be recommended.
        counts: The games' reviews.
        new: bool [N], the new releases.
    """
    supported = available & counts.supported
    tail = available & ~head(popularity_prior, available)
    lists = [
        GameList(RELEVANCE, LENGTHS[RELEVANCE], popularity_weight),
        GameList(INTERESTS, interests_length(int(supported.sum())), interests_weight, supported),
        GameList(DISCOVERY, LENGTHS[DISCOVERY], interests_weight, tail & counts.well_liked),
        GameList(NEW_RELEASES, LENGTHS[NEW_RELEASES], popularity_weight, available & new),
    ]
    return [wanted for wanted in lists if wanted.allowed is None or wanted.allowed.any()]


def interests_length(n_games: int) -> int:
    """Return the length of the list of interests in a catalogue of that many supported games."""
    return max(LENGTHS[RELEVANCE], min(LENGTHS[INTERESTS], int(INTERESTS_SHARE * n_games)))


def head(popularity_prior: Float32Array, available: BoolArray) -> BoolArray:
    """Return the head of the catalogue: the most popular available games, bool [N]."""
    candidates = np.flatnonzero(available)
    size = min(HEAD_GAMES, int(HEAD_SHARE * len(candidates)))
    popular = np.zeros(len(popularity_prior), dtype=bool)
    popular[candidates[np.argsort(-popularity_prior[candidates], kind="stable")[:size]]] = True
    return popular


def new_releases(released: Int32Array, as_of: int, days: int) -> BoolArray:
    """Return the games that were released in the last days, bool [N].

    Args:
        released: int32 [N], days since 1970-01-01, `UNDATED` if unknown.
        as_of: The last day, in days since 1970-01-01; a game released on it is available.
        days: Number of days, with the last one.
    """
    return np.asarray((released != UNDATED) & (released <= as_of) & (released > as_of - days))


def liked_share_bound(counts: ReviewCounts) -> Float64Array:
    """Return a lower bound of the share of each game's reviews that recommend it, float64 [N]; 0 without reviews.

    It is the lower end of Wilson's 95 % interval (Wilson 1927, "Probable Inference, the Law of Succession, and
    Statistical Inference"), so that a game with few reviews is not first by luck.
    """
    n, z = np.maximum(counts.reviews, 1).astype(np.float64), 1.96
    share = counts.likes / n
    centre = share + z**2 / (2 * n)
    spread = z * np.sqrt((share * (1 - share) + z**2 / (4 * n)) / n)
    bound: Float64Array = np.where(counts.reviews > 0, (centre - spread) / (1 + z**2 / n), 0.0)
    return bound
