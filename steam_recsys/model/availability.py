"""Which games may be recommended: those that are released and still sold."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steam_recsys.arrays import BoolArray


def available(games: pa.Table, as_of: date | None) -> BoolArray:
    """Select the games that are released and still sold on a day.

    Args:
        games: Table with `released_on` and `delisted_on`; a game without a release date counts as released.
        as_of: The day; None if no day is known, and then every game without a delisting date is available.

    Returns:
        bool [n_games].
    """
    if as_of is None:
        return np.asarray(pc.is_null(games["delisted_on"]))
    released = pc.fill_null(pc.less_equal(games["released_on"], pa.scalar(as_of)), True)
    delisted = pc.fill_null(pc.less_equal(games["delisted_on"], pa.scalar(as_of)), False)
    return np.asarray(pc.and_not(released, delisted))
