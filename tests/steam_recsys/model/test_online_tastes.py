"""What users with clear tastes get, in a shop with real reviews and in a made one."""

import ast
import csv
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array, vstack
from scipy.sparse.linalg import svds

from steam_recsys.arrays import normalised
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.online import CatalogueFacts, OnlineRecommender
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.two_tower import log_shares

REAL_DATA = Path(__file__).parents[4] / "shared" / "data" / "steam-ucsd"
DIMENSIONS = 64
GENRE_WEIGHT = 10.0
SETTINGS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class TasteShop:
    """A shop's games, numbered by popularity, with their genres, and a recommender that learned from its reviews."""

    genres: list[set[str]]
    online: OnlineRecommender

    def fans_games(self, genre: str, other: str, n: int = 5) -> list[int]:
        """The games of a genre, not of another one, that come after its n most popular ones."""
        return [game for game, names in enumerate(self.genres) if genre in names and other not in names][n : 2 * n]

    def share(self, games: Iterable[int], genre: str) -> int:
        """How many of the games are of a genre."""
        return sum(genre in self.genres[game] for game in games)

    def best(self, history: list[int], popularity: float = 1.0, *, liked: bool = True, k: int = 10) -> list[int]:
        """The ids of the best games for a user who likes or dislikes all games of the history."""
        answer = self.online.recommend(history, k, recommended=[liked] * len(history), popularity=popularity)
        return [game.game_id for game in answer]


def learn(reviews: list[tuple[str, str]], genres: dict[str, set[str]]) -> TasteShop:
    """Factorise who recommends what and which game has which genre: games that are alike in both get near vectors."""
    counts = Counter(game for _, game in reviews)
    names = [name for name, _ in counts.most_common()]
    position_of = {name: position for position, name in enumerate(names)}
    users = {user: row for row, user in enumerate(dict.fromkeys(user for user, _ in reviews))}
    likes = np.array([counts[name] for name in names])
    cells = {(users[user], position_of[game]) for user, game in reviews}
    rows, columns = np.array(sorted(cells)).T
    recommended = csr_array((likes[columns] ** -0.25, (rows, columns)), shape=(len(users), len(names)))
    all_genres = sorted(set().union(*(genres[name] for name in names)))
    tagged = np.array([[genre in genres[name] for name in names] for genre in all_genres], dtype=np.float64)
    tagged /= np.sqrt(tagged.sum(axis=1, keepdims=True))
    _, strengths, vectors = svds(vstack([recommended, csr_array(GENRE_WEIGHT * tagged)]), k=DIMENSIONS, random_state=0)
    candidates = normalised((vectors.T * np.sqrt(strengths)).astype(np.float32))
    facts = CatalogueFacts.from_games([None] * len(names), [genres[name] for name in names], likes)
    scorer = Scorer(
        history=candidates,
        candidates=candidates,
        item_item=ItemItemWeights.empty(len(names)),
        popularity_prior=log_shares(likes.astype(np.float64), 1.0),
        popularity_weight=0.5,
        scale=4.0,
        history_weights=HistoryWeights(disliked=-0.5),
    )
    ids = np.arange(len(names), dtype=np.int32)
    return TasteShop([genres[name] for name in names], OnlineRecommender(ids, scorer, facts))


def real_shop() -> TasteShop:
    """The shop of the real reviews."""
    if not REAL_DATA.exists():
        pytest.skip("the real reviews are not here")
    with (REAL_DATA / "games_description.csv").open(encoding="utf-8", newline="") as file:
        genres = {row["name"]: set(ast.literal_eval(row["genres"] or "[]")[:5]) for row in csv.DictReader(file)}
    with (REAL_DATA / "steam_game_reviews.csv").open(encoding="utf-8", newline="") as file:
        reviews = [
            (row["username"], row["game_name"])
            for row in csv.DictReader(file)
            if row["recommendation"] == "Recommended" and row["game_name"] in genres
        ]
    return learn(reviews, genres)


def made_shop() -> TasteShop:
    """A shop of 400 games, each of one of four genres, whose users mostly like games of one genre."""
    random = np.random.default_rng(0)
    names = ("Strategy", "Racing", "Puzzle", "Horror")
    genres = {f"game {game}": {names[game % 4]} for game in range(400)}
    chances = 1 / np.arange(1.0, 401)
    reviews = []
    for user in range(2000):
        wanted = np.where(np.arange(400) % 4 == user % 4, 12.0, 1.0) * chances
        reviews += [(f"user {user}", f"game {game}") for game in random.choice(400, 8, False, wanted / wanted.sum())]
    return learn(reviews, genres)


@pytest.fixture(scope="module", params=[made_shop, real_shop])
def shop(request: pytest.FixtureRequest) -> TasteShop:
    built: TasteShop = request.param()
    return built


def test_liked_disliked_and_unseen_games_give_three_different_lists(shop: TasteShop) -> None:
    history = shop.fans_games("Strategy", "Racing")
    liked, disliked = shop.best(history, k=50), shop.best(history, liked=False, k=50)
    unseen = [game for game in shop.best([], k=60) if game not in history][:50]
    assert len({tuple(liked[:10]), tuple(disliked[:10]), tuple(unseen[:10])}) == 3
    assert shop.share(liked, "Strategy") > shop.share(unseen, "Strategy") > shop.share(disliked, "Strategy")


@pytest.mark.parametrize("popularity", SETTINGS)
def test_fans_of_two_genres_get_different_lists_at_every_setting_of_the_dial(
    shop: TasteShop, popularity: float
) -> None:
    strategy, racing = shop.fans_games("Strategy", "Racing"), shop.fans_games("Racing", "Strategy")
    first, second = shop.best(strategy, popularity), shop.best(racing, popularity)
    assert set(first) != set(second)
    assert shop.share(first, "Strategy") > shop.share(second, "Strategy")
    assert shop.share(first, "Racing") < shop.share(second, "Racing")


def test_the_lower_the_dial_the_less_popular_are_the_games(shop: TasteShop) -> None:
    niche, middle, popular = (
        np.mean(shop.best(shop.fans_games("Strategy", "Racing"), popularity)) for popularity in (0.0, 0.5, 1.0)
    )
    assert niche > middle > popular
