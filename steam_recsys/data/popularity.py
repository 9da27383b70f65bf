"""Popularity of games: the number of reviews that recommend a game. In recent popularity, older reviews count less."""

import numpy as np

from steam_recsys.arrays import Float64Array, Int32Array
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import UNDATED, Interactions

DECAY_DAYS = 120.0
"""Age in days at which a review counts 1/e."""

DECAYS = (30.0, DECAY_DAYS, np.inf)
"""The decays among which a model weighs popularity; infinity is the plain number of reviews."""


def recent_popularity(
    interactions: Interactions,
    game_ids: Int32Array,
    as_of: int,
    decay_days: float = DECAY_DAYS,
    initial: Float64Array | None = None,
) -> Float64Array:
    """Count the reviews that recommend each game on a day, with exponential decay.

    Args:
        interactions: Reviews. Undated ones and those on or after `as_of` are ignored, so that no future leaks in.
        game_ids: The catalogue, int32 [N], ascending; other games are ignored.
        as_of: The day, in days since 1970-01-01.
        decay_days: Age in days at which a review counts 1/e.
        initial: Counts to add to, float64 [N], such as those of other users.

    Returns:
        float64 [N].
    """
    days = interactions.days
    counted = interactions.take(interactions.recommended & (days != UNDATED) & (days < as_of))
    return _counts(counted, game_ids, np.exp((counted.days.astype(np.float64) - as_of) / decay_days), initial)


def popularity(interactions: Interactions, game_ids: Int32Array, initial: Float64Array | None = None) -> Float64Array:
    """Count the reviews that recommend each game, float64 [N]. Arguments as for `recent_popularity`."""
    counted = interactions.take(interactions.recommended)
    return _counts(counted, game_ids, np.ones(len(counted)), initial)


def popularity_as_of(
    interactions: Interactions, game_ids: Int32Array, as_of: int | None, initial: Float64Array | None = None
) -> Float64Array:
    """Return recent popularity on a day for each of the `DECAYS`, float64 [D, N]; plain popularity without a day."""
    if as_of is None:
        return np.tile(popularity(interactions, game_ids), (len(DECAYS), 1))
    earlier = np.zeros((len(DECAYS), len(game_ids))) if initial is None else initial
    by_decay = zip(DECAYS, earlier, strict=True)
    return np.stack([recent_popularity(interactions, game_ids, as_of, decay, before) for decay, before in by_decay])


def _counts(
    interactions: Interactions, game_ids: Int32Array, weights: Float64Array, initial: Float64Array | None
) -> Float64Array:
    counts = np.zeros(len(game_ids)) if initial is None else initial.copy()
    positions = positions_of(interactions.games, game_ids)
    known = positions >= 0
    np.add.at(counts, positions[known], weights[known])  # in order, so that counting in parts gives identical floats
    return counts
