"""Fallback lists for visitors, and to fill up: popular games, overall and by genre, new releases, and hidden gems."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pyarrow as pa

from steam_recsys.arrays import BoolArray
from steam_recsys.data.schemas import DISCOVERY, NEW_RELEASES, POPULAR, POPULAR_LIST
from steam_recsys.model.game_counts import GameCounts
from steam_recsys.model.lists import head, liked_share_bound

FALLBACK_GAMES = 100
"""Games per fallback list: enough to fill an answer after the games that the user has seen are removed."""

OVERALL = ""
"""The genre of the fallback list over all games."""


def fallback_lists(
    games: pa.Table, rankings: pa.Table, counts: GameCounts, can_recommend: BoolArray, new: BoolArray
) -> pa.Table:
    """List games for visitors, and to fill up: popular games, overall and by genre, new releases, and hidden gems.

    A game's genres are its own tags and those that it is ranked in. Hidden gems are games outside the head of the
    catalogue, sorted by a lower bound of the share of their reviews that recommend them.

    Args:
        games: Table with `game_id` and `genres`, sorted by `game_id`.
        rankings: Table with `game_id` and `genre`.
        counts: The games' reviews.
        can_recommend: bool [n_games], the games that may be recommended.
        new: bool [n_games], the new releases.

    Returns:
        Table in the schema POPULAR, sorted by list, genre and rank.
    """
    game_ids, recent = games["game_id"].to_numpy(), counts.recent
    by_popularity = np.lexsort((game_ids, -counts.reviews.likes, -recent))
    by_popularity = by_popularity[can_recommend[by_popularity]]
    genres = _genres(games, rankings)
    lists: dict[tuple[str, str], list[int]] = defaultdict(list)
    for position in by_popularity.tolist():
        for genre in dict.fromkeys((OVERALL, *genres[position])):
            if len(lists[POPULAR_LIST, genre]) < FALLBACK_GAMES:
                lists[POPULAR_LIST, genre].append(position)
    lists[NEW_RELEASES, OVERALL] = by_popularity[new[by_popularity]][:FALLBACK_GAMES].tolist()
    quality = liked_share_bound(counts.reviews)
    gems = can_recommend & counts.reviews.well_liked & ~head(recent.astype(np.float32), can_recommend)
    by_quality = np.lexsort((game_ids, -quality))
    lists[DISCOVERY, OVERALL] = by_quality[gems[by_quality]][:FALLBACK_GAMES].tolist()
    rows = [
        (name, genre, rank, int(game_ids[position]), float((quality if name == DISCOVERY else recent)[position]))
        for name, genre in sorted(lists)
        for rank, position in enumerate(lists[name, genre], start=1)
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
