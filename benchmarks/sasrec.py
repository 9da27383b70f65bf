"""Our sequential tower alone, as a baseline: SASRec with a softmax over many games, and popularity as a prior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.public_data import Protocol
from components.train.tensorflow_runtime import get_workers
from components.train.trainer import Trainer
from components.train.training_data import TrainingData
from components.train.tuning import POPULARITY_WEIGHTS, fit_sequential_tower
from components.train.two_tower_model import ModelConfig
from steam_recsys.arrays import Float32Array
from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories, positions_of
from steam_recsys.data.popularity import popularity_as_of
from steam_recsys.errors import UserError
from steam_recsys.evaluation.metrics import HEADLINE_METRIC, measure
from steam_recsys.evaluation.splits import Split, hold_out
from steam_recsys.model.sequential import SequentialTower
from steam_recsys.model.two_tower import log_shares, popularity_prior

TUNING_USERS = 2_000
"""Users of the validation data with whom the baseline is tuned, at most."""


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
    def fit(cls, protocol: Protocol, seed: int) -> SasrecRanker:
        """Choose the number of steps and the popularity weight on the protocol's validation data, then fit to its past.

        Raises:
            UserError: No user of the data likes more than one game.
        """
        games, config, trainer = protocol.games, ModelConfig(), Trainer(seed, get_workers())
        held_out = hold_out(protocol.validation.past, protocol.validation.future, games.ids)
        held_out = held_out.take(np.arange(0, len(held_out), max(1, -(-len(held_out) // TUNING_USERS))))

        def figure(ranker: SasrecRanker) -> float:
            return float(measure(ranker, held_out, (HEADLINE_METRIC,))[HEADLINE_METRIC.name].mean())

        tuned, share = _fit(protocol.validation, games, config, trainer, figure)
        weight = max(POPULARITY_WEIGHTS, key=lambda each: figure(replace(tuned, popularity_weight=each)))
        config = replace(config, sequence=replace(config.sequence, share=share))
        fitted, _ = _fit(protocol.test, games, config, trainer)
        return replace(fitted, popularity_weight=weight)

    @property
    def n_games(self) -> int:
        """See `Ranker.n_games`."""
        return len(self.prior)

    @property
    def settings(self) -> str:
        """The settings as text."""
        return f"popularity × {self.popularity_weight:g}"

    def scores(self, history: Histories) -> Float32Array:
        """See `Ranker.scores`."""
        cosines: Float32Array = self.tower.queries(history) @ self.tower.candidates.T
        return np.float32(self.scale) * cosines + np.float32(self.popularity_weight) * self.prior


def _fit(
    split: Split,
    games: Games,
    config: ModelConfig,
    trainer: Trainer,
    figure: Callable[[SasrecRanker], float] | None = None,
) -> tuple[SasrecRanker, float]:
    """Fit to the past of a split, and return also the share of the schedule after which the figure was highest."""
    data = TrainingData.from_interactions(split.past, games, config, trainer.seed)
    rows = positions_of(games.ids, data.games.ids)
    shares = log_shares(popularity_as_of(split.past, games.ids, split.as_of), config.popularity_smoothing)
    prior = popularity_prior(shares, data.decay_weights)

    def ranker(tower: SequentialTower) -> SasrecRanker:
        return SasrecRanker(tower.reindex(rows), config.sequence.scale, prior)

    check = (lambda tower: figure(ranker(tower))) if figure else None
    found = fit_sequential_tower(data, config, trainer, "sasrec", check)
    if not found:
        raise UserError("SASRec needs users with two games: none has as many.")
    return ranker(found.tower), found.share
