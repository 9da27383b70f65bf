"""AUC against equally popular games: whether a ranker knows a user's taste, which popularity cannot tell."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from steam_recsys.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array, contains
from steam_recsys.data.histories import Histories
from steam_recsys.evaluation.beyond_accuracy import HEAD_GAMES, MATCHED_AUC, TAIL_MATCHED_AUC, mean, unique_ranks
from steam_recsys.evaluation.rankers import Ranker, score_blocks
from steam_recsys.evaluation.splits import HeldOut
from steam_recsys.model.retrieval import top_k

MATCHES = 50
"""Games of about the same popularity that each held-out game is compared with."""

MATCHED_PAIRS = 100_000
"""Maximum number of held-out games that are compared; of more, this many are drawn at random."""

_BLOCK_CANDIDATES = 1 << 20
"""Candidates for a match that are checked at a time."""


@dataclass(frozen=True)
class PopularityMatches:
    """Held-out games, each with the games of about the same popularity that its user does not have.

    Popularity cannot tell them apart, so a ranker that ranks the held-out game above the others knows the user's taste.
    In the head of the catalogue no games are as popular as the first ones; `tail` leaves the head out.

    Attributes:
        users: Row of each held-out game's user, int64 [n], ascending.
        games: The held-out games as positions, int32 [n].
        others: Nearest games by rank of popularity, in turn the next more and the next less popular one, without the
            user's own games, int32 [n, MATCHES], -1 if there are fewer, at least one each.
        tail: Whether the held-out game is outside the `HEAD_GAMES` most popular ones, bool [n].
    """

    users: Int64Array
    games: Int32Array
    others: Int32Array
    tail: BoolArray

    @classmethod
    def from_held_out(cls, held_out: HeldOut, popularity: Float64Array) -> PopularityMatches:
        """Match the held-out games, or `MATCHED_PAIRS` of them, the same ones each time.

        Args:
            held_out: The users, whose games before and after the cutoff are no match.
            popularity: float64 [N].
        """
        history, relevant, n_games = held_out.history, held_out.relevant, len(popularity)
        places = unique_ranks(popularity)
        order = np.argsort(places).astype(np.int32)
        owned = [owner.owners * n_games + places[owner.games] for owner in (history, relevant)]
        users, games = relevant.owners, relevant.games
        if len(games) > MATCHED_PAIRS:
            drawn = np.sort(np.random.default_rng(0).choice(len(games), MATCHED_PAIRS, replace=False))
            users, games = users[drawn], games[drawn]
        others = _nearest(users, places[games], np.unique(np.concatenate(owned)), n_games)
        found = np.where(others >= 0, order[others], np.int32(-1)) if n_games else others.astype(np.int32)
        matched = (found >= 0).any(axis=1)
        return cls(users[matched], games[matched], found[matched], (places[games] >= HEAD_GAMES)[matched])

    def pairs_of(self, rows: slice) -> slice:
        """Return where the held-out games of consecutive users are."""
        first, last = np.searchsorted(self.users, [rows.start, rows.stop])
        return slice(int(first), int(last))

    def auc_of(self, rows: slice, scores: Float32Array) -> Float64Array:
        """Return the share of the others that score below each held-out game of consecutive users, float64.

        Equal scores count one half, so that a ranker that knows only popularity has about .5, as one without knowledge;
        a little more if the user owns many of the more popular games, which are then no match. It is the area under
        the ROC curve (Hanley and McNeil 1982) against negatives matched by popularity.

        Args:
            rows: The users' rows.
            scores: Their scores of all games, float32 [b, N].
        """
        pairs = self.pairs_of(rows)
        users, others = self.users[pairs, None] - rows.start, self.others[pairs]
        own, compared, matched = scores[users, self.games[pairs, None]], scores[users, others], others >= 0
        wins = ((own > compared) + 0.5 * (own == compared)) * matched
        figures: Float64Array = wins.sum(axis=1) / matched.sum(axis=1)
        return figures

    def figures(self, auc: Float64Array) -> dict[str, float]:
        """Return the mean over all held-out games and over those of the tail by name, without those of no games."""
        means = {MATCHED_AUC: mean(auc), TAIL_MATCHED_AUC: mean(auc[self.tail])}
        return {name: figure for name, figure in means.items() if figure is not None}


def rank_and_match(
    ranker: Ranker, history: Histories, k: int, matches: PopularityMatches
) -> tuple[Int32Array, Float64Array]:
    """Return what `rank` returns, and `PopularityMatches.auc_of` for all users, float64 [n], from the same scores."""
    ranked, auc = np.empty((len(history), k), dtype=np.int32), np.empty(len(matches.users))
    for rows, scores in score_blocks(ranker, history):
        ranked[rows], _ = top_k(scores, k)
        auc[matches.pairs_of(rows)] = matches.auc_of(rows, scores)
    return ranked, auc


def _nearest(users: Int64Array, places: Int64Array, owned: Int64Array, n_games: int) -> Int64Array:
    """Find the `MATCHES` places nearest to each place that are not owned, int64 [n, MATCHES], -1 if there are fewer.

    Args:
        users: Row of the user, int64 [n].
        places: Ranks by popularity, from 0, int64 [n].
        owned: user × n_games + place of each owned game, int64, ascending.
        n_games: Size of the catalogue.
    """
    found = np.full((len(users), MATCHES), -1, dtype=np.int64)
    left, width = np.arange(len(users)), MATCHES
    while len(left):
        offsets = (np.arange(1, width + 1)[:, None] * np.array([-1, 1])).reshape(-1)
        short = []
        for pairs in _chunks(left, max(1, _BLOCK_CANDIDATES // len(offsets))):
            candidates = places[pairs, None] + offsets
            free = (candidates >= 0) & (candidates < n_games)
            free &= ~contains(owned, users[pairs, None] * n_games + candidates)
            index = np.cumsum(free, axis=1) - 1
            rows, columns = np.nonzero(free & (index < MATCHES))
            found[pairs[rows], index[rows, columns]] = candidates[rows, columns]
            short.append(pairs[index[:, -1] + 1 < MATCHES])
        left, width = np.concatenate(short) if width < n_games else left[:0], 4 * width
    return found


def _chunks(rows: Int64Array, size: int) -> Iterator[Int64Array]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
