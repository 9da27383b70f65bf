"""The JSON API, for the shop's developers."""

# Without `from __future__ import annotations`: the parameters' models are made per application, in a function.

import asyncio
import hashlib
import hmac
import logging
import time
from typing import Annotated, Any
from urllib.parse import parse_qs

import orjson
from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import ConfigDict, Field

from explorer.dependencies import LiveModelDep, RepositoryDep, SettingsDep, refuse_repeated_parameters
from explorer.errors import NOTHING_PUBLISHED, error_responses
from explorer.filters import (
    WHOLE,
    Filters,
    GamePath,
    NoParameters,
    PostedHistory,
    RequestModel,
    RollbackTarget,
    Search,
    UserPath,
)
from explorer.middleware import RateLimiter, client_of
from explorer.schemas import (
    HISTORY_EXAMPLE,
    LIVE_EXAMPLE,
    RECOMMENDATIONS_EXAMPLE,
    CurrentVersion,
    GameDetails,
    GameList,
    LiveRecommendations,
    Recommendations,
    SimilarGames,
    UserHistory,
    UserList,
)
from explorer.settings import Settings
from steam_recsys.errors import UserError

DESCRIPTION = (
    "Recommendations for a shop's users: published ones, live ones for a posted history, and the users and games. "
    "An answer names its publication, and its ETag changes with it. Errors are problem details (RFC 9457): `detail` "
    "says what is wrong and what to do."
)
NO_USER = "This user does not exist: search with /api/users?q=."
NO_GAME = "This game does not exist: search with /api/games?q=."


def create_router(largest_limit: int) -> APIRouter:
    """Return the routes of an API whose requests may ask for at most so many rows."""
    router = APIRouter(
        prefix="/api",
        tags=["api"],
        dependencies=[Depends(refuse_repeated_parameters)],
        responses=error_responses(404, 422, 429, 503),
    )
    known: dict[int | str, dict[str, Any]] = {304: {"description": "Not modified"}}
    Limit = Annotated[int, Field(ge=1, le=largest_limit), WHOLE]

    class LimitedFilters(Filters):
        limit: Limit = Field(default=10, description="Most rows to return.", examples=[2])

    class LimitedSearch(Search):
        limit: Limit = Field(default=10, description="Most rows to return.")

    class SimilarQuery(RequestModel):
        limit: Limit = Field(default=10, description="Most rows to return.")

    class History(PostedHistory):
        model_config = ConfigDict(json_schema_extra={"examples": [HISTORY_EXAMPLE]})
        limit: Limit = Field(default=10, description="Most rows to return.")

    @router.get(
        "/users/{user_id}/recommendations",
        summary="Recommendations for a user",
        response_model=Recommendations,
        responses={200: _example(RECOMMENDATIONS_EXAMPLE), **known},
    )
    async def recommendations(
        request: Request, user_id: UserPath, filters: Annotated[LimitedFilters, Query()], repository: RepositoryDep
    ) -> Response:
        """Return the rows of `recsys.recommended_games`; a user without recommendations gets the popular games."""
        answer = await repository.recommendations(user_id, filters)
        if answer.version is None:
            raise HTTPException(503, NOTHING_PUBLISHED)
        return json_response(request, answer, answer.version)

    @router.post(
        "/recommend",
        summary="Recommendations for a history",
        response_model=LiveRecommendations,
        responses={200: _example(LIVE_EXAMPLE), **error_responses(400, 408, 413)},
    )
    async def recommend(request: Request, body: History, live_model: LiveModelDep) -> Response:
        """Answer from the current publication's model; no user is needed, and nothing is stored."""
        answer = await live_model.recommend(body.games(), body)
        return json_response(request, answer, answer.version)

    @router.get(
        "/games/{game_id}/similar",
        summary="Similar games",
        response_model=SimilarGames,
        responses=known,
    )
    async def similar(
        request: Request,
        game_id: GamePath,
        query: Annotated[SimilarQuery, Query()],
        repository: RepositoryDep,
        live_model: LiveModelDep,
    ) -> Response:
        """Return the available games with the nearest vectors; none if the model does not know the game."""
        if not await repository.game_names([game_id]):
            raise HTTPException(404, NO_GAME)
        answer = await live_model.similar(game_id, query.limit)
        return json_response(request, answer, answer.version)

    @router.get("/users", summary="Find users", response_model=UserList, responses=known)
    async def users(request: Request, query: Annotated[LimitedSearch, Query()], repository: RepositoryDep) -> Response:
        """Return users by id, by name, and by the beginning of the name, in this order."""
        return json_response(request, UserList(await repository.find_users(query.q, query.limit)))

    @router.get("/users/{user_id}", summary="A user", response_model=UserHistory, responses=known)
    async def user(
        request: Request,
        user_id: UserPath,
        query: Annotated[NoParameters, Query()],
        repository: RepositoryDep,
        settings: SettingsDep,
    ) -> Response:
        """Return a user and the newest of their reviews."""
        found = await repository.user(user_id)
        if found is None:
            raise HTTPException(404, NO_USER)
        history = await repository.history(user_id, settings.largest_limit)
        return json_response(request, UserHistory(found, history))

    @router.get("/games", summary="Find games", response_model=GameList, responses=known)
    async def games(request: Request, query: Annotated[LimitedSearch, Query()], repository: RepositoryDep) -> Response:
        """Return games whose name is, begins with or contains the text, in this order."""
        return json_response(request, GameList(await repository.find_games(query.q, query.limit)))

    @router.get("/games/{game_id}", summary="A game", response_model=GameDetails, responses=known)
    async def game(
        request: Request, game_id: GamePath, query: Annotated[NoParameters, Query()], repository: RepositoryDep
    ) -> Response:
        """Return a game's facts, and how many users have it among their recommendations."""
        found = await repository.game(game_id)
        if found is None:
            raise HTTPException(404, NO_GAME)
        return json_response(request, GameDetails(found, await repository.reach(game_id)))

    return router


