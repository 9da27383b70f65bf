"""The JSON API, for the shop's developers, and its page of documentation.

The page is made from the API's OpenAPI description on the server: it loads nothing from other sites.
"""

# Without `from __future__ import annotations`: the parameters' models are made per application, in a function.

import hashlib
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from pydantic import ConfigDict, Field

from explorer.dependencies import LiveModelDep, RepositoryDep
from explorer.errors import NOTHING_PUBLISHED, ProblemError, error_responses
from explorer.filters import (
    WHOLE,
    Cursor,
    Filters,
    GameIds,
    GamePath,
    NoParameters,
    PostedHistory,
    QueryModel,
    Search,
    UserPath,
    parse_ids,
)
from explorer.repository import Repository
from explorer.schemas import (
    HISTORY_EXAMPLE,
    LIVE_EXAMPLE,
    RECOMMENDATIONS_EXAMPLE,
    SHELVES_EXAMPLE,
    GameDetails,
    GameList,
    GenreList,
    LiveRecommendations,
    Recommendations,
    Shelves,
    SimilarGames,
    User,
    UserHistory,
    UserList,
)
from explorer.templating import render

DESCRIPTION = (
    "Recommendations for a shop's users: published ones, live ones for a posted history, and the users and games. "
    "An answer names its publication, and its ETag changes with it. Errors are problem details (RFC 9457): `detail` "
    "says what is wrong and what to do, `code` names the problem for programs. Long lists have a cursor: send `next` "
    "of an answer as `cursor` for what follows."
)
MOST_SHELVES = 20
NO_USER = "This user does not exist: search with /api/v1/users?q=."
NO_GAME = "This game does not exist: search with /api/v1/games?q=."

Schema = dict[str, Any]

api_docs_router = APIRouter(include_in_schema=False)


