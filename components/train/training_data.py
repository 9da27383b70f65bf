"""What the model is trained on: each user's games, the vocabulary, and how popular the games were at the time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.train.model import Config
from components.train.negatives import Negatives, NegativeSampler
from components.train.popularity_prior import popularity_weights, shares_by_period
from components.train.training_set import Examples, TrainingSet
from steam_recsys.arrays import Float32Array, Float64Array, Int32Array, Int64Array
from steam_recsys.data.games import Games, shared_names
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import popularity
from steam_recsys.model.two_tower import AttributeTable, popularity_offset

HOW_TO_SHUFFLE, HOW_TO_DRAW, HOW_TO_DEAL = 0, 1, 2


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

    history: Int32Array
    history_lengths: Int64Array
    targets: Int32Array
    target_lengths: Int64Array
    row_users: Int32Array
    row_periods: Int32Array
    weights: Float32Array
    known_ids: Float32Array
    negatives: Negatives | None


@dataclass(frozen=True)
class TrainingData:
    """Training data: V games with an interaction, A attributes, P periods.

    Attributes:
        games: the V games: the vocabulary.
        attribute_names: the A names.
        attributes: the games', as rows of the names.
        training_set: the games of the users who recommend something, and their periods, on disk.
        popularity_weights: float64 [D], by decay.
        popularity_offsets: float32 [P, V], what popularity under those weights adds to the scores in each period.
        sampler: draws what the softmax is taken over; None for a catalogue that it is taken over whole.
        seed: of the order of the users, of what a step sees and of the negatives.
    """

    games: Games
    attribute_names: tuple[str, ...]
    attributes: AttributeTable
    training_set: TrainingSet
    popularity_weights: Float64Array
    popularity_offsets: Float32Array
    sampler: NegativeSampler | None
    seed: int

    @classmethod
    def from_interactions(cls, interactions: Interactions, games: Games, config: Config, seed: int) -> TrainingData:
        """Set up interactions for training, dated ones or, without any look at time, such as have no dates.

        Args:
            interactions: all dated, or none; ordered by user, then day.
            games: the catalogue.
            config: of the model.
            seed: of everything random.
        """
        known = games.select(np.unique(interactions.games))
        names = shared_names(known.attributes)
        periods, shares = shares_by_period(interactions, known.ids, config.period_days, config.popularity_smoothing)
        weights = popularity_weights(interactions, periods, shares, known.ids)
        training_set = TrainingSet.write(interactions, periods, known.ids)
        large = len(known) > config.full_softmax_games
        sampler = (
            NegativeSampler.from_popularity(popularity(interactions, known.ids), config.negatives) if large else None
        )
        attributes = AttributeTable.from_names(names, known.attributes)
        offsets = popularity_offset(shares, weights)
        return cls(known, names, attributes, training_set, weights, offsets, sampler, seed)

    @property
    def histories(self) -> Histories:
        """Everybody's, at once: for catalogues that are small enough for what needs them so."""
        return self.training_set.read().histories

    def batches(self, config: Config, start: int, stop: int, worker: int = 0, workers: int = 1) -> Iterator[Batch]:
        """What some of the steps see, or the part of it that falls to one of several workers.

        A step's batch follows from its number alone, so that training can stop anywhere and go on. An epoch sees all
        users, in an order of its own; a window of the training set is in the memory at a time.
        """
        windows = self.training_set.windows
        steps = self.steps_per_epoch(config) // windows
        window: Examples | None = None
        for step in range(start, stop):
            number, place = divmod(step, steps)
            if not place or not window:
                epoch, of_epoch = divmod(number, windows)
                window = self.training_set.window(of_epoch, np.random.default_rng([self.seed, HOW_TO_DEAL, epoch]))
                order = np.random.default_rng([self.seed, HOW_TO_SHUFFLE, number]).permutation(len(window.histories))
                parts = np.array_split(order, steps)
            yield self._batch(step, window, parts[place], config, worker, workers)

    def _batch(self, step: int, window: Examples, rows: Int64Array, config: Config, worker: int, workers: int) -> Batch:
        random = np.random.default_rng([self.seed, HOW_TO_DRAW, step])
        known_ids = self._known_ids(random, config)
        negatives = self.sampler.draw(random) if self.sampler else None
        lengths = window.histories.offsets[rows + 1] - window.histories.offsets[rows]
        kept = random.random(int(lengths.sum())) >= config.history_dropout
        owner = np.repeat(np.arange(len(rows)), lengths)
        users = window.take(rows[worker::workers])
        seen = kept[owner % workers == worker]
        owners = users.histories.owners
        targets = _targets(users, owners)
        targets["weights"] /= np.float32(len(rows))
        return Batch(
            history=users.histories.games[seen],
            history_lengths=np.bincount(owners[seen], minlength=len(users.histories)).astype(np.int64),
            known_ids=known_ids,
            negatives=negatives.without(targets["targets"], targets["target_lengths"]) if negatives else None,
            **targets,
        )

    def steps_per_epoch(self, config: Config) -> int:
        """How many batches an epoch has; equally many for each window."""
        users, windows = self.training_set.users, self.training_set.windows
        smallest = min(config.batch_users, max(16, users // config.min_steps_per_epoch))
        return windows * -(-users // (windows * max(smallest, users // config.max_steps_per_epoch)))

    def steps(self, config: Config) -> int:
        """How many steps a fit takes."""
        return max(config.min_steps, config.epochs * self.steps_per_epoch(config))

    def _known_ids(self, random: np.random.Generator, config: Config) -> Float32Array:
        hidden = random.random(len(self.games)) < config.id_dropout
        return np.where(hidden & (np.diff(self.attributes.offsets) > 0), 0, 1).astype(np.float32)


def _targets(users: Examples, owners: Int64Array) -> dict[str, Any]:
    """The targets of some users, as `Batch` has them, but for the step's users."""
    wanted = users.histories.recommended
    periods, owners = users.periods[wanted], owners[wanted]
    first = np.ones(len(owners), dtype=bool)
    first[1:] = (owners[1:] != owners[:-1]) | (periods[1:] != periods[:-1])
    places = np.flatnonzero(first)
    row_users = owners[places]
    counts = np.bincount(owners, minlength=len(users.histories))
    return {
        "targets": users.histories.games[wanted],
        "target_lengths": np.diff(places, append=len(owners)).astype(np.int64),
        "row_users": row_users.astype(np.int32),
        "row_periods": periods[places],
        "weights": (1 / np.sqrt(counts[row_users])).astype(np.float32),
    }
