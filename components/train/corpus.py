"""What the model is trained on: each user's games, the vocabulary, and how popular the games were at the time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.predict.recommender import AttributeTable, popularity_offset
from components.shared.games import Games, shared_names
from components.shared.histories import Histories
from components.shared.interactions import Floats, Interactions, Ints, Longs
from components.shared.popularity import popularity, recent_popularity
from components.train.model import Config
from components.train.negatives import Negatives, NegativeSampler

HOW_TO_SHUFFLE, HOW_TO_DRAW = 0, 1


@dataclass(frozen=True)
class Batch:
    """B users: the part of their games that the step sees, and all that they recommend as targets, by user and period.

    Games are rows of the vocabulary, int32, one user's after the other's.

    Attributes:
        history: the users' games.
        history_lengths: int64 [B].
        targets: the games that they recommend; a user has as many of the R rows as periods with such.
        target_lengths: int64 [R].
        row_users: int32 [R], each row's user as a number below B.
        row_periods: int32 [R].
        weights: float32 [R], what a row's targets count: one over the square root of the number of the user's targets,
            half-way between one vote a user and one vote an interaction, over the number of users in the whole step.
        known_ids: float32 [V], 0 for games that the step sees as new ones, by their attributes alone.
        negatives: what the softmax is taken over where not over all games.
    """

    history: Ints
    history_lengths: Longs
    targets: Ints
    target_lengths: Longs
    row_users: Ints
    row_periods: Ints
    weights: Floats
    known_ids: Floats
    negatives: Negatives | None


@dataclass(frozen=True)
class Corpus:
    """Training data: V games with an interaction, A attributes, P periods.

    Attributes:
        games: the V games: the vocabulary.
        attribute_names: the A names.
        attributes: the games', as rows of the names.
        histories: users' games as rows of the vocabulary, a user's in the order of time; users who recommend something.
        periods: int32, the period of each of the histories' games.
        popularity_offsets: float32 [P, V].
        sampler: draws what the softmax is taken over; None for a catalogue that it is taken over whole.
        seed: of the order of the users, of what a step sees and of the negatives.
    """

    games: Games
    attribute_names: tuple[str, ...]
    attributes: AttributeTable
    histories: Histories
    periods: Ints
    popularity_offsets: Floats
    sampler: NegativeSampler | None
    seed: int

    @classmethod
    def of(cls, interactions: Interactions, games: Games, config: Config, seed: int) -> Corpus:
        """Set up interactions for training, dated ones or, without any look at time, such as have no dates.

        Args:
            interactions: all dated, or none; ordered by user, then day.
            games: the catalogue.
            config: of the model.
            seed: of everything random.
        """
        known = games.only(np.unique(interactions.games))
        names = shared_names(known.attributes)
        periods, offsets = _popularity_by_period(interactions, known.ids, config)
        kept = np.isin(interactions.users, interactions.users[interactions.recommended])
        histories = Histories.of(interactions.where(kept), known.ids)
        large = len(known) > config.full_softmax_games
        sampler = NegativeSampler.of(histories, len(known), config.negatives) if large else None
        attributes = AttributeTable.of(names, known.attributes)
        return cls(known, names, attributes, histories, periods[kept], offsets, sampler, seed)

    def batches(self, config: Config, start: int, stop: int, worker: int = 0, workers: int = 1) -> Iterator[Batch]:
        """What some of the steps see, or the part of it that falls to one of several workers.

        A step's batch follows from its number alone, so that training can stop anywhere and go on. An epoch sees all
        users, in an order of its own.
        """
        steps = self.steps_per_epoch(config)
        parts: list[Longs] = []
        for step in range(start, stop):
            epoch, place = divmod(step, steps)
            if not place or not parts:
                order = np.random.default_rng([self.seed, HOW_TO_SHUFFLE, epoch]).permutation(len(self.histories))
                parts = np.array_split(order, steps)
            yield self._batch(step, parts[place], config, worker, workers)

    def _batch(self, step: int, rows: Longs, config: Config, worker: int, workers: int) -> Batch:
        random = np.random.default_rng([self.seed, HOW_TO_DRAW, step])
        known_ids = self._known_ids(random, config)
        negatives = self.sampler.draw(random) if self.sampler else None
        kept = random.random(int(self.histories.lengths[rows].sum())) >= config.history_dropout
        owner = np.repeat(np.arange(len(rows)), self.histories.lengths[rows])
        mine = np.arange(worker, len(rows), workers)
        users, seen = self.histories.take(rows[mine]), kept[owner % workers == worker]
        owners = np.repeat(np.arange(len(users)), users.lengths)
        targets = self._targets(rows[mine], users, owners)
        targets["weights"] /= np.float32(len(rows))
        return Batch(
            history=users.games[seen],
            history_lengths=np.bincount(owners[seen], minlength=len(users)).astype(np.int64),
            known_ids=known_ids,
            negatives=negatives.without(targets["targets"], targets["target_lengths"]) if negatives else None,
            **targets,
        )

    def steps_per_epoch(self, config: Config) -> int:
        """How many batches an epoch has."""
        users = len(self.histories)
        smallest = min(config.batch_users, max(16, users // config.min_steps_per_epoch))
        return -(-users // max(smallest, users // config.max_steps_per_epoch))

    def steps(self, config: Config) -> int:
        """How many steps a fit takes."""
        return max(config.min_steps, config.epochs * self.steps_per_epoch(config))

    def _known_ids(self, random: np.random.Generator, config: Config) -> Floats:
        hidden = random.random(len(self.games)) < config.id_dropout
        return np.where(hidden & (np.diff(self.attributes.offsets) > 0), 0, 1).astype(np.float32)

    def _targets(self, rows: Longs, users: Histories, owners: Longs) -> dict[str, Any]:
        """The targets of the users in some rows of the corpus, as `Batch` has them, but for the step's users."""
        starts = np.repeat(self.histories.offsets[rows] - users.offsets[:-1], users.lengths)
        wanted = users.recommended
        periods = self.periods[starts + np.arange(len(owners))][wanted]
        owners = owners[wanted]
        first = np.ones(len(owners), dtype=bool)
        first[1:] = (owners[1:] != owners[:-1]) | (periods[1:] != periods[:-1])
        places = np.flatnonzero(first)
        row_users = owners[places]
        counts = np.bincount(owners, minlength=len(users))
        return {
            "targets": users.games[wanted],
            "target_lengths": np.diff(places, append=len(owners)).astype(np.int64),
            "row_users": row_users.astype(np.int32),
            "row_periods": periods[places],
            "weights": (1 / np.sqrt(counts[row_users])).astype(np.float32),
        }


def _popularity_by_period(interactions: Interactions, game_ids: Ints, config: Config) -> tuple[Ints, Floats]:
    """Each interaction's period, and the offset as of each period's first day: none looks past an example's moment."""
    weight, smoothing = config.popularity_weight, config.popularity_smoothing
    if not interactions.dated.any():
        offset = popularity_offset(popularity(interactions, game_ids), weight, smoothing)
        return np.zeros(len(interactions), dtype=np.int32), offset[None]
    first = int(interactions.days.min())
    periods = (interactions.days - first) // config.period_days
    offsets = np.empty((int(periods.max()) + 1, len(game_ids)), dtype=np.float32)
    for period in range(len(offsets)):
        recent = recent_popularity(interactions, game_ids, first + period * config.period_days)
        offsets[period] = popularity_offset(recent, weight, smoothing)
    return periods.astype(np.int32), offsets
