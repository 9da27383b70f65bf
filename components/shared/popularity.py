"""Popularity: how many recommend a game; recent popularity: the same, where a review counts the less the older it is.

Whoever does not recommend a game adds nothing to its popularity.
"""

import numpy as np

from components.shared.histories import positions_of
from components.shared.interactions import UNDATED, Doubles, Interactions, Ints

DECAY_DAYS = 120.0
"""Days after which a review counts 1/e."""


def recent_popularity(
    interactions: Interactions, game_ids: Ints, as_of: int, decay_days: float = DECAY_DAYS
) -> Doubles:
    """Each game's exponentially decayed number of reviews that recommend it, as of a day.

    Args:
        interactions: undated ones and those on or after `as_of` do not count, so that nothing looks into the future.
        game_ids: the catalogue, int32 [N], ascending; other games are passed over.
        as_of: the day, in days since 1970-01-01.
        decay_days: age in days at which a review counts 1/e.

    Returns:
        float64 [N].
    """
    days = interactions.days
    counted = interactions.where(interactions.recommended & (days != UNDATED) & (days < as_of))
    return _counts(counted, game_ids, np.exp((counted.days.astype(np.float64) - as_of) / decay_days))


def popularity(interactions: Interactions, game_ids: Ints) -> Doubles:
    """Each game's number of reviews that recommend it, float64 [N]; `game_ids` is int32 [N], ascending."""
    counted = interactions.where(interactions.recommended)
    return _counts(counted, game_ids, np.ones(len(counted)))


def popularity_as_of(interactions: Interactions, game_ids: Ints, as_of: int | None) -> Doubles:
    """Recent popularity as of a day, or, where time plays no part (None), popularity: float64 [N]."""
    return popularity(interactions, game_ids) if as_of is None else recent_popularity(interactions, game_ids, as_of)


def _counts(interactions: Interactions, game_ids: Ints, weights: Doubles) -> Doubles:
    positions = positions_of(interactions.games, game_ids)
    known = positions >= 0
    return np.bincount(positions[known], weights=weights[known], minlength=len(game_ids)).astype(np.float64)
