"""The storefront's pages: users, games, a history to build, and comparisons. They work without JavaScript.

All that a page shows follows from its address. Every click is a link or a form; with JavaScript,
`static/explorer.js` fetches the same address and replaces the parts that have changed.
"""

# Without `from __future__ import annotations`: the parameters' models are made per application, in a function.

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, get_args

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from explorer.dependencies import LiveModelDep, RepositoryDep
from explorer.filters import (
    WHOLE,
    Cursor,
    FilterForm,
    Filters,
    GamePath,
    HistoryGame,
    QueryModel,
    RankBy,
    Search,
    Text,
    UserPath,
    filter_parameters,
    page_address,
    parameter_pairs,
)
from explorer.live_model import LiveModel
from explorer.repository import Repository, UserKind
from explorer.schemas import (
    GameCard,
    GameList,
    MinimumRequirements,
    Persona,
    Review,
    Shelf,
    User,
    UserHistory,
    UserList,
)
from explorer.tastes import likes, telling
from explorer.templating import render
from explorer.trial import TRY_PATH, Trial, decode_played

VISITOR = -(2**63)
"""An id that no user has: its recommendations are a visitor's."""

MOST_FOUND = 50
"""Most users or games on a page of a search."""

MOST_SIMILAR = 12
"""Most similar games on a game's page."""

TOP_GAMES = 24
"""Popular games on the page of games, before a search."""

SHELVES, SHELF_GAMES = 8, 12
"""Most shelves of a user's page, and most games of each."""

START_PERSONAS = 3
"""Personas with a shelf on the start page."""

MOST_LIKES = 8
"""Most genres that a user's page says the user likes."""

GENRE_LINKS = 16
"""Genres that the page of games links to before its list of all genres."""

PERSONA_POPULARITY = 0.1
"""Where the dial is for a persona: nearer to niche, because what is popular says nothing about a fan."""

TRY_SHELVES: Final[Mapping[str, RankBy]] = {"Hidden gems": "discovery", "New releases": "new_releases"}
"""Shelves below the list for a history that is being built, and how each is ranked."""

COLUMNS: Final = {
    "Our model": "What this person likes, and what is popular now.",
    "Popularity": "The games that are popular now, except those that this person knows.",
    "Played together": "What other players of the same games also played.",
}
"""Titles of the lists of a comparison, and how each is made."""

TRY_MOST_FOUND = 6
"""Most games that a search shows on the page to build a history on."""

TRY_LONGEST = 100
"""Most games of a history in an address."""

HOURS_STEPS: Final = (None, 1.0, 10.0, 50.0, 200.0)
"""Hours to choose from for a game of a history; None is unknown."""

MINIMAL, MINIMAL_WITHOUT_FORM = "return=minimal", "return=minimal; without=filters"
"""The `Prefer` headers of clients that already show the page and need only what a filter changes: with the form, and
without it."""

USER_KINDS: tuple[UserKind, ...] = get_args(UserKind)


@dataclass(frozen=True)
class ShownGame:
    """A game of a list, and what a filter needs to know of it but the shop does not say."""

    game: GameCard
    missing: list[str]


@dataclass(frozen=True)
class AroundTheList:
    """What a user's page shows besides the list, whatever the filters are.

    Attributes:
        likes: Genres that the user likes, and how many liked games have each.
        shelves: The user's shelves.
        liked, disliked: The newest reviews.
        led_to: The number of games on the shelves that are recommended because of a game, by its id.
        older: The address of older reviews; None if there are none.
    """

    likes: list[tuple[str, int]]
    shelves: list[Shelf]
    liked: list[Review]
    disliked: list[Review]
    led_to: Mapping[int, int]
    older: str | None


@dataclass(frozen=True)
class Column:
    """A list of a comparison: its title, how it is made, its games, and of each the other lists that have it."""

    title: str
    note: str
    games: list[tuple[ShownGame, list[str]]]

    def common_with(self, title: str) -> int:
        """Return the number of games that another list has, too."""
        return sum(title in others for _, others in self.games)


