from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.predict.links import Links
from components.predict.recommender import Catalogue, Recommender, Towers
from components.train.serving import ServingModel

GAMES, GENRES = 150, ("Action", "Puzzle", "Racing")
HISTORIES = 2_000


@pytest.fixture(scope="module", params=[0, 4], ids=["without links", "with links"])
def catalogue(request: pytest.FixtureRequest) -> Catalogue:
    random = np.random.default_rng(0)
    tables = [random.standard_normal((rows, 16)).astype(np.float32) for rows in (GAMES, 3, GAMES, 3)]
    weights = random.standard_normal((GAMES, GAMES)).astype(np.float32)
    links = Links.strongest(weights, 10).times(request.param)
    model = Recommender("v", np.arange(1, GAMES + 1, dtype=np.int32), GENRES, Towers(*tables), links, 4.0, 1.0, 1.0)
    genres = [[GENRES[game % 3]] for game in range(GAMES)]
    return model.for_catalogue(model.game_ids, genres, random.integers(0, 1000, GAMES).astype(np.float64))


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
    served = serve(history=tf.constant(padded), popularity_offset=tf.constant(catalogue.popularity_offset))
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    positions, scores, _ = catalogue.recommend(offsets, np.concatenate(games).astype(np.int32), k=100)
    assert served["scores"].numpy() == pytest.approx(scores, abs=1e-5)
    assert np.array_equal(served["game_ids"].numpy(), np.where(positions >= 0, positions + 1, -1))


def test_without_a_popularity_that_of_the_training_counts(catalogue: Catalogue, saved: Path) -> None:
    model = tf.saved_model.load(str(saved))
    served = model.signatures["serving_default"](history=tf.zeros((1, 3), tf.int32))
    positions, _, _ = catalogue.recommend(np.array([0, 0]), np.zeros(0, np.int32), k=100)
    assert np.array_equal(served["game_ids"].numpy(), positions + 1)
