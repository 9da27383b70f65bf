"""Our sequential tower alone, as a baseline: SASRec with a softmax over many games, and popularity as a prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.public_data import Protocol
from components.train.assembly import fit_sequential_tower
from components.train.sequential_tower import SequenceConfig
from components.train.tensorflow_runtime import get_workers
from components.train.trainer import Trainer
from components.train.training_data import TrainingData
from components.train.two_tower_model import ModelConfig
from components.train.validation_data import POPULARITY_WEIGHTS
from steam_recsys.arrays import Float32Array
from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories, positions_of
from steam_recsys.data.popularity import popularity_as_of
from steam_recsys.errors import UserError
from steam_recsys.evaluation.metrics import HEADLINE_METRIC, measure_ranked
from steam_recsys.evaluation.rankers import score_blocks
from steam_recsys.evaluation.splits import HeldOut, Split, hold_out
from steam_recsys.model.retrieval import top_k
from steam_recsys.model.sequential import SequentialTower
from steam_recsys.model.two_tower import log_shares, popularity_prior

DROPOUTS, DIMENSIONS = (0.2, 0.5), (64, 128)
"""Dropouts and widths of the vectors to choose from."""

TUNING_USERS = 2_000
"""Users of the validation data with whom the baseline is tuned, at most."""


@dataclass(frozen=True)
class SasrecSettings:
    """What is chosen on validation data, once for all seeds.

    Attributes:
        sequence: Hyperparameters of the tower, with the share of the schedule after which a fit stops.
        popularity_weight: Factor of the popularity prior.
        ndcg: Mean NDCG@10 on the validation data.
    """

    sequence: SequenceConfig
    popularity_weight: float
    ndcg: float

    def __str__(self) -> str:
        sequence = self.sequence
        return (
            f"{sequence.dimensions} dimensions, dropout {sequence.dropout:g}, {sequence.share:.0%} of the steps, "
            f"popularity × {self.popularity_weight:g}"
        )

    @classmethod
    def tune(cls, protocol: Protocol, seed: int) -> SasrecSettings:
        """Fit to the past of the validation split with each dropout and width, and keep the best settings.

        Each fit keeps the tower that ranks best with the popularity weight that is best for it.

        Raises:
            UserError: No user of the data likes more than one game.
        """
        held_out = hold_out(protocol.validation.past, protocol.validation.future, protocol.games.ids)
        held_out = held_out.take(np.arange(0, len(held_out), max(1, -(-len(held_out) // TUNING_USERS))))
        tried = []
        for dropout in DROPOUTS:
            for dimensions in DIMENSIONS:
                sequence = replace(ModelConfig().sequence, dropout=dropout, dimensions=dimensions)
                ranker, share = _fit(
                    protocol.validation, protocol.games, sequence, seed, lambda found: max(figures(found, held_out))[0]
                )
                ndcg, weight = max(figures(ranker, held_out))
                tried.append(cls(replace(sequence, share=share), weight, ndcg))
        return max(tried, key=lambda settings: settings.ndcg)


@dataclass(frozen=True)
class SasrecRanker:
    """Ranks by a sequential tower and a popularity prior.

    Attributes:
        tower: The tower of the catalogue's games.
        scale: Factor of its cosine.
        prior: float32 [N], the popularity prior.
        popularity_weight: Factor of the prior.
    """

    tower: SequentialTower
    scale: float
    prior: Float32Array
    popularity_weight: float = 1.0

    @classmethod
    def fit(cls, protocol: Protocol, settings: SasrecSettings, seed: int) -> SasrecRanker:
        """Fit to the protocol's past.

        Raises:
            UserError: No user of the data likes more than one game.
        """
        ranker, _ = _fit(protocol.test, protocol.games, settings.sequence, seed)
        return replace(ranker, popularity_weight=settings.popularity_weight)

    @property
    def n_games(self) -> int:
        """See `Ranker.n_games`."""
        return len(self.prior)

    def scores(self, history: Histories) -> Float32Array:
        """See `Ranker.scores`."""
        cosines: Float32Array = self.tower.queries(history) @ self.tower.candidates.T
        return np.float32(self.scale) * cosines + np.float32(self.popularity_weight) * self.prior


def figures(ranker: SasrecRanker, held_out: HeldOut) -> list[tuple[float, float]]:
    """Return the mean NDCG@10 with each popularity weight, and that weight."""
    k = HEADLINE_METRIC.k
    ranked = np.empty((len(POPULARITY_WEIGHTS), len(held_out), k), dtype=np.int32)
    for rows, scores in score_blocks(replace(ranker, popularity_weight=0.0), held_out.history):
        for number, weight in enumerate(POPULARITY_WEIGHTS):
            ranked[number, rows], _ = top_k(scores + np.float32(weight) * ranker.prior, k)
    found = [measure_ranked(each, held_out.relevant, (HEADLINE_METRIC,))[HEADLINE_METRIC.name] for each in ranked]
    return [(float(ndcg.mean()), weight) for ndcg, weight in zip(found, POPULARITY_WEIGHTS, strict=True)]


def _fit(
    split: Split,
    games: Games,
    sequence: SequenceConfig,
    seed: int,
    figure: Callable[[SasrecRanker], float] | None = None,
) -> tuple[SasrecRanker, float]:
    """Fit to the past of a split, and return also the share of the schedule after which the figure was highest."""
    config, trainer = replace(ModelConfig(), sequence=sequence), Trainer(seed, get_workers())
    data = TrainingData.from_interactions(split.past, games, config, seed)
    rows = positions_of(games.ids, data.games.ids)
    shares = log_shares(popularity_as_of(split.past, games.ids, split.as_of), config.popularity_smoothing)
    prior = popularity_prior(shares, data.decay_weights)

    def ranker(tower: SequentialTower) -> SasrecRanker:
        return SasrecRanker(tower.reindex(rows), sequence.scale, prior)

    check = (lambda tower: figure(ranker(tower))) if figure else None
    found = fit_sequential_tower(data, config, trainer, "sasrec", check)
    if not found:
        raise UserError("SASRec needs users with two games: none has as many.")
    return ranker(found.tower), found.share