def create_router(largest_limit: int) -> APIRouter:
    """Return the routes of the API, which return at most `largest_limit` rows."""
    router = APIRouter(
        prefix="/api/v1",
        tags=["api"],
        responses=error_responses(404, 422, 429, 503),
    )
    known: dict[int | str, dict[str, Any]] = {304: {"description": "Not modified"}}
    searched = {**known, **error_responses(409)}
    Limit = Annotated[int, Field(ge=1, le=largest_limit), WHOLE]

    class LimitedFilters(Filters):
        exclude_ids: GameIds = Field(
            default="", description="Games to leave out, for example those in the cart: ids with commas between them."
        )
        limit: Limit = Field(default=10, description="Most rows to return.", examples=[2])
        cursor: Cursor = ""

    class LimitedSearch(Search):
        limit: Limit = Field(default=10, description="Most rows to return.")
        cursor: Cursor = ""

    class GameSearch(LimitedSearch):
        ids: GameIds = Field(
            default="", description="Games to return, in this order, instead of a search: ids with commas between them."
        )

    class HistoryQuery(QueryModel):
        limit: Limit = Field(default=10, description="Most rows to return.")
        cursor: Cursor = ""

    class ShelvesQuery(QueryModel):
        shelves: Annotated[int, Field(ge=1, le=MOST_SHELVES), WHOLE] = Field(
            default=8, description="Most shelves to return.", examples=[1]
        )
        games: Limit = Field(default=10, description="Most games per shelf.", examples=[1])

    class SimilarQuery(QueryModel):
        limit: Limit = Field(default=10, description="Most rows to return.")

    class History(PostedHistory):
        model_config = ConfigDict(json_schema_extra={"examples": [HISTORY_EXAMPLE]})
        limit: Limit = Field(default=10, description="Most rows to return.")

    @router.get(
        "/users/{user_id}/recommendations",
        operation_id="getRecommendations",
        summary="Recommendations for a user",
        response_model=Recommendations,
        responses={200: _example_response(RECOMMENDATIONS_EXAMPLE), **searched},
        openapi_extra=LimitedFilters.describe_query(),
    )
    async def recommendations(
        request: Request,
        user_id: UserPath,
        filters: Annotated[LimitedFilters, Depends(LimitedFilters.from_query)],
        repository: RepositoryDep,
        live_model: LiveModelDep,
    ) -> Response:
        """Return the rows of `recsys.recommended_games`; a user without recommendations gets the popular games.

        With `popularity`, `include` or `exclude`, the model answers at once, from the user's newest reviews.
        """
        answering = live_model.recommendations if filters.live else repository.recommendations
        answer = await answering(user_id, filters, parse_ids(filters.exclude_ids), filters.cursor)
        if answer.version is None:
            raise ProblemError(503, "nothing_published", NOTHING_PUBLISHED)
        return json_response(request, answer, answer.version)

    @router.get(
        "/users/{user_id}/shelves",
        operation_id="getShelves",
        summary="Shelves of games for a user",
        response_model=Shelves,
        responses={200: _example_response(SHELVES_EXAMPLE), **known},
        openapi_extra=ShelvesQuery.describe_query(),
    )
    async def shelves(
        request: Request,
        user_id: UserPath,
        query: Annotated[ShelvesQuery, Depends(ShelvesQuery.from_query)],
        repository: RepositoryDep,
    ) -> Response:
        """Return a storefront's page: the rows of `recsys.shelves`, shelf by shelf. No game is on two shelves."""
        answer = await repository.shelves(user_id, query.shelves, query.games)
        if answer.version is None:
            raise ProblemError(503, "nothing_published", NOTHING_PUBLISHED)
        return json_response(request, answer, answer.version)

    @router.post(
        "/recommend",
        operation_id="recommend",
        summary="Recommendations for a history",
        response_model=LiveRecommendations,
        responses={200: _example_response(LIVE_EXAMPLE), **error_responses(400, 408, 409, 413)},
    )
    async def recommend(request: Request, body: History, live_model: LiveModelDep) -> Response:
        """Answer from the current publication's model; no user is needed, and nothing is stored."""
        answer = await live_model.recommend(body.games(), body, body.exclude_ids, body.cursor)
        return json_response(request, answer, answer.version)

    @router.get(
        "/games/{game_id}/similar",
        operation_id="getSimilarGames",
        summary="Similar games",
        response_model=SimilarGames,
        responses=known,
        openapi_extra=SimilarQuery.describe_query(),
    )
    async def similar(
        request: Request,
        game_id: GamePath,
        query: Annotated[SimilarQuery, Depends(SimilarQuery.from_query)],
        repository: RepositoryDep,
        live_model: LiveModelDep,
    ) -> Response:
        """Return the available games with the nearest vectors; none if the model does not know the game."""
        if not await repository.games([game_id]):
            raise ProblemError(404, "game_not_found", NO_GAME)
        answer = await live_model.similar(game_id, query.limit)
        return json_response(request, answer, answer.version)

    @router.get(
        "/users",
        operation_id="findUsers",
        summary="Find users",
        response_model=UserList,
        responses=searched,
        openapi_extra=LimitedSearch.describe_query(),
    )
    async def users(
        request: Request, query: Annotated[LimitedSearch, Depends(LimitedSearch.from_query)], repository: RepositoryDep
    ) -> Response:
        """Return users by id, by name, and by the beginning of the name, in this order; those of most reviews first."""
        return json_response(request, await repository.find_users(query.q, query.limit, query.cursor))

    @router.get("/users/{user_id}", operation_id="getUser", summary="A user", response_model=User, responses=known)
    async def user(
        request: Request,
        user_id: UserPath,
        query: Annotated[NoParameters, Depends(NoParameters.from_query)],
        repository: RepositoryDep,
    ) -> Response:
        """Return a user's name and number of reviews."""
        return json_response(request, await _user(repository, user_id))

    @router.get(
        "/users/{user_id}/history",
        operation_id="getHistory",
        summary="History of a user",
        response_model=UserHistory,
        responses=searched,
        openapi_extra=HistoryQuery.describe_query(),
    )
    async def history(
        request: Request,
        user_id: UserPath,
        query: Annotated[HistoryQuery, Depends(HistoryQuery.from_query)],
        repository: RepositoryDep,
    ) -> Response:
        """Return the games that a user has reviewed, each once with the latest review, the newest first."""
        await _user(repository, user_id)
        return json_response(request, await repository.history(user_id, query.limit, query.cursor))

    @router.get("/genres", operation_id="listGenres", summary="Genres", response_model=GenreList, responses=known)
    async def genres(
        request: Request, query: Annotated[NoParameters, Depends(NoParameters.from_query)], repository: RepositoryDep
    ) -> Response:
        """Return all genres, and how many games have each of them."""
        return json_response(request, GenreList(await repository.genres()))

    @router.get(
        "/games",
        operation_id="findGames",
        summary="Find games",
        response_model=GameList,
        responses=searched,
        openapi_extra=GameSearch.describe_query(),
    )
    async def games(
        request: Request, query: Annotated[GameSearch, Depends(GameSearch.from_query)], repository: RepositoryDep
    ) -> Response:
        """Return the games of a search by name, the best matches first; without a text, those of most reviews first.

        With `ids`, return these games, without those that do not exist, whatever the limit is.
        """
        if query.ids:
            return json_response(request, GameList(await repository.games(parse_ids(query.ids)), None))
        return json_response(request, await repository.find_games(query.q, query.limit, query.cursor))

    @router.get(
        "/games/{game_id}", operation_id="getGame", summary="A game", response_model=GameDetails, responses=known
    )
    async def game(
        request: Request,
        game_id: GamePath,
        query: Annotated[NoParameters, Depends(NoParameters.from_query)],
        repository: RepositoryDep,
    ) -> Response:
        """Return a game's facts, and how many users have it recommended: null if they cannot be counted now."""
        found = await repository.game(game_id)
        if found is None:
            raise ProblemError(404, "game_not_found", NO_GAME)
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


