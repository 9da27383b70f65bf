"""Which games are nearest to each game, by the cosine of who has them: what item-kNN recommends by.

Of the catalogue's square only the pairs that somebody has are looked at, a block of games at a time, and of each game
only the nearest are kept, so that a catalogue of any size fits the memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import csr_matrix, vstack

from steam_recsys.arrays import Float64Array, Int64Array
from steam_recsys.data.histories import Histories
from steam_recsys.evaluation.ease import user_game_matrix

BLOCK_PAIRS = 1 << 22
"""Pairs of games within histories to count at a time; they come to no more similarities than that."""


def nearest_games(histories: Histories, n_games: int, k: int) -> csr_matrix:
    """The similarities of each game to the k games that are nearest to it, of equally near ones the first by position.

    A similarity is the cosine of two games' users, |both| / √(|one| · |other|). A game is not near to itself, nor to
    one that it has no user in common with (Sarwar et al. 2001, "Item-Based Collaborative Filtering Recommendation
    Algorithms", section 3.1).

    Args:
        histories: the users' games, each once.
        n_games: the catalogue's size.
        k: how many to keep, at least one.

    Returns:
        float32 [n_games, n_games], a row a game, the nearest first.
    """
    users = user_game_matrix(histories, n_games)
    games = users.T.tocsr()
    sizes = np.diff(games.indptr).astype(np.float64)
    pairs = (games @ histories.lengths).astype(np.int64)
    nearest = [strongest(_similarities(games[rows], users, sizes, rows), k) for rows in _blocks(pairs)]
    return vstack(nearest, format="csr")


def strongest(similarities: csr_matrix, k: int) -> csr_matrix:
    """The k highest of each row, the highest first, of equal ones the first by column."""
    kept = [np.zeros(0, dtype=np.int64)]
    for start, stop in zip(similarities.indptr[:-1], similarities.indptr[1:], strict=True):
        values = similarities.data[start:stop]
        least = np.partition(values, -k)[-k] if len(values) > k else 0
        found = start + np.flatnonzero(values >= least)
        kept.append(found[np.lexsort((similarities.indices[found], -similarities.data[found]))[:k]])
    places, offsets = np.concatenate(kept), np.cumsum([len(of_row) for of_row in kept])
    return csr_matrix((similarities.data[places], similarities.indices[places], offsets), shape=similarities.shape)


def _blocks(pairs: Int64Array) -> Iterator[slice]:
    """The games, with int64 [n_games] pairs each, in blocks of `BLOCK_PAIRS` or less before their last game's."""
    before = np.cumsum(pairs) - pairs
    starts = np.flatnonzero(np.diff(before // BLOCK_PAIRS, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(pairs)], strict=True):
        yield slice(start, stop)


def _similarities(games: csr_matrix, users: csr_matrix, sizes: Float64Array, rows: slice) -> csr_matrix:
    """Those of some games to all others, float32 [b, n_games]; equal cosines are equal numbers.

    Args:
        games: the games by users, [b, B].
        users: users by games, [B, n_games].
        sizes: how many users every game has, [n_games].
        rows: where the games stand in the catalogue.
    """
    found = games @ users
    owners = np.repeat(np.arange(rows.start, rows.stop), np.diff(found.indptr))
    # The root of one quotient of whole numbers: a product of roots would round equal cosines differently.
    squares = np.square(found.data, dtype=np.float64) / (sizes[owners] * sizes[found.indices])
    found.data = np.where(owners == found.indices, 0, np.sqrt(squares)).astype(np.float32)
    found.eliminate_zeros()
    return found
