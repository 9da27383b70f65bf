from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.predict.links import Links
from components.predict.query import HistoryWeights
from components.predict.recommender import Catalogue, Recommender, Towers
from components.shared.games import Games
from components.shared.histories import Histories
from components.train.serving import ServingModel

GAMES, GENRES = 150, ("Action", "Puzzle", "Racing")
HISTORIES = 2_000


@pytest.fixture(scope="module", params=[0, 4], ids=["plain", "with links and weights"])
def catalogue(request: pytest.FixtureRequest) -> Catalogue:
    random = np.random.default_rng(0)
    tables = [random.standard_normal((rows, 16)).astype(np.float32) for rows in (GAMES, 3, GAMES, 3)]
    weights = 0.1 * random.standard_normal((GAMES, GAMES)).astype(np.float32)  # EASE's are of this size
    links = Links.strongest(weights, 10).times(request.param)
    ids = np.arange(1, GAMES + 1, dtype=np.int32)
    weights_of_history = HistoryWeights(disliked=-0.5, hours=0.2, recency=0.5) if request.param else HistoryWeights()
    model = Recommender("v", ids, GENRES, Towers(*tables), links, 4.0, 1.0, 1.0, weights_of_history)
    games = Games(ids, [{GENRES[game % 3]: 1.0} for game in range(GAMES)])
    return model.for_catalogue(games, random.integers(0, 1000, GAMES).astype(np.float64))


@pytest.fixture(scope="module")
def saved(catalogue: Catalogue, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    ServingModel(np.arange(1, GAMES + 1, dtype=np.int32), catalogue).save(folder)
    return folder


def test_numpy_answers_thousands_of_histories_as_the_saved_model_does(catalogue: Catalogue, saved: Path) -> None:
    random = np.random.default_rng(1)
    lengths = random.integers(0, 20, HISTORIES)
    games = [random.permutation(GAMES)[:length] for length in lengths]
    padded = np.zeros((HISTORIES, 20), dtype=np.int32)
    for user, history in enumerate(games):
        padded[user, : len(history)] = history + 1
        padded[user, len(history) :] = random.choice([0, -1, 999])  # padding, and a game that the model does not know
    serve = tf.saved_model.load(str(saved)).signatures["with_popularity"]
    recommended = random.random(padded.shape) < 0.8
    hours = np.where(random.random(padded.shape) < 0.2, np.nan, random.lognormal(2, 1, padded.shape)).astype(np.float32)
    served = serve(
        history=tf.constant(padded),
        recommended=tf.constant(recommended),
        hours=tf.constant(hours),
        popularity_offset=tf.constant(catalogue.popularity_offset),
    )
    theirs = np.arange(20) < lengths[:, None]
    history = replace(Histories.of_games(*games), recommended=recommended[theirs], hours=hours[theirs])
    positions, scores, _ = catalogue.recommend(history, k=100)
    assert served["scores"].numpy() == pytest.approx(scores, abs=1e-5)
    assert np.array_equal(served["game_ids"].numpy(), np.where(positions >= 0, positions + 1, -1))


def test_without_a_popularity_that_of_the_training_counts(catalogue: Catalogue, saved: Path) -> None:
    model = tf.saved_model.load(str(saved))
    served = model.signatures["serving_default"](
        history=tf.zeros((1, 3), tf.int32), recommended=tf.ones((1, 3), tf.bool), hours=tf.zeros((1, 3))
    )
    positions, _, _ = catalogue.recommend(Histories.of_games([]), k=100)
    assert np.array_equal(served["game_ids"].numpy(), positions + 1)