def create_router(largest_limit: int) -> APIRouter:
    """Return the routes of the pages, which show at most `largest_limit` games."""
    router = APIRouter(include_in_schema=False)

    class PageSearch(Search):
        model_config = ConfigDict(extra="ignore")
        genre: Text = ""
        cursor: Cursor = ""

    class HistoryPage(QueryModel):
        model_config = ConfigDict(extra="ignore")
        cursor: Cursor = ""

    class PageFilters(Filters):
        model_config = ConfigDict(extra="ignore")
        limit: Annotated[int, Field(ge=1, le=largest_limit), WHOLE] = 10
        known: bool = False

        @field_validator("released_to")
        @classmethod
        def _check_range(cls, value: int | None, given: ValidationInfo) -> int | None:
            first = given.data.get("released_from")
            if value is not None and first is not None and value < first:
                raise PydanticCustomError(
                    "reversed_range", "The years from {first} to {last} are reversed", {"first": first, "last": value}
                )
            return value

        @field_validator("popularity")
        @classmethod
        def _leave_out_balance(cls, value: float | None) -> float | None:
            """Take the balance of the published lists, which forms send, as not given."""
            return None if value == 1 else value

    class TryParameters(PageFilters):
        list_parameters = (*PageFilters.list_parameters, "games")
        q: Text = ""
        games: Annotated[
            list[Annotated[HistoryGame, BeforeValidator(decode_played)]],
            Field(max_length=TRY_LONGEST),
            BeforeValidator(_split),
        ] = Field(default_factory=list)

    async def shown(answer: Sequence[GameCard], filters: PageFilters, repository: Repository) -> list[ShownGame]:
        asked = asked_facts(filters)
        ids = [game.game_id for game in answer]
        needs = await repository.minimum_requirements(ids) if asked - {"year"} else {}
        return known_first(answer, asked, needs, filters.known)[: filters.limit]

    def widened(filters: PageFilters) -> Filters:
        """Return the filters with enough games to put those with unknown facts last."""
        return filters.model_copy(update={"limit": largest_limit}) if asked_facts(filters) else filters

    async def comparison(
        live_model: LiveModel,
        history: Sequence[HistoryGame],
        filters: PageFilters,
        repository: Repository,
        without: Sequence[int] = (),
    ) -> tuple[list[Column], str | None]:
        """Return the lists of a comparison, or the reason why there are none."""
        try:
            answer = await live_model.compare(history, widened(filters), without)
        except HTTPException as error:
            return [], error.detail
        lists = (answer.model, answer.popular, answer.together)
        titled = [
            (title, note, await shown(games, filters, repository))
            for (title, note), games in zip(COLUMNS.items(), lists, strict=True)
        ]
        return compared(titled), None

    @router.get("/")
    async def start(request: Request, repository: RepositoryDep, live_model: LiveModelDep) -> Response:
        """Show personas with their shelves, searches, and the numbers of users, games and reviews."""
        publication = await repository.publication()
        personas = await repository.personas() if publication else []
        shelves = [(persona, await _games_for(live_model, persona)) for persona in personas[:START_PERSONAS]]
        complete = bool(shelves) and all(games for _, games in shelves)
        visitors = [] if complete or not publication else (await repository.shelves(VISITOR, 3, SHELF_GAMES)).shelves
        return render(
            request,
            "start.html",
            publication=publication,
            counts=await repository.counts(),
            personas=personas,
            persona_popularity=PERSONA_POPULARITY,
            shelves=[(persona, games) for persona, games in shelves if games],
            visitors=visitors,
        )

    @router.get("/users")
    async def users(
        request: Request, query: Annotated[PageSearch, Depends(PageSearch.from_query)], repository: RepositoryDep
    ) -> Response:
        """Show the users that a search found."""
        found = await repository.find_users(query.q, MOST_FOUND, query.cursor) if query.q else UserList([], None)
        more = following("/users", found.next, q=query.q)
        return render(request, "users.html", text=query.q, users=found.users, first=not query.cursor, more=more)

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
        filters: Annotated[PageFilters, Depends(PageFilters.from_query)],
        repository: RepositoryDep,
        live_model: LiveModelDep,
    ) -> Response:
        """Show a user's shelves, a list with order, filters and the dial, and the user's history."""
        found = await _existing_user(repository, user_id)

        async def listed() -> tuple[str | None, list[ShownGame], str | None]:
            """Return the publication, the games of the list, and the reason why there are none."""
            answering = live_model.recommendations if filters.live else repository.recommendations
            try:
                answer = await answering(user_id, widened(filters))
                return answer.version, await shown(answer.games, filters, repository), None
            except HTTPException as error:
                if not filters.live:
                    raise
                return None, [], error.detail

        around, form_kept = None, _keeps_form(request)
        if _prefers_minimal(request):
            version, games, problem = await listed()
            genres = [] if form_kept else await repository.genres()
        else:
            (version, games, problem), genres, (history, liked_genres), answer, counts = await asyncio.gather(
                listed(),
                repository.genres(),
                _history_with_genres(repository, user_id, largest_limit),
                repository.shelves(user_id, SHELVES, SHELF_GAMES),
                repository.counts(),
            )
            sizes = {genre.name: genre.games for genre in genres}
            around = AroundTheList(
                likes(liked_genres, sizes, counts.games)[:MOST_LIKES],
                answer.shelves,
                [each for each in history.history if each.recommended],
                [each for each in history.history if not each.recommended],
                count_reasons(answer.shelves),
                following(f"/users/{user_id}/history", history.next),
            )
        names = [genre.name for genre in genres]
        page = render(
            request,
            "user.html",
            user=found,
            version=version,
            games=games,
            problem=problem,
            form=FilterForm(f"/users/{user_id}", filters, names, {}, largest_limit, filters.known),
            form_kept=form_kept,
            around=around,
        )
        return _varying(page)

    @router.get("/users/{user_id}/history")
    async def user_history(
        request: Request,
        user_id: UserPath,
        query: Annotated[HistoryPage, Depends(HistoryPage.from_query)],
        repository: RepositoryDep,
    ) -> Response:
        """Show a user's history page by page, the newest reviews first."""
        found = await _existing_user(repository, user_id)
        history = await repository.history(user_id, largest_limit, query.cursor)
        more = following(f"/users/{user_id}/history", history.next)
        return render(request, "history.html", user=found, history=history.history, first=not query.cursor, more=more)

    @router.get("/users/{user_id}/compare")
    async def compare_user(
        request: Request,
        user_id: UserPath,
        filters: Annotated[PageFilters, Depends(PageFilters.from_query)],
        repository: RepositoryDep,
        live_model: LiveModelDep,
    ) -> Response:
        """Show a user's recommendations beside what popularity and games played together would show."""
        found = await _existing_user(repository, user_id)
        history, dismissed = await asyncio.gather(repository.live_history(user_id), repository.dismissed_games(user_id))
        columns, problem = await comparison(live_model, history, filters, repository, dismissed)
        known = "1" if filters.known else None
        back = page_address(f"/users/{user_id}", {**filter_parameters(filters), "known": known})
        return render(request, "compare.html", whom=found.username, back=back, columns=columns, problem=problem)

    @router.get("/games")
    async def games(
        request: Request, query: Annotated[PageSearch, Depends(PageSearch.from_query)], repository: RepositoryDep
    ) -> Response:
        """Show the games that a search found, or the games that are popular now, all or in a genre."""
        found = await repository.find_games(query.q, MOST_FOUND, query.cursor) if query.q else GameList([], None)
        wanted = Filters(genre=query.genre or None, limit=TOP_GAMES)
        top = [] if query.q else (await repository.recommendations(VISITOR, wanted)).games
        return render(
            request,
            "games.html",
            text=query.q,
            games=found.games,
            first=not query.cursor,
            more=following("/games", found.next, q=query.q),
            top=top,
            genre=query.genre,
            genres=(genres := await _genre_names(repository)),
            first_genres=telling(genres)[:GENRE_LINKS],
            counts=await repository.counts(),
        )

    @router.get("/games/{game_id}")
    async def game(
        request: Request, game_id: GamePath, repository: RepositoryDep, live_model: LiveModelDep
    ) -> Response:
        """Show a game's facts, similar games, and how many users have it recommended."""
        found = await repository.game(game_id)
        if found is None:
            raise HTTPException(404, "This game does not exist: search by name.")
        similar, problem = await _similar(live_model, game_id)
        return render(
            request,
            "game.html",
            game=found,
            similar=similar,
            problem=problem,
            reach=await repository.reach(game_id),
        )

    async def trial_of(query: TryParameters, repository: Repository) -> tuple[Trial, list[GameCard], int]:
        """Return the history of an address, its games in the shop, and the number of the others."""
        played = {game.game_id: game for game in query.games}
        known = await repository.games(list(played)) if played else []
        further = {"known": "1" if query.known else None}
        trial = Trial([played[game.game_id] for game in known], query.q, query, further)
        return trial, known, len(played) - len(known)

    async def try_shelves(
        live_model: LiveModel,
        trial: Trial,
        query: TryParameters,
        games: Sequence[GameCard],
        repository: Repository,
    ) -> list[Shelf]:
        """Return shelves without the games of the list; none for an empty history or in another order."""
        if not trial.games or query.rank_by != "relevance":
            return []
        found = []
        excluded = [game.game_id for game in games]
        for title, rank_by in TRY_SHELVES.items():
            filters = query.model_copy(update={"rank_by": rank_by, "limit": SHELF_GAMES})
            answer, _ = await _recommended(live_model, trial.games, widened(filters), excluded)
            on_shelf = [each.game for each in await shown(answer, filters, repository)]
            excluded += [game.game_id for game in on_shelf]
            found += [Shelf(title, on_shelf)] if on_shelf else []
        return found

    @router.get(TRY_PATH)
    async def try_history(
        request: Request,
        query: Annotated[TryParameters, Depends(TryParameters.from_query)],
        repository: RepositoryDep,
        live_model: LiveModelDep,
    ) -> Response:
        """Show a history, games to add to it, its recommendations, and shelves unless the client prefers less."""
        minimal, form_kept = _prefers_minimal(request), _keeps_form(request)
        trial, known, unknown = await trial_of(query, repository)

        async def searched() -> list[GameCard]:
            return (await repository.find_games(query.q, TRY_MOST_FOUND + 1)).games if query.q else []

        async def listed() -> tuple[list[ShownGame], str | None]:
            answer, problem = await _recommended(live_model, trial.games, widened(query))
            return await shown(answer, query, repository), problem

        (games, problem), found, genres, personas = await asyncio.gather(
            listed(),
            searched(),
            _nothing() if form_kept else _genre_names(repository),
            _nothing() if minimal else repository.personas(),
        )
        further = {"games": trial.encoded, "q": query.q}
        page = render(
            request,
            "try.html",
            trial=trial,
            history=list(zip(trial.games, known, strict=True)),
            hours_steps=HOURS_STEPS,
            personas=personas,
            unknown=unknown,
            found=found[:TRY_MOST_FOUND],
            all_found=page_address("/games", {"q": query.q}) if len(found) > TRY_MOST_FOUND else None,
            most=TRY_MOST_FOUND,
            games=games,
            shelves=[]
            if minimal
            else await try_shelves(live_model, trial, query, [each.game for each in games], repository),
            persona_popularity=PERSONA_POPULARITY,
            problem=problem,
            loading=live_model.is_loading,
            full=len(trial.games) >= TRY_LONGEST,
            form=FilterForm(TRY_PATH, query, genres, further, largest_limit, query.known, several=True),
            form_kept=form_kept,
            search=parameter_pairs({"games": trial.encoded, **filter_parameters(query), **trial.further}),
        )
        return _varying(page)

    @router.get(f"{TRY_PATH}/compare")
    async def compare_trial(
        request: Request,
        query: Annotated[TryParameters, Depends(TryParameters.from_query)],
        repository: RepositoryDep,
        live_model: LiveModelDep,
    ) -> Response:
        """Show the recommendations for a history beside what popularity and games played together would show."""
        trial, _, _ = await trial_of(query, repository)
        columns, problem = await comparison(live_model, trial.games, query, repository)
        return render(request, "compare.html", whom=None, back=trial.address, columns=columns, problem=problem)

    return router


