"""Vertex AI's contract for serving containers, over HTTP with the real process."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import httpx
import numpy as np
import pytest

from components.evaluate.promotion import HEALTH_ROUTE, PREDICT_ROUTE, SERVING_COMMAND, SERVING_PORT
from explorer.vertex_serving import MOST_INSTANCES, ServingSettings
from steam_recsys.data.games import Games
from steam_recsys.data.popularity import DECAYS
from steam_recsys.model.online import CatalogueFacts, OnlineRecommender
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.manifest import complete_artifact
from steam_recsys.storage.model_store import add_model
from tests.explorer.publishing_runs import GENRES, write_random_model

ROOT = Path(__file__).parents[2]
ROUTES = {"AIP_HEALTH_ROUTE": "/v1/endpoints/1/deployedModels/2", "AIP_PREDICT_ROUTE": "/v1/endpoints/1:predict"}
OTHERS = {"AIP_PROJECT_NUMBER": "123", "AIP_MODE": "PREDICTION", "AIP_ENDPOINT_ID": "1"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model with the facts of its games, as training writes one."""
    folder = write_random_model(tmp_path_factory.mktemp("serving") / "model-1", "model-1", seed=3)
    arrays = TwoTowerArrays.load(folder)
    n_games = len(arrays.game_ids)
    random = np.random.default_rng(3)
    genres = [[GENRES[number % len(GENRES)]] for number in range(n_games)]
    facts = CatalogueFacts.from_games([date(2020, 1, 1)] * n_games, genres, random.integers(0, 50, n_games))
    scorer = arrays.for_catalogue(Games(arrays.game_ids, [{}] * n_games), random.random((len(DECAYS), n_games)))
    np.savez(folder / "items.npz", **scorer.arrays(), **facts.arrays())
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    (folder / "vocabulary.json").write_text(json.dumps(vocabulary | {"genres": list(facts.genres)}))
    complete_artifact(folder)
    return folder


@contextmanager
def started(uri: str, **further: str) -> Iterator[str]:
    """Start the server as a registered model's container does, and return its URL."""
    environment = {**os.environ, **OTHERS, "AIP_HTTP_PORT": "0", "AIP_STORAGE_URI": uri, **further}
    command = [sys.executable, *SERVING_COMMAND[1:]]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        port = re.fullmatch(r"explorer: predictions on port (\d+)\n", process.stdout.readline())[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(300) in (0, -15)
        process.stdout.close()


@pytest.fixture(scope="module")
def client(model: Path) -> Iterator[httpx.Client]:
    with started(str(model), **ROUTES) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def answer(client: httpx.Client, body: object) -> httpx.Response:
    return client.post(ROUTES["AIP_PREDICT_ROUTE"], json=body)


def test_health_checks_are_answered_on_the_route_that_vertex_names(client: httpx.Client) -> None:
    assert client.get(ROUTES["AIP_HEALTH_ROUTE"]).status_code == 200
    assert client.get("/health").status_code == 404


def test_each_instance_gets_the_predictions_of_the_model(client: httpx.Client, model: Path) -> None:
    recommender = OnlineRecommender.load(model)
    histories = [[3, 40], [], [7, 999_999]]
    response = answer(client, {"instances": [{"history": history} for history in histories]})
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    predictions = response.json()["predictions"]
    assert [[game["game_id"] for game in each["games"]] for each in predictions] == [
        [game.game_id for game in recommender.recommend(history, 10)] for history in histories
    ]
    assert set(predictions[0]["games"][0]) == {"game_id", "score", "taste", "popularity", "because"}
    assert predictions[1]["games"][0]["because"] is None


def test_parameters_apply_to_every_instance(client: httpx.Client, model: Path) -> None:
    history = [{"game_id": 3, "recommended": False, "hours": 2.5}, 40]
    parameters = {"limit": 4, "popularity": 0.5, "include": ["rpg"], "exclude": ["indie"]}
    response = answer(client, {"instances": [{"history": history}] * 2, "parameters": parameters})
    expected = OnlineRecommender.load(model).recommend(
        [3, 40], 4, recommended=[False, True], hours=[2.5, None], popularity=0.5, include=["rpg"], exclude=["indie"]
    )
    assert len(expected) == 4
    first, second = response.json()["predictions"]
    assert [game["game_id"] for game in first["games"]] == [game.game_id for game in expected]
    assert second == first


def test_absent_parameters_may_be_null(client: httpx.Client) -> None:
    assert len(answer(client, {"instances": [], "parameters": None}).json()["predictions"]) == 0


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "instances: Field required."),
        ({"instances": [{"history": ["portal"]}]}, "instances.0.history.0.id: Input should be a valid integer."),
        ({"instances": [{}]}, "instances.0.history: Field required."),
        ({"instances": [{"history": []}], "parameters": {"limit": 0}}, "parameters.limit: Input should be greater"),
        ({"instances": [], "parameters": {"os": "linux"}}, "parameters.os: Extra inputs are not permitted."),
        ({"instances": [{"history": []}] * (MOST_INSTANCES + 1)}, "instances: List should have at most 256 items"),
    ],
)
def test_an_invalid_request_is_refused_with_the_field(client: httpx.Client, body: object, sentence: str) -> None:
    response = answer(client, body)
    assert response.status_code == 400
    assert response.json()["error"].startswith(sentence)


def test_a_body_that_is_not_json_is_refused(client: httpx.Client) -> None:
    response = client.post(ROUTES["AIP_PREDICT_ROUTE"], content=b"{")
    assert response.status_code == 400
    assert response.json()["error"].startswith("The body is not JSON")


def test_other_paths_and_methods_are_errors_in_json(client: httpx.Client) -> None:
    assert client.get("/").json() == {"error": "Not Found."}
    assert client.get(ROUTES["AIP_PREDICT_ROUTE"]).status_code == 405


def test_a_model_is_served_from_a_bucket(model: Path, bucket_store: str) -> None:
    add_model(bucket_store, model)
    with started(f"{bucket_store}/models/model-1") as url:
        assert httpx.get(f"{url}/health").status_code == 200
        body = {"instances": [{"history": [1]}], "parameters": {"limit": 3}}
        assert len(httpx.post(f"{url}/predict", json=body, timeout=60).json()["predictions"][0]["games"]) == 3


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "explorer: AIP_STORAGE_URI is not set: set it in the environment."),
        ({"AIP_STORAGE_URI": "/nowhere"}, "explorer: /nowhere holds no complete model"),
        ({"AIP_STORAGE_URI": "x", "AIP_PREDICT_ROUTE": "predict"}, "explorer: AIP_PREDICT_ROUTE is invalid"),
        ({"AIP_STORAGE_URI": "x", "AIP_HTTP_PORT": "many"}, "explorer: AIP_HTTP_PORT is invalid"),
    ],
)
def test_a_server_that_cannot_start_says_why_in_one_line(variables: dict[str, str], sentence: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIP_")} | variables
    command = [sys.executable, *SERVING_COMMAND[1:]]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(sentence)
    assert done.stderr.count("\n") == 1


def test_the_registered_container_is_one_that_the_image_can_run() -> None:
    dockerfile = (ROOT / "containers" / "explorer" / "Dockerfile").read_text()
    assert f'CMD ["{SERVING_COMMAND[0]}", ' in dockerfile
    defaults = ServingSettings(storage_uri="x")
    assert (defaults.http_port, defaults.health_route, defaults.predict_route) == (
        SERVING_PORT,
        HEALTH_ROUTE,
        PREDICT_ROUTE,
    )
