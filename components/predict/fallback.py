"""Lists for users without history: what is popular now, overall and in each genre."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from steam_recsys.data.schemas import POPULAR

LENGTH = 100
"""Games a list: enough to fill an answer after what the user has seen is left out."""

OVERALL = ""
"""The genre of the list over all games."""


def fallback_lists(
    games: pa.Table, rankings: pa.Table, recent: npt.NDArray[np.float64], total: npt.NDArray[np.float64]
) -> pa.Table:
    """The most popular games, overall and of each genre: a game's own tags and the genres that it is ranked in.

    Args:
        games: with `game_id` and `genres`, ordered by `game_id`.
        rankings: with `game_id` and `genre`.
        recent: float64 [n_games], recent popularity, the order of a list and its score.
        total: float64 [n_games], the number of reviews, which orders games that nobody reviewed lately.

    Returns:
        A table of the schema POPULAR, ordered by genre and rank.
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
    """Each game's genres, tags first, without repeats."""
    ranked_in: dict[int, list[str]] = defaultdict(list)
    for game_id, genre in zip(rankings["game_id"].to_pylist(), rankings["genre"].to_pylist(), strict=True):
        ranked_in[game_id].append(genre)
    return [
        list(dict.fromkeys([*tags, *sorted(ranked_in[game_id])]))
        for game_id, tags in zip(games["game_id"].to_pylist(), games["genres"].to_pylist(), strict=True)
    ]
