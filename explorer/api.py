"""The JSON API."""

from __future__ import annotations

import hashlib
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response

from explorer.parameters import filters_of, game_id_of, limit_of, text_of, user_id_of
from explorer.problems import Problem

router = APIRouter(prefix="/api")


@router.get("/users/{user_id}/recommendations")
async def recommendations(request: Request, user_id: str) -> Response:
    """What to show a user, of the current publication."""
    state = request.app.state
    filters = filters_of(request.query_params, state.settings.largest_limit)
    answer = await state.shop.recommendations(user_id_of(user_id), filters)
    if answer.version is None:
        raise Problem(503, "Nothing has been published yet: run the inference pipeline first.")
    return answered(request, answer, answer.version)


@router.get("/users")
async def users(request: Request) -> Response:
    """Users by id, name or the beginning of a name."""
    state = request.app.state
    limit = limit_of(request.query_params, state.settings.largest_limit)
    return answered(request, {"users": await state.shop.find_users(text_of(request.query_params, "q"), limit)})


@router.get("/games")
async def games(request: Request) -> Response:
    """Games by a part of their names."""
    state = request.app.state
    limit = limit_of(request.query_params, state.settings.largest_limit)
    return answered(request, {"games": await state.shop.games(text_of(request.query_params, "q"), limit)})


@router.get("/users/{user_id}")
async def user(request: Request, user_id: str) -> Response:
    """A user with the newest of their reviews."""
    state = request.app.state
    found = await state.shop.user(user_id_of(user_id))
    if found is None:
        raise Problem(404, "There is no such user: look for one with /api/users?q=.")
    history = await state.shop.history(found.user_id, state.settings.largest_limit)
    return answered(request, {"user": found, "history": history})


@router.get("/games/{game_id}")
async def game(request: Request, game_id: str) -> Response:
    """A game's facts, and who has it recommended."""
    state = request.app.state
    found = await state.shop.game(game_id_of(game_id))
    if found is None:
        raise Problem(404, "There is no such game: look for one with /api/games?q=.")
    return answered(request, {"game": found, "audience": await state.shop.audience(found.game_id)})


def answered(request: Request, content: Any, version: str = "") -> Response:
    """JSON with an ETag of what it says; nothing where the client has that already."""
    body = orjson.dumps(content)
    etag = f'"{version}{"." if version else ""}{hashlib.blake2b(body, digest_size=8).hexdigest()}"'
    headers = {"etag": etag, "cache-control": "private, no-cache"}
    if etag in (request.headers.get("if-none-match") or ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def problem_response(problem: Problem) -> Response:
    """What went wrong, as JSON."""
    return Response(
        orjson.dumps({"error": problem.sentence}), problem.status, problem.headers, media_type="application/json"
    )
