"""Weekly retraining starts from the champion's weights: what it knows of games and attributes that are still there."""

from __future__ import annotations

import numpy as np

from components.train.model import Config
from components.train.training_data import TrainingData
from steam_recsys.arrays import Float32Array, Int32Array
from steam_recsys.data.histories import positions_of
from steam_recsys.logging import log
from steam_recsys.model.two_tower import Towers, TwoTowerArrays


def warm_towers(corpus: TrainingData, config: Config, champion: TwoTowerArrays, seed: int) -> Towers | None:
    """The towers to start from, of the corpus' rows: the champion's where it has them, new ones for the rest.

    None where the champion's vectors are of another width.
    """
    if champion.towers.history_games.shape[1] != config.dimensions:
        log("train", f"cold start: the vectors of {champion.version} are of another width")
        return None
    games = positions_of(corpus.games.ids, champion.game_ids)
    names = {name: row for row, name in enumerate(champion.attribute_names)}
    attributes = np.array([names.get(name, -1) for name in corpus.attribute_names], dtype=np.int32)
    random = np.random.default_rng(seed)
    size = config.dimensions**-0.5
    towers = Towers(
        _rows(champion.towers.history_games, games, 0.1 * size, random),
        _rows(champion.towers.history_attributes, attributes, size, random),
        _rows(champion.towers.candidate_games, games, 0.1 * size, random),
        _rows(champion.towers.candidate_attributes, attributes, size, random),
    )
    new = corpus.games.ids[games < 0]
    shown = ", ".join(map(str, new[:10])) + (", …" if len(new) > 10 else "")
    log(
        "train",
        f"warm start from {champion.version}; new are {len(new):,} of {len(games):,} games "
        f"{f'({shown}) ' if shown else ''}and {int((attributes < 0).sum()):,} of {len(attributes):,} attributes",
    )
    return towers


def _rows(table: Float32Array, rows: Int32Array, size: float, random: np.random.Generator) -> Float32Array:
    fresh: Float32Array = (random.standard_normal((len(rows), table.shape[1])) * size).astype(np.float32)
    fresh[rows >= 0] = table[rows[rows >= 0]]
    return fresh
