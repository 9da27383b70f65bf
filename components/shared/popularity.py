"""Recent popularity: how often a game was reviewed, where a review counts the less the older it is."""

import numpy as np
import numpy.typing as npt

from components.shared.interactions import UNDATED, Ints

DECAY_DAYS = 120.0
"""Days after which a review counts 1/e."""


def recent_popularity(
    positions: npt.NDArray[np.integer], days: Ints, as_of: int, n_games: int, decay_days: float = DECAY_DAYS
) -> npt.NDArray[np.float64]:
    """Each game's exponentially decayed number of reviews as of a day.

    Args:
        positions: integer [n], each review's game as a position in the catalogue; negative ones are passed over.
        days: int32 [n], each review's day; undated reviews and those on or after `as_of` do not count, so that
            nothing looks into the future.
        as_of: the day, in days since 1970-01-01.
        n_games: the catalogue's size.
        decay_days: age in days at which a review counts 1/e.

    Returns:
        float64 [n_games].
    """
    counts = (positions >= 0) & (days != UNDATED) & (days < as_of)
    ages = as_of - days[counts].astype(np.float64)
    weights = np.exp(-ages / decay_days)
    return np.bincount(positions[counts], weights=weights, minlength=n_games).astype(np.float64)


def popularity(positions: npt.NDArray[np.integer], n_games: int) -> npt.NDArray[np.float64]:
    """Each game's number of reviews, float64 [n_games]; negative positions are passed over."""
    return np.bincount(positions[positions >= 0], minlength=n_games).astype(np.float64)


def popularity_as_of(
    positions: npt.NDArray[np.integer], days: Ints, as_of: int | None, n_games: int
) -> npt.NDArray[np.float64]:
    """Recent popularity as of a day, or, where time plays no part (None), the number of reviews: float64 [n_games]."""
    if as_of is None:
        return popularity(positions, n_games)
    return recent_popularity(positions, days, as_of, n_games)
