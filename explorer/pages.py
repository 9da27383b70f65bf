"""The pages of users and games, and the page to build a history on, which work without JavaScript.

All that the page `/try` shows follows from its address. Every click is a link; with JavaScript, `static/explorer.js`
asks the API instead.
"""

# Without `from __future__ import annotations`: the parameters' models are made per application, in a function.

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, get_args

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BeforeValidator, ConfigDict, Field

from explorer.dependencies import LiveModelDep, RepositoryDep
from explorer.filters import (
    WHOLE,
    FilterForm,
    Filters,
    GameId,
    GamePath,
    HistoryGame,
    Search,
    Text,
    UserPath,
    filter_parameters,
    page_address,
    parameter_pairs,
)
from explorer.live_model import LiveModel
from explorer.repository import Repository, UserKind
from explorer.schemas import GameCard, Review, SimilarGame
from explorer.templating import render

MOST_FOUND = 50
"""Most users or games that a search shows."""

MOST_SIMILAR = 12
"""Most similar games on a game's page."""

TRY_PATH = "/try"
TRY_MOST_FOUND = 6
"""Most games that a search shows on the page to build a history on."""

TRY_LONGEST = 100
"""Most games of a history in an address."""

USER_KINDS: tuple[UserKind, ...] = get_args(UserKind)


@dataclass(frozen=True)
class Trial:
    """A history that is being built: its games, the oldest first, the text that is searched, and the filters."""

    games: list[int]
    text: str
    filters: Filters

    def adding(self, game_id: int) -> str:
        """Return the address of the history with one more game."""
        return self._address([*self.games, game_id])

    def removing(self, game_id: int) -> str:
        """Return the address of the history without a game."""
        return self._address([game for game in self.games if game != game_id])

    def _address(self, games: list[int]) -> str:
        return page_address(TRY_PATH, {"games": _join(games), "q": self.text, **filter_parameters(self.filters)})


