"""What the model is trained on: each user's games, the vocabulary, and how popular the games were at the time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from components.predict.recommender import genre_table, popularity_offset
from components.shared.histories import Histories, positions_of
from components.shared.interactions import Floats, Interactions, Ints, Longs
from components.shared.popularity import popularity, recent_popularity
from components.train.model import Config


@dataclass(frozen=True)
class Batch:
    """B users: the part of their games that the step sees, and all of their games as targets, by user and period.

    Games are rows of the vocabulary, int32, one user's after the other's.

    Attributes:
        history: the users' games.
        history_lengths: int64 [B].
        targets: the users' games once more; a user has as many of the R rows as periods with interactions.
        target_lengths: int64 [R].
        row_users: int32 [R], each row's user as a number below B.
        row_periods: int32 [R].
        weights: float32 [R], what a row's targets count: one over the square root of the number of the user's games,
            half-way between one vote a user and one vote an interaction.
    """

    history: Ints
    history_lengths: Longs
    targets: Ints
    target_lengths: Longs
    row_users: Ints
    row_periods: Ints
    weights: Floats


@dataclass(frozen=True)
class Corpus:
    """Training data: V games with an interaction, G genres, P periods.

    Attributes:
        game_ids: int32 [V], ascending: the vocabulary.
        genres: each game's genre names, V sequences.
        genre_names: the G genres that these games have, sorted.
        genre_offsets: int64 [V + 1], into `genre_rows`.
        genre_rows: int64, each game's genres.
        histories: users' games as rows of the vocabulary, a user's in the order of time.
        periods: int32, the period of each of the histories' games.
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
        """Set up interactions for training, dated ones or, without any look at time, such as have no dates.

        Args:
            interactions: all dated, or none; ordered by user, then day.
            games: with the columns `game_id` and `genres`.
            config: of the model.
        """
        game_ids = np.unique(interactions.games)
        genres = _genres_of(game_ids, games)
        genre_names = tuple(sorted({name for names in genres for name in names}))
        genre_offsets, genre_rows = genre_table(genre_names, genres)
        histories = Histories.of(interactions, game_ids)
        periods, offsets = _popularity_by_period(interactions, game_ids, config)
        return cls(game_ids, genres, genre_names, genre_offsets, genre_rows, histories, periods, offsets)

    def batches(self, config: Config, random: np.random.Generator) -> Iterator[Batch]:
        """One epoch: the users in a new order, some of their games dropped from the histories at random."""
        order = random.permutation(len(self.histories))
        size = self._batch_users(config)
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            users = self.histories.take(rows)
            kept = random.random(len(users.games)) >= config.history_dropout
            owners = np.repeat(np.arange(len(users)), users.lengths)
            yield Batch(
                history=users.games[kept],
                history_lengths=np.bincount(owners[kept], minlength=len(users)).astype(np.int64),
                **self._targets(rows, users, owners),
            )

    def steps_per_epoch(self, config: Config) -> int:
        """How many batches an epoch has."""
        return -(-len(self.histories) // self._batch_users(config))

    def epochs(self, config: Config) -> int:
        """How many epochs it takes to make `config.min_steps` steps, two at the least."""
        return max(2, -(-config.min_steps // self.steps_per_epoch(config)))

    def _batch_users(self, config: Config) -> int:
        """Fewer than the most where that would leave an epoch with few steps."""
        return min(config.batch_users, max(16, len(self.histories) // config.min_steps_per_epoch))

    def _targets(self, rows: Longs, users: Histories, owners: Longs) -> dict[str, Any]:
        """The targets of the users in some rows of the corpus, as `Batch` has them."""
        starts = np.repeat(self.histories.offsets[rows] - users.offsets[:-1], users.lengths)
        periods = self.periods[starts + np.arange(len(owners))]
        first = np.ones(len(owners), dtype=bool)
        first[1:] = (owners[1:] != owners[:-1]) | (periods[1:] != periods[:-1])
        places = np.flatnonzero(first)
        row_users = owners[places]
        return {
            "targets": users.games,
            "target_lengths": np.diff(places, append=len(owners)).astype(np.int64),
            "row_users": row_users.astype(np.int32),
            "row_periods": periods[places],
            "weights": (1 / np.sqrt(users.lengths[row_users])).astype(np.float32),
        }


def _genres_of(game_ids: Ints, games: pa.Table) -> Sequence[Sequence[str]]:
    ids = games["game_id"].to_numpy()
    order = np.argsort(ids, kind="stable")
    rows = order[positions_of(game_ids, ids[order])]
    genres: list[list[str]] = games["genres"].take(pa.array(rows)).to_pylist()
    return genres


def _popularity_by_period(interactions: Interactions, game_ids: Ints, config: Config) -> tuple[Ints, Floats]:
    """Each interaction's period, and the offset as of each period's first day: none looks past an example's moment."""
    rows = positions_of(interactions.games, game_ids)
    weight, smoothing = config.popularity_weight, config.popularity_smoothing
    if not interactions.dated.any():
        offset = popularity_offset(popularity(rows, len(game_ids)), weight, smoothing)
        return np.zeros(len(interactions), dtype=np.int32), offset[None]
    first = int(interactions.days.min())
    periods = (interactions.days - first) // config.period_days
    offsets = np.empty((int(periods.max()) + 1, len(game_ids)), dtype=np.float32)
    for period in range(len(offsets)):
        as_of = first + period * config.period_days
        recent = recent_popularity(rows, interactions.days, as_of, len(game_ids))
        offsets[period] = popularity_offset(recent, weight, smoothing)
    return periods.astype(np.int32), offsets
