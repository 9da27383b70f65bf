"""Which games may be recommended."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from steam_recsys.arrays import BoolArray


def on_offer(games: pa.Table, as_of: date | None) -> BoolArray:
    """The games that are out and still sold on a day.

    Args:
        games: with `released_on` and `delisted_on`; a game without a day of release is out.
        as_of: the day; None where none is known, and then only what is known to have been delisted is not on offer.

    Returns:
        bool [n_games].
    """
    if as_of is None:
        return np.asarray(pc.is_null(games["delisted_on"]))
    out = pc.fill_null(pc.less_equal(games["released_on"], pa.scalar(as_of)), True)
    delisted = pc.fill_null(pc.less_equal(games["delisted_on"], pa.scalar(as_of)), False)
    return np.asarray(pc.and_not(out, delisted))
