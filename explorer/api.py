"""The JSON API: the same as the pages, for the shop's developers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from explorer import description, examples
from explorer.parameters import (
    FILTERS,
    filters_of,
    game_id_of,
    history_of,
    limit_of,
    only,
    text_of,
    user_id_of,
)
from explorer.problems import Problem
from explorer.views import Answer, Audience, Game, LiveAnswer, NamedGame, Reviewed, SimilarGames, User

DESCRIPTION = (
    "What is recommended to a shop's users: the published recommendations, answers to a history of this second, users "
    "and games. An answer names the publication that it is of, and its ETag changes with it. What cannot be answered "
    'gets a status from 400 and `{"error": "one sentence"}`.'
)
NO_USER = "There is no such user: look for one with /api/users?q=."
NO_GAME = "There is no such game: look for one with /api/games?q=."

router = APIRouter(prefix="/api", tags=["api"])


@dataclass(frozen=True)
class FoundUsers:
    """Users that were looked for."""

    users: list[User]


@dataclass(frozen=True)
class FoundGames:
    """Games that were looked for."""

    games: list[NamedGame]


@dataclass(frozen=True)
class UserHistory:
    """A user and the newest of their reviews."""

    user: User
    history: list[Reviewed]


@dataclass(frozen=True)
class GameAudience:
    """A game's facts, and who has it recommended."""

    game: Game
    audience: Audience


@router.get(
    "/users/{user_id}/recommendations",
    summary="What to show a user",
    **description.operation(Answer, description.USER_ID, *description.FILTERS, answered=examples.RECOMMENDATIONS),
)
async def recommendations(request: Request) -> Response:
    """The rows of `recsys.recommended_games`: a user without recommendations, known or not, gets the popular games."""
    state, query = request.app.state, only(request.query_params, FILTERS)
    filters = filters_of(query, state.settings.largest_limit)
    answer = await state.shop.recommendations(user_id_of(request.path_params["user_id"]), filters)
    if answer.version is None:
        raise Problem(503, "Nothing has been published yet: run the inference pipeline first.")
    return answered(request, answer, answer.version)


@router.post(
    "/recommend",
    summary="What to show to a history of this second",
    **description.operation(
        LiveAnswer, body=description.HISTORY, asked=examples.HISTORY, answered=examples.RECOMMENDED
    ),
)
async def recommend(request: Request) -> Response:
    """The current publication's model answers at once; no user need be known, and nothing is kept."""
    live = request.app.state.live
    content = only(_json(await request.body()), (*FILTERS, "history"))
    games, recommended, hours = history_of(content)
    filters = filters_of(content, request.app.state.settings.largest_limit)
    answer = await live.recommend(games, filters, recommended=recommended, hours=hours)
    return answered(request, answer, answer.version)


@router.get(
    "/games/{game_id}/similar",
    summary="Games like a game",
    **description.operation(SimilarGames, description.GAME_ID, description.LIMIT),
)
async def similar(request: Request) -> Response:
    """The games on offer whose vectors are nearest; none where the model knows nothing of the game."""
    state, query = request.app.state, only(request.query_params, ("limit",))
    game_id = game_id_of(request.path_params["game_id"])
    limit = limit_of(query, state.settings.largest_limit)
    if not await state.shop.named([game_id]):
        raise Problem(404, NO_GAME)
    answer = await state.live.similar(game_id, limit)
    return answered(request, answer, answer.version)


@router.get(
    "/users",
    summary="Find users",
    **description.operation(FoundUsers, description.QUESTION, description.LIMIT),
)
async def users(request: Request) -> Response:
    """Users by id, by name, and by the beginning of the name, in this order."""
    state, query = request.app.state, only(request.query_params, ("q", "limit"))
    limit = limit_of(query, state.settings.largest_limit)
    return answered(request, FoundUsers(await state.shop.find_users(text_of(query, "q"), limit)))


@router.get("/users/{user_id}", summary="A user", **description.operation(UserHistory, description.USER_ID))
async def user(request: Request) -> Response:
    """A user and the newest of their reviews."""
    state = request.app.state
    only(request.query_params, ())
    found = await state.shop.user(user_id_of(request.path_params["user_id"]))
    if found is None:
        raise Problem(404, NO_USER)
    history = await state.shop.history(found.user_id, state.settings.largest_limit)
    return answered(request, UserHistory(found, history))


@router.get(
    "/games",
    summary="Find games",
    **description.operation(FoundGames, description.QUESTION, description.LIMIT),
)
async def games(request: Request) -> Response:
    """Games whose name is the text, begins with it, or holds it, in this order."""
    state, query = request.app.state, only(request.query_params, ("q", "limit"))
    limit = limit_of(query, state.settings.largest_limit)
    return answered(request, FoundGames(await state.shop.games(text_of(query, "q"), limit)))


@router.get("/games/{game_id}", summary="A game", **description.operation(GameAudience, description.GAME_ID))
async def game(request: Request) -> Response:
    """A game's facts, and who has it among their recommendations."""
    state = request.app.state
    only(request.query_params, ())
    found = await state.shop.game(game_id_of(request.path_params["game_id"]))
    if found is None:
        raise Problem(404, NO_GAME)
    return answered(request, GameAudience(found, await state.shop.audience(found.game_id)))


def answered(request: Request, content: Any, version: str = "") -> Response:
    """JSON with an ETag of the publication and of what it says; to a GET that knows it already, only the ETag."""
    body = orjson.dumps(content)
    digest = hashlib.blake2b(body, digest_size=8).hexdigest()
    etag = f'"{version}-{digest}"' if version else f'"{digest}"'
    headers = {"etag": etag, "cache-control": "private, no-cache"}
    if request.method == "GET" and _is_known(etag, ",".join(request.headers.getlist("if-none-match"))):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def _is_known(etag: str, known: str) -> bool:
    """Whether an If-None-Match names an answer; a star names whatever there is (RFC 9110, 13.1.2)."""
    return known.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in known.split(","))


def problem_response(problem: Problem) -> Response:
    """What went wrong, as JSON."""
    body = orjson.dumps({"error": problem.sentence})
    return Response(body, problem.status, problem.headers, media_type="application/json")


def _json(body: bytes) -> dict[str, Any]:
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError:
        content = None
    if not isinstance(content, dict):
        raise Problem(400, 'The body must be a JSON object, as {"history": [620, 440]}.')
    return content
