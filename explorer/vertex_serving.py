"""Answers on an endpoint of Vertex AI: `python -m explorer.vertex_serving`, which runs in the explorer's image.

It keeps Vertex AI's contract for serving containers: the variables AIP_… name the port, the routes and the model's
folder; a request is `{"instances": [...], "parameters": {...}}` and its answer `{"predictions": [...]}`, one per
instance. The model's folder is all that it reads. There is no database, so games, names and popularity are those of the
training; the explorer's own API has today's.
"""

from __future__ import annotations

import logging.config
import sys
from typing import Annotated, Any

import orjson
import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse, Response
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from starlette.exceptions import HTTPException
from threadpoolctl import threadpool_limits

from explorer.filters import WHOLE, GameHistory, Genres, Popularity, RequestModel
from explorer.server import LOGGING, configure, listen
from explorer.settings import settings_error
from steam_recsys.errors import UserError
from steam_recsys.model.online import OnlineRecommender
from steam_recsys.storage.folder import open_folder

PREFIX = "AIP_"
MOST_INSTANCES = 256
"""Most histories in one request; a batch prediction job sends 64."""

LARGEST_LIMIT = 100

Route = Annotated[str, Field(pattern="^/")]


class ServingSettings(BaseSettings):
    """Settings that Vertex AI gives to a serving container, named like their variables in lower case without AIP_.

    Attributes:
        storage_uri: The model's folder: Vertex AI's own copy in a bucket, or a path.
        http_port: Port to listen on; port 0 takes a free one.
        health_route, predict_route: Paths of health checks and of predictions.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    storage_uri: str
    http_port: int = Field(default=8080, ge=0, le=65535)
    health_route: Route = "/health"
    predict_route: Route = "/predict"

    @classmethod
    def load(cls) -> ServingSettings:
        """Read the settings.

        Raises:
            UserError: A variable is missing or invalid.
        """
        try:
            return cls()  # type: ignore[call-arg]  # from the environment
        except ValidationError as error:
            raise settings_error(PREFIX, error) from None


class Parameters(RequestModel):
    """What to recommend to every instance of a request; see `OnlineRecommender.recommend`."""

    limit: Annotated[int, Field(ge=1, le=LARGEST_LIMIT), WHOLE] = 10
    popularity: Popularity = 1.0
    include: Genres = Field(default_factory=list)
    exclude: Genres = Field(default_factory=list)


class PredictionRequest(RequestModel):
    """The body of a request."""

    instances: list[GameHistory] = Field(max_length=MOST_INSTANCES)
    parameters: Parameters | None = None


def load_model(uri: str) -> OnlineRecommender:
    """Load the model in a folder or bucket.

    Raises:
        UserError: The bucket cannot be read, or there is no complete model.
    """
    with open_folder(uri).local_path("") as folder:
        recommender = OnlineRecommender.load(folder)
    recommender.recommend([], 1)  # builds what is built once, while no request waits
    return recommender


def predict(recommender: OnlineRecommender, history: GameHistory, parameters: Parameters) -> dict[str, Any]:
    """Return the prediction for one instance: its games, the best first."""
    games = history.games()
    found = recommender.recommend(
        [game.game_id for game in games],
        parameters.limit,
        recommended=[game.recommended for game in games],
        hours=[game.hours for game in games],
        popularity=parameters.popularity,
        include=parameters.include,
        exclude=parameters.exclude,
    )
    return {
        "games": [
            {
                "game_id": game.game_id,
                "score": game.score,
                "taste": game.taste,
                "popularity": game.popularity,
                "because": game.because,
            }
            for game in found
        ]
    }


def create_app(recommender: OnlineRecommender, settings: ServingSettings) -> FastAPI:
    """Return the application for a loaded model."""
    app = FastAPI(openapi_url=None, redirect_slashes=False, strict_content_type=False)

    @app.get(settings.health_route)
    async def health() -> Response:
        """The model is loaded: the server only listens once it is."""
        return PlainTextResponse("ok\n")

    @app.post(settings.predict_route)
    def predictions(body: PredictionRequest) -> Response:
        """Answer in a thread, so that health checks do not wait."""
        parameters = body.parameters or Parameters()
        answers = [predict(recommender, instance, parameters) for instance in body.instances]
        return _json({"predictions": answers})

    app.add_exception_handler(RequestValidationError, _handle_invalid_request)
    app.add_exception_handler(HTTPException, _handle_http_error)
    return app


def main() -> None:
    """Load the model, then serve until SIGTERM."""
    logging.config.dictConfig(LOGGING)
    threadpool_limits(1, "blas")  # requests run beside each other instead
    try:
        settings = ServingSettings.load()
        recommender = load_model(settings.storage_uri)
        listener = listen("0.0.0.0", settings.http_port)
    except UserError as error:
        sys.exit(f"explorer: {error}")
    print(f"explorer: predictions on port {listener.getsockname()[1]}", flush=True)
    uvicorn.Server(configure(create_app(recommender, settings), trusted_proxies="")).run(sockets=[listener])


def _json(content: dict[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


async def _handle_invalid_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return _json({"error": f"The body is not JSON: {first['ctx']['error']}."}, 400)
    name = ".".join(map(str, first["loc"][1:])) or "The body"
    return _json({"error": f"{name}: {first['msg']}."}, 400)


async def _handle_http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _json({"error": f"{error.detail}."}, error.status_code)


if __name__ == "__main__":
    main()
