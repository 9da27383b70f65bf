"""Training data: users' games on disk, batches of them, negatives for the sampled softmax, and the vocabulary.

The examples are kept in a temporary Parquet file with one row per user and integers only. Users are in row groups, and
as many groups as fit in memory form a window. An epoch deals the groups out to windows at random and shuffles the users
within each window, so batches need memory for one window whatever the number of users. If one window holds all users,
all of them are shuffled. Only fits of item-item weights and of the sequential tower read all examples at once.
"""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from components.train.popularity_prior import decay_weights, shares_by_period
from components.train.two_tower_model import ModelConfig
from steam_recsys.arrays import Float32Array, Float64Array, Int32Array, Int64Array, offsets_from_lengths
from steam_recsys.data.games import Games, shared_names
from steam_recsys.data.histories import Histories, positions_of
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import popularity
from steam_recsys.data.schemas import list_array
from steam_recsys.model.two_tower import AttributeTable, popularity_prior

WINDOW_INTERACTIONS = 1 << 22
"""Interactions per window; each takes nine bytes."""

GROUP_USERS = 1 << 12
"""Largest number of users in a row group, which always stay in the same window."""

UNIFORM_SHARE = 0.5
"""Share of the negatives drawn uniformly; the others are drawn by popularity."""

SHUFFLE, DROPOUT, WINDOWS = 0, 1, 2
"""Streams of random numbers: the order of a window's users, what a step sees, and an epoch's windows."""

EXAMPLES = pa.schema(
    [pa.field("user_id", pa.int64(), nullable=False)]
    + [
        pa.field(name, pa.list_(pa.field("item", kind, nullable=False)), nullable=False)
        for name, kind in (("games", pa.int32()), ("periods", pa.int32()), ("recommended", pa.bool_()))
    ]
)


@dataclass(frozen=True)
class Examples:
    """Training examples of some users.

    Attributes:
        histories: The users' games as rows of the vocabulary, in the order of time, with unknown hours.
        periods: int32, the period of each game of the histories.
    """

    histories: Histories
    periods: Int32Array

    def take(self, rows: Int64Array) -> Examples:
        """Select the users in some rows."""
        return Examples(self.histories.take(rows), self.periods[self.histories.entries(rows)])


