"""Learning from interactions: choices on held-out rows, then a fit on everything that may be known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pyarrow as pa

from components.evaluate.gate import METRIC
from components.evaluate.holdout import hold_out
from components.evaluate.metrics import measure
from components.evaluate.protocols import Split
from components.evaluate.ranking import ModelRanking
from components.predict.recommender import Recommender
from components.shared.console import log
from components.shared.histories import positions_of
from components.shared.interactions import Interactions
from components.shared.popularity import popularity_as_of
from components.train.corpus import Corpus
from components.train.fitting import Choice, choose, fit, links_of, recommender
from components.train.model import Config


@dataclass(frozen=True)
class Learned:
    """A model and what it was made from: `config` with the choices in it."""

    recommender: Recommender
    corpus: Corpus
    config: Config
    choice: Choice


def learn(past: Interactions, validation: Split, games: pa.Table, config: Config, seed: int, version: str) -> Learned:
    """Choose on the validation rows, then train afresh, with the same seed, on the whole past.

    Args:
        past: everything that may be known.
        validation: the same, split as the model will be asked.
        games: the catalogue, with the columns `game_id`, ascending, and `genres`.
        config: of the model; what is chosen goes over it.
        seed: of everything random.
        version: of the model.

    Raises:
        UserError: the loss is not finite.
    """
    game_ids = games["game_id"].to_numpy()
    held_out = hold_out(validation.past, validation.future, game_ids)
    genres = games["genres"].to_pylist()
    recent = popularity_as_of(
        positions_of(validation.past.games, game_ids), validation.past.days, validation.as_of, len(game_ids)
    )

    def quality(model: Recommender) -> float:
        ranking = ModelRanking(model.for_catalogue(game_ids, genres, recent))
        return float(measure(ranking, held_out, (METRIC,))[METRIC.name].mean())

    log("train", f"choosing on the new games of {len(held_out):,} users")
    choice = choose(Corpus.of(validation.past, games, config), quality, config, seed)
    log(
        "train",
        f"chosen: scale {choice.scale:g}, links under λ = {choice.link_regularisation:g} times {choice.link_weight:g}, "
        f"NDCG@10 {choice.ndcg_at_10:.4f}",
    )
    chosen = replace(
        config,
        scale=choice.scale,
        link_weight=choice.link_weight,
        link_regularisation=choice.link_regularisation,
    )
    corpus = Corpus.of(past, games, chosen)
    towers = fit(corpus, chosen, seed)
    return Learned(recommender(corpus, towers, links_of(corpus, chosen), chosen, version), corpus, chosen, choice)
