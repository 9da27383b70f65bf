"""Popularity: how many recommend a game; recent popularity: the same, where a review counts the less the older it is.

Whoever does not recommend a game adds nothing to its popularity.
"""

import numpy as np

from steam_recsys.arrays import Float64Array, Int32Array
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import UNDATED, Interactions

DECAY_DAYS = 120.0
"""Days after which a review counts 1/e."""

DECAYS = (30.0, DECAY_DAYS, np.inf)
"""The decays under which a model sees popularity, to weigh them itself; without decay it is the number of reviews."""


def recent_popularity(
    interactions: Interactions,
    game_ids: Int32Array,
    as_of: int,
    decay_days: float = DECAY_DAYS,
    onto: Float64Array | None = None,
) -> Float64Array:
    """Each game's exponentially decayed number of reviews that recommend it, as of a day.

    Args:
        interactions: undated ones and those on or after `as_of` do not count, so that nothing looks into the future.
        game_ids: the catalogue, int32 [N], ascending; other games are passed over.
        as_of: the day, in days since 1970-01-01.
        decay_days: age in days at which a review counts 1/e.
        onto: what earlier users' interactions came to, which these are added to.

    Returns:
        float64 [N].
    """
    days = interactions.days
    counted = interactions.where(interactions.recommended & (days != UNDATED) & (days < as_of))
    return _counts(counted, game_ids, np.exp((counted.days.astype(np.float64) - as_of) / decay_days), onto)


def popularity(interactions: Interactions, game_ids: Int32Array, onto: Float64Array | None = None) -> Float64Array:
    """Each game's number of reviews that recommend it, float64 [N]; arguments as for recent popularity."""
    counted = interactions.where(interactions.recommended)
    return _counts(counted, game_ids, np.ones(len(counted)), onto)


def popularity_as_of(
    interactions: Interactions, game_ids: Int32Array, as_of: int | None, onto: Float64Array | None = None
) -> Float64Array:
    """Recent popularity as of a day under each of the `DECAYS`, float64 [D, N]; popularity where time plays no part."""
    if as_of is None:
        return np.tile(popularity(interactions, game_ids), (len(DECAYS), 1))
    earlier = np.zeros((len(DECAYS), len(game_ids))) if onto is None else onto
    by_decay = zip(DECAYS, earlier, strict=True)
    return np.stack([recent_popularity(interactions, game_ids, as_of, decay, before) for decay, before in by_decay])


def _counts(
    interactions: Interactions, game_ids: Int32Array, weights: Float64Array, onto: Float64Array | None
) -> Float64Array:
    counts = np.zeros(len(game_ids)) if onto is None else onto.copy()
    positions = positions_of(interactions.games, game_ids)
    known = positions >= 0
    np.add.at(counts, positions[known], weights[known])  # one after the other: in parts the same to the last digit
    return counts