@dataclass(frozen=True)
class ExampleFile:
    """All examples in an unnamed temporary file that disappears with this object or the process.

    Attributes:
        file: The file, open for reading.
        users: Number of users.
        groups: Number of row groups, a multiple of the windows.
        windows: Number of windows per epoch.
    """

    file: IO[bytes]
    users: int
    groups: int
    windows: int

    @classmethod
    def write(cls, interactions: Interactions, periods: Int32Array, game_ids: Int32Array) -> ExampleFile:
        """Write the examples of all users who recommend at least one game.

        Args:
            interactions: Interactions sorted by user, then time.
            periods: int32, the period of each interaction.
            game_ids: int32 [V], the vocabulary, ascending.
        """
        starts = np.flatnonzero(np.diff(interactions.users, prepend=interactions.users[0] - 1))
        lengths = np.diff(starts, append=len(interactions))
        has_targets = np.logical_or.reduceat(interactions.recommended, starts)
        selected = np.flatnonzero(has_targets)
        windows = min(len(selected), -(-int(lengths[selected].sum()) // WINDOW_INTERACTIONS))
        groups = windows * max(1, -(-len(selected) // (windows * GROUP_USERS)))
        file = tempfile.TemporaryFile()  # noqa: SIM115 - it stays open
        examples = cls(file, len(selected), groups, windows)
        weakref.finalize(examples, file.close)
        with pq.ParquetWriter(file, EXAMPLES, use_dictionary=False, write_statistics=False) as writer:
            for users in np.array_split(selected, groups):
                rows = slice(starts[users[0]], starts[users[-1]] + lengths[users[-1]])
                kept = np.repeat(*(array[users[0] : users[-1] + 1] for array in (has_targets, lengths)))
                offsets = offsets_from_lengths(lengths[users])
                columns = (
                    positions_of(interactions.games[rows][kept], game_ids),
                    periods[rows][kept],
                    interactions.recommended[rows][kept],
                )
                table = [
                    pa.array(interactions.users[starts[users]]),
                    *(list_array(offsets, pa.array(column)) for column in columns),
                ]
                writer.write_table(pa.table(table, EXAMPLES), row_group_size=len(users))
        return examples

    def window(self, number: int, random: np.random.Generator) -> Examples:
        """Read one of an epoch's windows, numbered from 0; pass an equal generator for each window of an epoch."""
        groups = random.permutation(self.groups).reshape(self.windows, -1)
        return self.read(np.sort(groups[number]))

    def read(self, groups: Int64Array | None = None) -> Examples:
        """Read the users in some row groups; None for all users at once."""
        reader = pq.ParquetFile(self.file)
        table = reader.read() if groups is None else reader.read_row_groups(groups.tolist())
        lists = {name: table[name].combine_chunks() for name in EXAMPLES.names[1:]}
        games, periods, recommended = (column.values.to_numpy(zero_copy_only=False) for column in lists.values())
        offsets = lists["games"].offsets.to_numpy().astype(np.int64)
        hours = np.broadcast_to(np.float32(np.nan), games.shape)
        return Examples(Histories(table["user_id"].to_numpy(), offsets, games, recommended, hours), periods)


@dataclass(frozen=True)
class Negatives:
    """A sample of S games that represents the whole catalogue in the softmax.

    Attributes:
        games: int32 [S], ascending.
        corrections: float32 [S], added to their logits so that the sum of their exponentials is an unbiased estimate of
            the sum over the catalogue (logQ correction: Bengio and Senécal 2008, "Adaptive Importance Sampling",
            section 3).
        hits: int64 [H, 2], rows and columns in which a row's own target was drawn; these count as targets only.
    """

    games: Int32Array
    corrections: Float32Array
    hits: Int64Array

    def with_hits(self, targets: Int32Array, target_lengths: Int64Array) -> Negatives:
        """Return the same sample with the hits of a batch's targets."""
        columns = np.minimum(np.searchsorted(self.games, targets), len(self.games) - 1)
        found = self.games[columns] == targets
        rows = np.repeat(np.arange(len(target_lengths)), target_lengths)
        return replace(self, hits=np.stack([rows[found], columns[found]], axis=1).astype(np.int64))


@dataclass(frozen=True)
class NegativeSampler:
    """Draws negatives with replacement.

    Half of the draws are by popularity, like in-batch negatives, and half are uniform, to include the long tail
    (Yang et al. 2020, "Mixed Negative Sampling for Learning Two-tower Neural Networks in Recommendations", section 3).

    Attributes:
        cumulative: float64 [V], cumulative probabilities of the games.
        draws: Number of draws per sample.
    """

    cumulative: Float64Array
    draws: int

    @classmethod
    def from_popularity(cls, popularity: Float64Array, draws: int) -> NegativeSampler:
        """Build a sampler from the number of users who recommend each game, float64 [V]."""
        shares = (1 - UNIFORM_SHARE) * popularity / max(popularity.sum(), 1) + UNIFORM_SHARE / len(popularity)
        return cls(np.cumsum(shares), draws)

    def draw(self, random: np.random.Generator) -> Negatives:
        """Draw a sample; a game that is drawn twice has one column and counts twice."""
        total = self.cumulative[-1]
        drawn = np.searchsorted(self.cumulative, random.random(self.draws) * total, side="right")
        games, counts = np.unique(np.minimum(drawn, len(self.cumulative) - 1), return_counts=True)
        shares = np.diff(self.cumulative, prepend=0)[games] / total
        corrections = np.log(counts / (self.draws * shares))
        return Negatives(games.astype(np.int32), corrections.astype(np.float32), np.zeros((0, 2), dtype=np.int64))


@dataclass(frozen=True)
class Batch:
    """The examples of one step: B users, with R rows of targets, one per user and period with a target.

    Games are rows of the vocabulary, int32, concatenated over users or rows.

    Attributes:
        history: The users' games, without those that dropout hides.
        history_lengths: int64 [B].
        targets: The games that the users recommend.
        target_lengths: int64 [R].
        row_users: int32 [R], the user of each row, from 0 to B - 1.
        row_periods: int32 [R], the period of each row.
        weights: float32 [R], the weight of a row's targets: 1 / sqrt(the user's number of targets), a compromise
            between one vote per user and one vote per interaction, divided by the number of users in the whole step.
        known_ids: float32 [V], 0 for games that the step sees by their attributes only, like new games.
        negatives: The negatives of a sampled softmax; None for a softmax over all games.
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
    """Everything a fit learns from: V games with an interaction, A attributes, P periods and D decays.

    Attributes:
        games: The V games, which are the vocabulary.
        attribute_names: The names of the A attributes.
        attributes: The games' attributes.
        examples: The games of the users who recommend something, on disk.
        decay_weights: float64 [D], one weight per decay of popularity.
        popularity_priors: float32 [P, V], what popularity adds to the scores in each period.
        sampler: Draws the negatives of a sampled softmax; None for a softmax over all games.
        seed: Random seed of the order of users, of dropout and of negatives.
    """

    games: Games
    attribute_names: tuple[str, ...]
    attributes: AttributeTable
    examples: ExampleFile
    decay_weights: Float64Array
    popularity_priors: Float32Array
    sampler: NegativeSampler | None
    seed: int

    @classmethod
    def from_interactions(
        cls, interactions: Interactions, games: Games, config: ModelConfig, seed: int
    ) -> TrainingData:
        """Prepare interactions for training.

        Args:
            interactions: Interactions sorted by user, then day; either all or none of them have dates. Without dates,
                time is ignored.
            games: The catalogue.
            config: Hyperparameters.
            seed: Random seed; the same seed gives identical batches.
        """
        known = games.select(np.unique(interactions.games))
        names = shared_names(known.attributes)
        periods, shares = shares_by_period(interactions, known.ids, config.period_days, config.popularity_smoothing)
        weights = decay_weights(interactions, periods, shares, known.ids)
        sampler = None
        if len(known) > config.full_softmax_games:
            sampler = NegativeSampler.from_popularity(popularity(interactions, known.ids), config.negatives)
        return cls(
            games=known,
            attribute_names=names,
            attributes=AttributeTable.from_games(names, known),
            examples=ExampleFile.write(interactions, periods, known.ids),
            decay_weights=weights,
            popularity_priors=popularity_prior(shares, weights),
            sampler=sampler,
            seed=seed,
        )

    @property
    def histories(self) -> Histories:
        """The histories of all users at once, read from disk each time; hours are unknown."""
        return self.examples.read().histories

    def batches(
        self, config: ModelConfig, start: int, stop: int, worker_rank: int = 0, workers: int = 1
    ) -> Iterator[Batch]:
        """Yield the batches of some steps, or one worker's part of them.

        A batch depends only on the number of its step, so training can stop anywhere and continue. An epoch sees all
        users, in a new order; one window of examples is in memory at a time.

        Args:
            config: Hyperparameters.
            start: First step.
            stop: Step after the last one.
            worker_rank: Number of this worker, from 0.
            workers: Number of workers.
        """
        windows = self.examples.windows
        steps = self.steps_per_epoch(config) // windows
        window: Examples | None = None
        for step in range(start, stop):
            number, step_of_window = divmod(step, steps)
            if not step_of_window or not window:
                epoch, window_of_epoch = divmod(number, windows)
                window = self.examples.window(window_of_epoch, np.random.default_rng([self.seed, WINDOWS, epoch]))
                order = np.random.default_rng([self.seed, SHUFFLE, number]).permutation(len(window.histories))
                parts = np.array_split(order, steps)
            yield self._batch(step, window, parts[step_of_window], config, worker_rank, workers)

    def _batch(
        self, step: int, window: Examples, rows: Int64Array, config: ModelConfig, worker_rank: int, workers: int
    ) -> Batch:
        # Every worker draws the same random numbers for the whole step and keeps its own part.
        random = np.random.default_rng([self.seed, DROPOUT, step])
        known_ids = self._known_ids(random, config)
        negatives = self.sampler.draw(random) if self.sampler else None
        lengths = window.histories.offsets[rows + 1] - window.histories.offsets[rows]
        kept = random.random(int(lengths.sum())) >= config.history_dropout
        owner = np.repeat(np.arange(len(rows)), lengths)
        users = window.take(rows[worker_rank::workers])
        seen = kept[owner % workers == worker_rank]
        owners = users.histories.owners
        targets = _targets(users, owners)
        targets["weights"] /= np.float32(len(rows))
        return Batch(
            history=users.histories.games[seen],
            history_lengths=np.bincount(owners[seen], minlength=len(users.histories)).astype(np.int64),
            known_ids=known_ids,
            negatives=negatives.with_hits(targets["targets"], targets["target_lengths"]) if negatives else None,
            **targets,
        )

    def steps_per_epoch(self, config: ModelConfig) -> int:
        """Return the number of batches per epoch, a multiple of the windows."""
        users, windows = self.examples.users, self.examples.windows
        smallest = min(config.batch_users, max(16, users // config.min_steps_per_epoch))
        return windows * -(-users // (windows * max(smallest, users // config.max_steps_per_epoch)))

    def steps(self, config: ModelConfig) -> int:
        """Return the number of steps of a fit."""
        return max(config.min_steps, config.epochs * self.steps_per_epoch(config))

    def _known_ids(self, random: np.random.Generator, config: ModelConfig) -> Float32Array:
        hidden = random.random(len(self.games)) < config.id_dropout
        return np.where(hidden & (np.diff(self.attributes.offsets) > 0), 0, 1).astype(np.float32)


def _targets(users: Examples, owners: Int64Array) -> dict[str, Any]:
    """Return the fields of a `Batch` that describe targets, with weights not yet divided by the step's users."""
    wanted = users.histories.recommended
    periods, owners = users.periods[wanted], owners[wanted]
    first = np.ones(len(owners), dtype=bool)
    first[1:] = (owners[1:] != owners[:-1]) | (periods[1:] != periods[:-1])
    starts = np.flatnonzero(first)
    row_users = owners[starts]
    counts = np.bincount(owners, minlength=len(users.histories))
    return {
        "targets": users.histories.games[wanted],
        "target_lengths": np.diff(starts, append=len(owners)).astype(np.int64),
        "row_users": row_users.astype(np.int32),
        "row_periods": periods[starts],
        "weights": (1 / np.sqrt(counts[row_users])).astype(np.float32),
    }