def count_reasons(shelves: Sequence[Shelf]) -> Counter[int]:
    """Return the number of games on the shelves that are recommended because of a game, by its id."""
    return Counter(card.because.game_id for shelf in shelves for card in shelf.games if card.because)


def asked_facts(filters: Filters) -> set[str]:
    """Return the facts that the filters need to know of a game."""
    asked = {
        "year": (filters.released_from, filters.released_to),
        "memory": (filters.max_ram_gb,),
        "storage": (filters.max_storage_gb,),
        "system": (filters.os,),
    }
    return {name for name, values in asked.items() if any(value is not None for value in values)}


def known_first(
    games: Sequence[GameCard],
    asked: Collection[str],
    needs: Mapping[int, MinimumRequirements],
    only_known: bool,
) -> list[ShownGame]:
    """Put games with an unknown fact last, in the same order otherwise, or leave them out.

    Args:
        games: Games in their order, ranked again from 1.
        asked: Names of the facts that count.
        needs: What is known of the games' minimum requirements, by id.
        only_known: Whether to leave out games with an unknown fact.
    """
    unknown = MinimumRequirements(None, None, [])
    found = []
    for game in games:
        minimum = needs.get(game.game_id, unknown)
        known = {
            "year": game.released_on is not None,
            "memory": minimum.ram_gb is not None,
            "storage": minimum.storage_gb is not None,
            "system": bool(minimum.systems),
        }
        found.append(ShownGame(game, [name for name, is_known in known.items() if name in asked and not is_known]))
    ordered = sorted((each for each in found if not (only_known and each.missing)), key=lambda each: bool(each.missing))
    return [replace(each, game=replace(each.game, rank=rank)) for rank, each in enumerate(ordered, start=1)]


