"""What the model is trained on: each user's games, the vocabulary, and how popular the games were at the time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from components.predict.recommender import genre_table, popularity_offset
from components.shared.histories import Histories, positions_of
from components.shared.interactions import Floats, Interactions, Ints, Longs
from components.shared.popularity import recent_popularity
from components.train.model import Config


@dataclass(frozen=True)
class Batch:
    """Some users: the part of their games that the step sees, all of their games as targets, and their periods.

    Games are rows of the vocabulary, one user's after the other's: int32 with int64 [B] lengths.
    """

    history: Ints
    history_lengths: Longs
    targets: Ints
    target_lengths: Longs
    periods: Ints


@dataclass(frozen=True)
class Corpus:
    """Training data: V games with an interaction, G genres, P periods.

    Attributes:
        game_ids: int32 [V], ascending: the vocabulary.
        genres: each game's genre names, V sequences.
        genre_names: the G genres that these games have, sorted.
        genre_offsets: int64 [V + 1], into `genre_rows`.
        genre_rows: int64, each game's genres.
        histories: users' games as rows of the vocabulary.
        periods: int32 [B], the period of each user's latest interaction.
        popularity_offsets: float32 [P, V].
    """

    game_ids: Ints
    genres: Sequence[Sequence[str]]
    genre_names: tuple[str, ...]
    genre_offsets: Longs
    genre_rows: Longs
    histories: Histories
    periods: Ints
    popularity_offsets: Floats

    @classmethod
    def of(cls, interactions: Interactions, games: pa.Table, config: Config) -> Corpus:
        """Set up dated interactions for training; `games` has the columns `game_id` and `genres`."""
        game_ids = np.unique(interactions.games)
        genres = _genres_of(game_ids, games)
        genre_names = tuple(sorted({name for names in genres for name in names}))
        genre_offsets, genre_rows = genre_table(genre_names, genres)
        histories = Histories.of(interactions, game_ids)
        periods, offsets = _popularity_by_period(interactions, game_ids, histories, config)
        return cls(game_ids, genres, genre_names, genre_offsets, genre_rows, histories, periods, offsets)

    def batches(self, config: Config, random: np.random.Generator) -> Iterator[Batch]:
        """One epoch: the users in a new order, some of their games dropped from the histories at random."""
        order = random.permutation(len(self.histories))
        size = min(config.batch_users, max(16, len(order) // config.min_steps))
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            users = self.histories.take(rows)
            kept = random.random(len(users.games)) >= config.history_dropout
            owners = np.repeat(np.arange(len(users)), users.lengths)
            yield Batch(
                history=users.games[kept],
                history_lengths=np.bincount(owners[kept], minlength=len(users)).astype(np.int64),
                targets=users.games,
                target_lengths=users.lengths,
                periods=self.periods[rows],
            )


def _genres_of(game_ids: Ints, games: pa.Table) -> Sequence[Sequence[str]]:
    ids = games["game_id"].to_numpy()
    order = np.argsort(ids, kind="stable")
    rows = order[positions_of(game_ids, ids[order])]
    genres: list[list[str]] = games["genres"].take(pa.array(rows)).to_pylist()
    return genres


def _popularity_by_period(
    interactions: Interactions, game_ids: Ints, histories: Histories, config: Config
) -> tuple[Ints, Floats]:
    """Each user's period, and the offset as of each period's first day: none looks past an example's moment."""
    first = int(interactions.days.min())
    order = np.argsort(interactions.users, kind="stable")
    latest = np.maximum.reduceat(interactions.days[order], histories.offsets[:-1])
    periods = (latest - first) // config.period_days
    rows = positions_of(interactions.games, game_ids)
    offsets = np.empty((int(periods.max()) + 1, len(game_ids)), dtype=np.float32)
    for period in range(len(offsets)):
        as_of = first + period * config.period_days
        recent = recent_popularity(rows, interactions.days, as_of, len(game_ids))
        offsets[period] = popularity_offset(recent, config.popularity_weight, config.popularity_smoothing)
    return periods.astype(np.int32), offsets