def create_router(largest_limit: int) -> APIRouter:
    """Return the routes of the pages, which show at most `largest_limit` games."""
    router = APIRouter(include_in_schema=False)

    class PageSearch(Search):
        model_config = ConfigDict(extra="ignore")

    class PageFilters(Filters):
        model_config = ConfigDict(extra="ignore")
        limit: Annotated[int, Field(ge=1, le=largest_limit), WHOLE] = 10

    class TryParameters(PageFilters):
        q: Text = ""
        games: Annotated[list[GameId], Field(max_length=TRY_LONGEST), BeforeValidator(_split)] = Field(
            default_factory=list
        )

    @router.get("/")
    async def start(request: Request, repository: RepositoryDep) -> Response:
        """Show the start page: searches, and the numbers of users, games and reviews."""
        publication = await repository.publication()
        return render(request, "start.html", publication=publication, counts=await repository.counts())

    @router.get("/users")
    async def users(request: Request, query: Annotated[PageSearch, Query()], repository: RepositoryDep) -> Response:
        """Show the users that a search found."""
        found = (await repository.find_users(query.q, MOST_FOUND)).users if query.q else []
        return render(request, "users.html", text=query.q, users=found, most=MOST_FOUND)

    @router.get("/someone/{kind}")
    async def random_user(kind: str, repository: RepositoryDep) -> Response:
        """Redirect to a random user of a kind; without a new user, to an empty history."""
        if kind not in USER_KINDS:
            raise HTTPException(404, f"This kind of user does not exist: the kinds are {', '.join(USER_KINDS)}.")
        user = await repository.random_user(kind)
        if user is None and kind != "new":
            raise HTTPException(404, f"No user with {kind.replace('-', ' ')} was found: search by name.")
        target = TRY_PATH if user is None else f"/users/{user.user_id}"
        return RedirectResponse(target, status_code=303, headers={"cache-control": "no-store"})

    @router.get("/users/{user_id}")
    async def user(
        request: Request,
        user_id: UserPath,
        filters: Annotated[PageFilters, Query()],
        repository: RepositoryDep,
        live_model: LiveModelDep,
    ) -> Response:
        """Show a user's history and recommendations."""
        found = await repository.user(user_id)
        if found is None:
            raise HTTPException(404, "This user does not exist: search by name.")
        history = (await repository.history(user_id, largest_limit)).history
        answering = live_model.recommendations if filters.live else repository.recommendations
        answer = await answering(user_id, filters)
        dated = filters.rank_by in ("newest", "new_releases")
        return render(
            request,
            "user.html",
            user=found,
            history=with_recommendation_counts(history, answer.games),
            version=answer.version,
            games=answer.games,
            dated=dated,
            form=FilterForm(f"/users/{user_id}", filters, await _genre_names(repository), {}, largest_limit),
        )

    @router.get("/games")
    async def games(request: Request, query: Annotated[PageSearch, Query()], repository: RepositoryDep) -> Response:
        """Show the games that a search found."""
        found = (await repository.find_games(query.q, MOST_FOUND)).games if query.q else []
        return render(request, "games.html", text=query.q, games=found, most=MOST_FOUND)

    @router.get("/games/{game_id}")
    async def game(
        request: Request, game_id: GamePath, repository: RepositoryDep, live_model: LiveModelDep
    ) -> Response:
        """Show a game's facts, similar games, and how many users have it recommended."""
        found = await repository.game(game_id)
        if found is None:
            raise HTTPException(404, "This game does not exist: search by name.")
        similar, problem = await _similar(live_model, game_id)
        link = found.link if (found.link or "").lower().startswith(("http://", "https://")) else None
        reach = await repository.reach(game_id)
        return render(request, "game.html", game=found, link=link, similar=similar, problem=problem, reach=reach)

    @router.get(TRY_PATH)
    async def try_history(
        request: Request,
        query: Annotated[TryParameters, Query()],
        repository: RepositoryDep,
        live_model: LiveModelDep,
    ) -> Response:
        """Show a history, games to add to it, and its recommendations."""
        ids = list(dict.fromkeys(query.games))
        history = await repository.games(ids) if ids else []
        trial = Trial([game.game_id for game in history], query.q, query)
        found = (await repository.find_games(query.q, TRY_MOST_FOUND + 1)).games if query.q else []
        games, problem = await _recommended(live_model, trial)
        further = {"games": _join(trial.games), "q": query.q}
        return render(
            request,
            "try.html",
            trial=trial,
            history=history,
            unknown=len(ids) - len(history),
            found=found[:TRY_MOST_FOUND],
            all_found=page_address("/games", {"q": query.q}) if len(found) > TRY_MOST_FOUND else None,
            most=TRY_MOST_FOUND,
            games=games,
            problem=problem,
            loading=live_model.is_loading,
            longest=TRY_LONGEST,
            form=FilterForm(TRY_PATH, query, await _genre_names(repository), further, largest_limit, dial=True),
            search=parameter_pairs({"games": _join(trial.games), **filter_parameters(query)}),
        )

    return router


def with_recommendation_counts(history: Sequence[Review], games: Sequence[GameCard]) -> list[tuple[Review, int]]:
    """Return each review with the number of games recommended because of its game."""
    named = Counter(game.because.game_id for game in games if game.because)
    return [(review, named[review.game_id]) for review in history]


async def _genre_names(repository: Repository) -> list[str]:
    return [genre.name for genre in await repository.genres()]


async def _similar(live_model: LiveModel, game_id: int) -> tuple[list[SimilarGame], str | None]:
    """Return games like a game, or why there are none to show."""
    try:
        return (await live_model.similar(game_id, MOST_SIMILAR)).games, None
    except HTTPException as error:
        return [], error.detail


async def _recommended(live_model: LiveModel, trial: Trial) -> tuple[list[GameCard], str | None]:
    """Return the recommendations for a history, or the reason why there are none."""
    history = [HistoryGame(game_id=game_id) for game_id in trial.games]
    try:
        return (await live_model.recommend(history, trial.filters)).games, None
    except HTTPException as error:
        return [], error.detail


def _split(value: object) -> object:
    """Return the ids of an address, which have commas between them."""
    return [text.strip() for text in ",".join(value).split(",") if text.strip()] if isinstance(value, list) else value


def _join(games: list[int]) -> str:
    return ",".join(map(str, games))
