"""Evaluation setups made from rows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from components.evaluate.setup import EvaluationSetup
from steam_recsys.data.games import Games
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import popularity
from steam_recsys.evaluation.intervals import CHALLENGER
from steam_recsys.evaluation.rankers import ModelRanker, Ranker, StaticRanker
from steam_recsys.evaluation.splits import Future
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.two_tower import Towers, TwoTowerArrays

CUTOFF = "2020-04-10"
DAY = 18_362
"""The cutoff in days since 1970-01-01."""

Row = tuple[int, int, int]
"""User, game, days since the cutoff."""


def interactions(rows: Sequence[Row], disliked: Sequence[Row] = ()) -> Interactions:
    """Reviews in the order of users and days, all of them positive except the disliked."""
    ordered = sorted(rows, key=lambda row: (row[0], row[2], row[1]))
    table = np.array(ordered, dtype=np.int64).reshape(-1, 3)
    return Interactions(
        table[:, 0], table[:, 1].astype(np.int32), (table[:, 2] + DAY).astype(np.int32),
        np.array([row not in disliked for row in ordered], dtype=bool), np.ones(len(ordered), np.float32),
    )  # fmt: skip


def model(n_games: int, seed: int = 0) -> ModelRanker:
    """A model with random vectors, ranking games 0, 1, …"""
    random = np.random.default_rng(seed)
    towers = Towers(*(random.normal(size=(rows, 3)).astype(np.float32) for rows in (n_games, 0, n_games, 0)))
    ids = np.arange(n_games, dtype=np.int32)
    arrays = TwoTowerArrays("new", ids, (), towers, ItemItemWeights.empty(n_games), np.array([0.1]), 1.0, 0.5, 2.0, 1.0)
    return ModelRanker(arrays.for_catalogue(Games(ids, [{}] * n_games), np.arange(n_games, dtype=np.float64)[None]))


def evaluation_setup(
    past: Interactions,
    future: Interactions,
    n_games: int,
    *,
    genres: Mapping[int, Sequence[str]] | None = None,
    names: Sequence[str] | None = None,
    rankers: Mapping[str, Ranker] | None = None,
    description: Mapping[str, Any] | None = None,
) -> EvaluationSetup:
    """A setup of a random model, popularity and the given rankers, over games 0, 1, …"""
    ids = np.arange(n_games, dtype=np.int32)
    challenger = model(n_games)
    by_popularity = StaticRanker(popularity(past, ids).astype(np.float32))
    return EvaluationSetup(
        version="new",
        champion=None,
        snapshot_id="snapshot",
        cutoff=CUTOFF,
        past=past,
        future=Future.from_interactions(past, future, ids),
        games=Games(ids, [{f"genre {name}": 1.0 for name in (genres or {}).get(game, ())} for game in range(n_games)]),
        names=list(names) if names else [f"Game {game}" for game in range(n_games)],
        challenger=challenger,
        rankers={CHALLENGER: challenger, "popularity": by_popularity, **(rankers or {})},
        settings={"popularity": ""},
        description=description or {},
    )