def json_response(request: Request, content: Any, version: str = "") -> Response:
    """Return JSON with an ETag of the publication and the content; a GET that knows it gets status 304."""
    body = orjson.dumps(content, default=Filters.applied)
    digest = hashlib.blake2b(body, digest_size=8).hexdigest()
    etag = f'"{version}-{digest}"' if version else f'"{digest}"'
    headers = {"etag": etag, "cache-control": "private, no-cache"}
    if request.method == "GET" and _is_known(etag, ",".join(request.headers.getlist("if-none-match"))):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def _is_known(etag: str, known: str) -> bool:
    """Whether an If-None-Match names the answer; a star names any (RFC 9110, 13.1.2)."""
    return known.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in known.split(","))


def _example(content: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"example": content}}}


LOG = logging.getLogger("explorer")

rollback_router = APIRouter(tags=["rollback"])


class Operator:
    """Checks that a request comes from the operator."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.rates = RateLimiter(per_second=0.1, burst=5)

    @property
    def is_configured(self) -> bool:
        """Whether rolling back is possible."""
        return self._settings.operator_token is not None and self._settings.operator_database_url is not None

    def authorise(self, request: Request, token: str) -> None:
        """Raise `HTTPException` unless the request has the token and comes from this site."""
        expected = self._settings.operator_token
        if not self.is_configured or expected is None:
            raise HTTPException(404, "Rolling back is not configured: see EXPLORER_OPERATOR_TOKEN in docs/explorer.md.")
        origin = request.headers.get("origin")
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none") or (
            origin is not None and origin.partition("://")[2] != request.headers.get("host")
        ):
            raise HTTPException(403, "This request comes from another site: roll back on the explorer's own page.")
        if not self.rates.allows(client_of(request.scope), time.monotonic()):
            raise HTTPException(429, "Too many tokens were tried. Try again in one minute.", {"Retry-After": "60"})
        if not hmac.compare_digest(token.encode(), expected.get_secret_value().encode()):
            LOG.warning("A rollback was requested with a wrong token.")
            raise HTTPException(403, "This is not the operator's token: use the value of EXPLORER_OPERATOR_TOKEN.")


async def get_operator(request: Request) -> Operator:
    """Return the application's check of the operator."""
    operator: Operator = request.app.state.operator
    return operator


OperatorDep = Annotated[Operator, Depends(get_operator)]
BearerDep = Annotated[
    HTTPAuthorizationCredentials | None, Depends(HTTPBearer(scheme_name="operator", auto_error=False))
]


async def authorise(request: Request, operator: OperatorDep, credentials: BearerDep) -> None:
    """Raise `HTTPException` unless the request has the operator's token as a bearer token."""
    operator.authorise(request, credentials.credentials if credentials else "")


@rollback_router.post(
    "/api/rollback",
    summary="Roll back to a publication",
    response_model=CurrentVersion,
    response_description="The publication that is current now",
    responses=error_responses(400, 403, 404, 408, 409, 413, 422, 429),
    dependencies=[Depends(authorise)],
)
async def rollback(request: Request, settings: SettingsDep, target: RollbackTarget | None = None) -> Response:
    """Make a kept publication current again: the named one, or the one before the current one."""
    version = await _roll_back(settings, target.version if target else None)
    return json_response(request, CurrentVersion(version))


@rollback_router.post("/rollback", include_in_schema=False)
async def rollback_form(request: Request, settings: SettingsDep, operator: OperatorDep) -> Response:
    """Do the same for a page's form with the fields `token` and `version`, then show the overview."""
    fields = parse_qs((await request.body()).decode("utf-8", "replace"))
    operator.authorise(request, fields.get("token", [""])[0])
    await _roll_back(settings, fields.get("version", [""])[0] or None)
    return RedirectResponse("/overview", status_code=303)


async def _roll_back(settings: Settings, version: str | None) -> str:
    # Imported here because only a rollback needs what publishes.
    from steam_recsys.publications.destinations import DestinationConfig, rollback

    destinations = DestinationConfig(
        "env:EXPLORER_OPERATOR_DATABASE_URL", settings.publish_to, "env:EXPLORER_MONGODB_URL"
    )
    try:
        current = await asyncio.to_thread(rollback, destinations, version)
    except UserError as error:
        raise HTTPException(409, str(error)) from None
    LOG.warning("The operator made publication %s current.", current)
    return current
