"""Reviews with a known structure: even users review even games, odd users odd ones."""

from collections.abc import Container, Sequence
from datetime import date, timedelta

import numpy as np

from components.train.assembly import assemble_model
from components.train.sequential_tower import SequenceConfig
from components.train.training_data import TrainingData
from components.train.two_tower_model import ModelConfig
from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import UNDATED, Interactions
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.two_tower import Towers, TwoTowerArrays
from tests.snapshots import Review

USERS, GAMES = 120, 24
GENRES = {game: [["Even", "Odd"][game % 2], "Indie"] for game in range(1, GAMES + 1)}
IDS = np.arange(1, GAMES + 1, dtype=np.int32)
SCALE = 16.0
"""The scale that suits these reviews: a search that starts there needs the fewest fits."""


def quick_config(min_steps: int) -> ModelConfig:
    """Hyperparameters for these reviews, which keep the graphs small: building them takes most of the time."""
    return ModelConfig(scale=SCALE, min_steps=min_steps, sequence=SequenceConfig(blocks=1, dimensions=16, dropout=0.0))


def day(number: int) -> date:
    return date(2020, 1, 1) + timedelta(days=number)


def checkerboard() -> list[Review]:
    """The reviews, each user's in a random order and at random times."""
    random = np.random.default_rng(0)
    reviews: list[Review] = []
    for user in range(1, USERS + 1):
        games = [game for game in range(1, GAMES + 1) if game % 2 == user % 2]
        taken = random.permutation(games)[:7]
        reviews += [(user, int(game), day(int(random.integers(0, 100)))) for game in taken]
    return reviews


def interactions(reviews: Sequence[Review], not_recommended: Container[tuple[int, int]] = ()) -> Interactions:
    """Interactions as read from a snapshot; `not_recommended` has pairs of user and game."""
    days = [UNDATED if when is None else (when - date(1970, 1, 1)).days for _, _, when in reviews]
    rows = sorted((user, when, game) for (user, game, _), when in zip(reviews, days, strict=True))
    users, when, games = (np.array(column) for column in zip(*rows, strict=True))
    return Interactions(
        users.astype(np.int64), games.astype(np.int32), when.astype(np.int32),
        np.array([(user, game) not in not_recommended for user, _, game in rows]),
        np.full(len(rows), np.nan, np.float32),
    )  # fmt: skip


def catalogue(ids: np.ndarray = IDS, genres: dict[int, list[str]] = GENRES) -> Games:
    return Games(ids, [{f"genre {name}": 0.5 for name in genres.get(game, [])} for game in ids.tolist()])


def training_data(config: ModelConfig, reviews: Sequence[Review] | None = None, seed: int = 0) -> TrainingData:
    """Training data of the whole checkerboard, or of some reviews."""
    return TrainingData.from_interactions(
        interactions(checkerboard() if reviews is None else reviews), catalogue(), config, seed
    )


def histories(*games: list[int]) -> Histories:
    """Histories of game IDs as catalogue positions."""
    return Histories.from_games(*([game - 1 for game in history] for history in games))


def model_of(data: TrainingData, towers: Towers, config: ModelConfig) -> TwoTowerArrays:
    """A model without item-item weights."""
    return assemble_model(data, towers, ItemItemWeights.empty(len(data.games)), config, "v")


def share_of_own_colour(model: TwoTowerArrays) -> float:
    """The share of the nine best games that have the colour of the history; all games are equally popular."""
    everything = model.for_catalogue(catalogue(), np.ones((3, GAMES)))
    positions = everything.recommend(histories([2, 4, 6], [1, 3, 5]), k=9).positions
    return float(((positions + 1) % 2 == [[0], [1]]).mean())