def compared(lists: Sequence[tuple[str, str, Sequence[ShownGame]]]) -> list[Column]:
    """Return lists beside each other; each game names the other lists that have it.

    Args:
        lists: Title, note and games of each list.
    """
    members = {title: {each.game.game_id for each in games} for title, _, games in lists}
    return [
        Column(
            title,
            note,
            [(each, [name for name, ids in members.items() if name != title and each.game.game_id in ids])
             for each in games],
        )
        for title, note, games in lists
    ]  # fmt: skip


def following(path: str, cursor: str | None, **parameters: object) -> str | None:
    """Return the address of the page after one, by its cursor; None if it is the last."""
    return page_address(path, {**parameters, "cursor": cursor}) if cursor else None


def _prefers_minimal(request: Request) -> bool:
    """Whether only the parts of a page are wanted that a filter changes (RFC 7240)."""
    return request.headers.get("prefer") == MINIMAL or _keeps_form(request)


def _keeps_form(request: Request) -> bool:
    """Whether not even the form is wanted: its hundreds of genres would take longer than the list."""
    return request.headers.get("prefer") == MINIMAL_WITHOUT_FORM


def _varying(page: Response) -> Response:
    """Let caches keep a page apart from its minimal version."""
    page.headers["vary"] = "Prefer"
    return page