@dataclass(frozen=True)
class Parameter:
    """A parameter or field: its name, the values that it takes as text, and its description."""

    name: str
    values: str
    description: str


@dataclass(frozen=True)
class Example:
    """A request as a shell command, and the JSON that it returns."""

    request: str
    answer: str


@dataclass(frozen=True)
class Operation:
    """An operation of the API: its parameters, the descriptions of its statuses, and an example."""

    method: str
    path: str
    summary: str
    description: str
    parameters: list[Parameter]
    body: list[Parameter]
    responses: dict[str, str]
    example: Example | None


@api_docs_router.get("/api")
async def api_docs(request: Request) -> Response:
    """Show all operations."""
    openapi = request.app.openapi()
    found = list(operations(openapi, str(request.base_url).rstrip("/")))
    return render(request, "api.html", description=openapi["info"]["description"], operations=found)


def operations(openapi: Schema, site: str) -> Iterator[Operation]:
    """Yield the operations of an OpenAPI description in its order, with examples for a site such as `https://…`."""
    schemas = openapi["components"]["schemas"]
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            parameters = operation.get("parameters", [])
            body = _resolve(_json(operation.get("requestBody", {})).get("schema", {}), schemas)
            yield Operation(
                method.upper(),
                path,
                operation["summary"],
                operation["description"],
                [_parameter(each["name"], each["schema"]) for each in parameters],
                list(_fields(body, schemas)),
                {status: response["description"] for status, response in operation["responses"].items()},
                _example(method, f"{site}{path}", operation, body),
            )


async def _user(repository: Repository, user_id: int) -> User:
    found = await repository.user(user_id)
    if found is None:
        raise ProblemError(404, "user_not_found", NO_USER)
    return found


def _is_known(etag: str, known: str) -> bool:
    """Whether an If-None-Match names the answer; a star names any (RFC 9110, 13.1.2)."""
    return known.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in known.split(","))


def _example_response(content: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"example": content}}}


def _json(content: Schema) -> Schema:
    """Return what describes the JSON of a body or an answer."""
    described: Schema = content.get("content", {}).get("application/json", {})
    return described


def _resolve(schema: Schema, schemas: dict[str, Schema]) -> Schema:
    """Return the schema of an object that a schema refers to, or may refer to."""
    for choice in (schema, *schema.get("anyOf", [])):
        if "$ref" in choice:
            return schemas[choice["$ref"].rpartition("/")[2]]
    return schema


def _fields(schema: Schema, schemas: dict[str, Schema], prefix: str = "") -> Iterator[Parameter]:
    """Yield the fields of an object; the fields of a list's objects follow the list."""
    for name, field in schema.get("properties", {}).items():
        yield _parameter(f"{prefix}{name}", field)
        for item in field.get("items", {}).get("oneOf", []):
            yield from _fields(_resolve(item, schemas), schemas, f"{prefix}{name}[].")


def _example(method: str, address: str, operation: Schema, body: Schema) -> Example | None:
    """Return a request with the examples of its parameters and body; None if the answer has no example."""
    answer = _json(operation["responses"].get("200", {})).get("example")
    if answer is None:
        return None
    query = []
    for parameter in operation.get("parameters", []):
        (value,) = parameter["schema"].get("examples", [None])
        if parameter["in"] == "path":
            address = address.replace(f"{{{parameter['name']}}}", str(value))
        elif value is not None:
            query.append((parameter["name"], value))
    words = ["curl", f"{address}?{urlencode(query)}" if query else address]
    if method == "post":
        words += ["--json", json.dumps(body["examples"][0])]
    return Example(shlex.join(words), json.dumps(answer, indent=2))


def _parameter(name: str, schema: Schema) -> Parameter:
    choices = schema.get("anyOf", [schema])
    merged = {key: value for choice in reversed(choices) for key, value in choice.items()}
    values = " or ".join(choice["type"] for choice in choices)
    if "enum" in merged:
        values = f"one of {', '.join(merged['enum'])}"
    if "format" in merged:  # its bounds may be beyond the precision of JSON's numbers
        values += f" of {merged['format'].removeprefix('int')} bits"
    elif "minimum" in merged:
        values += f" from {merged['minimum']:.0f} to {merged['maximum']:.0f}"
    if "maxItems" in merged:
        values += f" of at most {merged['maxItems']}"
    default = schema.get("default", "")
    if default not in ("", None):
        values += f"; default {default if isinstance(default, str) else json.dumps(default)}"
    return Parameter(name, values, schema["description"])
