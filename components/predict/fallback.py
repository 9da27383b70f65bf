"""Fallback lists for users without history: the games that are popular now, overall and by genre."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa

from steam_recsys.arrays import Float64Array
from steam_recsys.data.schemas import POPULAR

LENGTH = 100
"""Games per list: enough to fill an answer after the games that the user has seen are removed."""

OVERALL = ""
"""The genre of the list over all games."""


def fallback_lists(games: pa.Table, rankings: pa.Table, recent: Float64Array, total: Float64Array) -> pa.Table:
    """List the most popular games, overall and for each genre: a game's own tags and the genres it is ranked in.

    Args:
        games: Table with `game_id` and `genres`, sorted by `game_id`.
        rankings: Table with `game_id` and `genre`.
        recent: float64 [n_games], recent popularity: the score and the order of a list.
        total: float64 [n_games], number of reviews: the order of games without recent reviews.

    Returns:
        Table in the schema POPULAR, sorted by genre and rank.
    """
    game_ids = games["game_id"].to_numpy()
    order = np.lexsort((game_ids, -total, -recent))
    genres = _genres(games, rankings)
    lists: dict[str, list[int]] = defaultdict(list)
    for position in order.tolist():
        for genre in (OVERALL, *genres[position]):
            if len(lists[genre]) < LENGTH:
                lists[genre].append(position)
    rows = [
        (genre, rank, int(game_ids[position]), float(recent[position]))
        for genre in sorted(lists)
        for rank, position in enumerate(lists[genre], start=1)
    ]
    columns = zip(*rows, strict=True) if rows else ([] for _ in POPULAR)
    return pa.Table.from_arrays(
        [pa.array(list(column), field.type) for column, field in zip(columns, POPULAR, strict=True)], schema=POPULAR
    )


def _genres(games: pa.Table, rankings: pa.Table) -> list[list[str]]:
    """Return the genres of each game, tags first, each genre once."""
    ranked_in: dict[int, list[str]] = defaultdict(list)
    for game_id, genre in zip(rankings["game_id"].to_pylist(), rankings["genre"].to_pylist(), strict=True):
        ranked_in[game_id].append(genre)
    return [
        list(dict.fromkeys([*tags, *sorted(ranked_in[game_id])]))
        for game_id, tags in zip(games["game_id"].to_pylist(), games["genres"].to_pylist(), strict=True)
    ]
