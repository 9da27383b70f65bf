from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.train.serving import ServingModel
from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.online import OnlineRecommender
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.two_tower import Towers, TwoTowerArrays

GAMES, GENRES = 150, ("Action", "Puzzle", "Racing")
HISTORIES = 2_000
UNKNOWN = 999


@pytest.fixture(scope="module", params=[0, 4], ids=["plain", "with links and weights"])
def catalogue(request: pytest.FixtureRequest) -> Scorer:
    random = np.random.default_rng(0)
    tables = [random.standard_normal((rows, 16)).astype(np.float32) for rows in (GAMES, 3, GAMES, 3)]
    weights = 0.1 * random.standard_normal((GAMES, GAMES)).astype(np.float32)  # EASE's are of this size
    links = ItemItemWeights.strongest(weights, 10).times(request.param)
    ids = np.arange(1, GAMES + 1, dtype=np.int32)
    weights_of_history = HistoryWeights(disliked=-0.5, hours=0.2, recency=0.5) if request.param else HistoryWeights()
    model = TwoTowerArrays("v", ids, GENRES, Towers(*tables), links, np.ones(1), 4.0, 1.0, weights_of_history)
    games = Games(ids, [{GENRES[game % 3]: 1.0} for game in range(GAMES)])
    return model.for_catalogue(games, random.integers(0, 1000, GAMES).astype(np.float64)[None])


@pytest.fixture(scope="module")
def saved(catalogue: Scorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    ServingModel(np.arange(1, GAMES + 1, dtype=np.int32), catalogue).save(folder)
    return folder


def reviews(random: np.random.Generator, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Verdicts and hours."""
    hours = np.where(random.random(shape) < 0.2, np.nan, random.lognormal(2, 1, shape)).astype(np.float32)
    hours[random.random(shape) < 0.05] = -5.0  # which cannot be
    return random.random(shape) < 0.8, hours


def served(
    saved: Path, history: np.ndarray, recommended: np.ndarray, hours: np.ndarray, popularity_offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The SavedModel's games and scores."""
    model = tf.saved_model.load(str(saved))
    found = model.signatures["with_popularity"](
        history=tf.constant(history),
        recommended=tf.constant(recommended),
        hours=tf.constant(hours),
        popularity_offset=tf.constant(popularity_offset),
    )
    return found["game_ids"].numpy(), found["scores"].numpy()


def assert_same_answers(game_ids: np.ndarray, scores: np.ndarray, ours: np.ndarray, our_scores: np.ndarray) -> None:
    """Of thousands of answers the SavedModel's 100 best, and the whole of ours: int32 and float32 [B, GAMES].

    Two games may stand the other way round where less than what float32 rounds away lies between their scores.
    """
    assert scores == pytest.approx(our_scores[:, :100], abs=1e-5)
    close = np.abs(np.diff(our_scores[:, :101], axis=1)) < 1e-5
    elsewhere = game_ids != ours[:, :100]
    assert (close | np.pad(close[:, :-1], ((0, 0), (1, 0))))[elsewhere].all()
    assert elsewhere.mean() < 1e-3


def test_numpy_answers_thousands_of_histories_as_the_saved_model_does(catalogue: Scorer, saved: Path) -> None:
    random = np.random.default_rng(1)
    lengths = random.integers(0, 20, HISTORIES)
    games = [random.permutation(GAMES)[:length] for length in lengths]
    padded = np.zeros((HISTORIES, 20), dtype=np.int32)
    for user, history in enumerate(games):
        padded[user, : len(history)] = history + 1
        padded[user, len(history) :] = random.choice([0, -1, UNKNOWN])  # padding, and a game unknown to the model
    recommended, hours = reviews(random, padded.shape)
    theirs = np.arange(20) < lengths[:, None]
    history = replace(Histories.from_games(*games), recommended=recommended[theirs], hours=hours[theirs])
    positions, scores, _ = catalogue.recommend(history, k=GAMES)
    answers = served(saved, padded, recommended, hours, catalogue.popularity_offset)
    assert_same_answers(*answers, np.where(positions >= 0, positions + 1, -1), scores)


def test_an_answer_to_one_user_is_that_of_the_saved_model(catalogue: Scorer, saved: Path) -> None:
    random = np.random.default_rng(2)
    # With repeats, games unknown to the model, and padding in between.
    histories = random.integers(-1, GAMES + 10, (HISTORIES, 20)).astype(np.int32)
    histories[np.arange(20) >= random.integers(0, 21, (HISTORIES, 1))] = 0
    recommended, hours = reviews(random, histories.shape)
    online = OnlineRecommender(np.arange(1, GAMES + 1, dtype=np.int32), catalogue)
    ours = np.full((HISTORIES, GAMES), -1, dtype=np.int32)
    scores = np.full((HISTORIES, GAMES), -np.inf, dtype=np.float32)
    arguments = histories.tolist(), recommended.tolist(), hours.tolist()
    for user, (history, verdicts, played) in enumerate(zip(*arguments, strict=True)):
        answer = online.recommend(history, GAMES, recommended=verdicts, hours=played)
        ours[user, : len(answer)] = [game.game_id for game in answer]
        scores[user, : len(answer)] = [game.score for game in answer]
    answers = served(saved, histories, recommended, hours, catalogue.popularity_offset)
    assert_same_answers(*answers, ours, scores)


def test_without_a_popularity_that_of_the_training_counts(catalogue: Scorer, saved: Path) -> None:
    model = tf.saved_model.load(str(saved))
    served = model.signatures["serving_default"](
        history=tf.zeros((1, 3), tf.int32), recommended=tf.ones((1, 3), tf.bool), hours=tf.zeros((1, 3))
    )
    positions, _, _ = catalogue.recommend(Histories.from_games([]), k=100)
    assert np.array_equal(served["game_ids"].numpy(), positions + 1)
