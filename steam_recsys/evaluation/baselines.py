"""What a model has to beat: what everybody plays, and the best linear models, with the settings that suit the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from steam_recsys.arrays import Float32Array, Int32Array
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import DECAY_DAYS, popularity, recent_popularity
from steam_recsys.evaluation.comparison import POPULARITY
from steam_recsys.evaluation.holdout import HeldOut, hold_out
from steam_recsys.evaluation.linear_baselines import linear_baselines
from steam_recsys.evaluation.metrics import METRIC, measure
from steam_recsys.evaluation.rankers import Ranker, rank_by_scores
from steam_recsys.evaluation.splits import Split
from steam_recsys.logging import progress

RECENT = {"recent popularity": (DECAY_DAYS,), "tuned recent popularity": (15.0, 30.0, 60.0, 90.0, 240.0)}
"""Days of decay. As the model has it, and as it was best of late, which need not be best from now on."""


@dataclass(frozen=True)
class StaticRanker:
    """The same order for everybody, without the games that a user has: `weights` is float32 [N]."""

    weights: Float32Array

    def rank(self, history: Histories, k: int) -> Int32Array:
        """The k best games, as `Ranker.rank`."""
        return rank_by_scores(lambda users: np.tile(self.weights, (len(users), 1)), history, len(self.weights), k)


@dataclass(frozen=True)
class Baseline:
    """A baseline with its settings in words."""

    name: str
    settings: str
    ranker: Ranker


def tuned_baselines(past: Interactions, as_of: int | None, validation: Split, game_ids: Int32Array) -> list[Baseline]:
    """Each baseline, made from the past with the settings that did best on the validation rows.

    A weak baseline proves nothing: simple models with tuned settings beat many a published one (Ferrari Dacrema et al.
    2019, "Are We Really Making Much Progress?").

    Args:
        past: everything that may be known.
        as_of: the day on which the question is asked, None where time plays no part.
        validation: the past, split as the models will be asked. Where it asks for nothing, the first settings serve.
        game_ids: the catalogue, int32 [N], ascending.
    """
    held_out = hold_out(validation.past, validation.future, game_ids)
    chosen: dict[str, tuple[float, str]] = {}
    if len(held_out):
        for tried in _baselines(validation.past, validation.as_of, game_ids):
            figure = _figure(tried.ranker, held_out)
            if tried.name not in chosen or figure > chosen[tried.name][0]:
                chosen[tried.name] = figure, tried.settings
            progress("evaluate", f"{tried.name}, {tried.settings or 'as it is'}: validation NDCG@10 {figure:.4f}")
    made: dict[str, Baseline] = {}
    for baseline in _baselines(past, as_of, game_ids, {name: settings for name, (_, settings) in chosen.items()}):
        made.setdefault(baseline.name, baseline)
    return list(made.values())


def _baselines(
    past: Interactions, as_of: int | None, game_ids: Int32Array, only: dict[str, str] | None = None
) -> Iterator[Baseline]:
    """Each baseline with each of its settings, or with the only settings that are wanted."""
    yield Baseline(POPULARITY, "", StaticRanker(popularity(past, game_ids).astype(np.float32)))
    for name, decays in RECENT.items() if as_of is not None else ():
        for decay_days in decays:
            settings = f"{decay_days:g} days of decay"
            if _wanted(name, settings, only):
                recent = recent_popularity(past, game_ids, as_of or 0, decay_days)
                yield Baseline(name, settings, StaticRanker(recent.astype(np.float32)))
    for candidate in linear_baselines(
        Histories.from_interactions(past.take(past.recommended), game_ids), len(game_ids)
    ):
        if _wanted(candidate.name, candidate.settings, only):
            yield Baseline(candidate.name, candidate.settings, candidate.fit())


def _wanted(name: str, settings: str, only: dict[str, str] | None) -> bool:
    return not only or name not in only or only[name] == settings


def _figure(ranker: Ranker, held_out: HeldOut) -> float:
    return float(measure(ranker, held_out, (METRIC,))[METRIC.name].mean())