async def _existing_user(repository: Repository, user_id: int) -> User:
    user = await repository.user(user_id)
    if user is None:
        raise HTTPException(404, "This user does not exist: search by name.")
    return user


async def _history_with_genres(repository: Repository, user_id: int, limit: int) -> tuple[UserHistory, list[list[str]]]:
    """Return a user's newest reviews, and the genres of each liked game among them."""
    history = await repository.history(user_id, limit)
    games = await repository.games([each.game_id for each in history.history if each.recommended])
    return history, [game.genres for game in games]


async def _nothing() -> list[Any]:
    return []


async def _genre_names(repository: Repository) -> list[str]:
    return [genre.name for genre in await repository.genres()]


async def _similar(live_model: LiveModel, game_id: int) -> tuple[list[GameCard], str | None]:
    """Return games like a game, or why there are none to show."""
    try:
        return list((await live_model.similar(game_id, MOST_SIMILAR)).games), None
    except HTTPException as error:
        return [], error.detail


async def _recommended(
    live_model: LiveModel, history: Sequence[HistoryGame], filters: Filters, exclude_ids: Sequence[int] = ()
) -> tuple[list[GameCard], str | None]:
    """Return the recommendations for a history, or the reason why there are none."""
    try:
        return list((await live_model.recommend(history, filters, exclude_ids)).games), None
    except HTTPException as error:
        return [], error.detail


async def _games_for(live_model: LiveModel, persona: Persona) -> list[GameCard]:
    """Return the shelf of a persona; empty while no model can answer."""
    history = [HistoryGame(game_id=game_id) for game_id in persona.game_ids]
    games, _ = await _recommended(live_model, history, Filters(limit=SHELF_GAMES, popularity=PERSONA_POPULARITY))
    return games


def _split(value: object) -> object:
    """Return the games of an address, which have commas between them."""
    return [text.strip() for text in ",".join(value).split(",") if text.strip()] if isinstance(value, list) else value
