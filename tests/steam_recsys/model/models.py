"""A model with random weights and its scorer."""

import numpy as np

from steam_recsys.data.games import Games
from steam_recsys.model.item_item import ItemItemWeights, NextGames
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.sequential import SequentialTower
from steam_recsys.model.two_tower import Towers, TwoTowerArrays

GAMES, GENRES, DIMENSIONS = 40, ("Action", "Puzzle", "Racing"), 8


def random_model() -> TwoTowerArrays:
    """A model of the games 10, 20, …, 400 with three item-item weights of each kind each."""
    random = np.random.default_rng(0)
    games = [random.standard_normal((GAMES, DIMENSIONS)).astype(np.float32) for _ in range(2)]
    genres = [random.standard_normal((len(GENRES), DIMENSIONS)).astype(np.float32) for _ in range(2)]
    towers = Towers(games[0], genres[0], games[1], genres[1])
    item_item, following = (
        ItemItemWeights.from_matrix(random.standard_normal((GAMES, GAMES)).astype(np.float32), 3) for _ in range(2)
    )
    return TwoTowerArrays(
        "v",
        np.arange(10, 10 * GAMES + 1, 10, dtype=np.int32),
        GENRES,
        towers,
        item_item,
        np.ones(1),
        1.0,
        0.5,
        4.0,
        1.0,
        next_games=NextGames(following, 1.0),
    )


def random_tower(n_games: int = GAMES, length: int = 5) -> SequentialTower:
    """A sequential tower of two blocks with two heads."""
    random = np.random.default_rng(1)
    blocks, heads, width, hidden = 2, 2, 6, 10

    def normal(*shape: int) -> np.ndarray:
        return (random.standard_normal(shape) * shape[-1] ** -0.5).astype(np.float32)

    return SequentialTower(
        games=normal(n_games, width),
        distances=normal(blocks, heads, length),
        attention_norm=1 + normal(blocks, 2, width),
        attention_input=normal(blocks, width, 3 * width),
        attention_output=normal(blocks, width, width),
        forward_norm=1 + normal(blocks, 2, width),
        forward_input=normal(blocks, width, hidden),
        forward_input_bias=normal(blocks, hidden),
        forward_output=normal(blocks, hidden, width),
        forward_output_bias=normal(blocks, width),
        output_norm=1 + normal(2, width),
    )


def scorer_for(model: TwoTowerArrays, *, popularity: np.ndarray | None = None) -> Scorer:
    """A scorer of the model's own games, each with one genre."""
    genres = [{GENRES[game % 3]: 1.0} for game in range(GAMES)]
    counts = np.ones(GAMES) if popularity is None else popularity
    return model.for_catalogue(Games(model.game_ids, genres), counts[None])
