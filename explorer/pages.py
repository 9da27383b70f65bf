"""The pages of users and games, and the start: HTML made on the server, which needs no JavaScript."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from explorer.addresses import FilterForm
from explorer.live import Live
from explorer.parameters import filters_of, game_id_of, text_of, user_id_of
from explorer.problems import Problem
from explorer.rendering import render
from explorer.shop import Shop
from explorer.strengths import strengths
from explorer.views import BECAUSE, Recommended, Reviewed, Similar

FOUND = 50
"""Users or games that one search shows, at most."""

SIMILAR = 12
"""Similar games on a game's page."""

SOMEONE: dict[str, Literal["many reviews", "one review", "new"]] = {
    "many-reviews": "many reviews",
    "one-review": "one review",
    "new": "new",
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def start(request: Request) -> Response:
    """Where to begin, and what there is."""
    shop: Shop = request.app.state.shop
    return render(request, "start.html", publication=await shop.publication(), counts=await shop.counts())


@router.get("/users")
async def users(request: Request) -> Response:
    """Users who were looked for."""
    text = text_of(request.query_params, "q")
    found = await request.app.state.shop.find_users(text, FOUND) if text else []
    return render(request, "users.html", text=text, users=found, most=FOUND)


@router.get("/someone/{kind}")
async def someone(request: Request) -> Response:
    """On to a user of a kind, another one each time; where nobody is new, to what nobody's history gets."""
    kind = SOMEONE.get(request.path_params["kind"])
    if kind is None:
        raise Problem(404, f"There is no such kind of users: the kinds are {', '.join(SOMEONE)}.")
    user = await request.app.state.shop.someone(kind)
    if user is None and kind != "new":
        raise Problem(404, f"No user with {kind} was found: look for one by name.")
    target = "/try" if user is None else f"/users/{user.user_id}"
    return RedirectResponse(target, status_code=303, headers={"cache-control": "no-store"})


@router.get("/users/{user_id}")
async def user(request: Request) -> Response:
    """A user's history beside what is recommended."""
    shop: Shop = request.app.state.shop
    largest = request.app.state.settings.largest_limit
    filters = filters_of(request.query_params, largest)
    found = await shop.user(user_id_of(request.path_params["user_id"]))
    if found is None:
        raise Problem(404, "There is no such user: look for one by name.")
    history = await shop.history(found.user_id, largest)
    answer = await shop.recommendations(found.user_id, filters)
    newest = filters.rank_by == "newest"
    released = await shop.released([game.game_id for game in answer.games]) if newest else None
    return render(
        request,
        "user.html",
        user=found,
        history=with_what_they_led_to(history, answer.games),
        version=answer.version,
        games=answer.games,
        strengths=strengths(answer.games, await shop.own_games(found.user_id)),
        released=released,
        form=FilterForm(f"/users/{found.user_id}", filters, await shop.genres(), {}, largest),
    )


@router.get("/games")
async def games(request: Request) -> Response:
    """Games that were looked for."""
    text = text_of(request.query_params, "q")
    found = await request.app.state.shop.games(text, FOUND) if text else []
    return render(request, "games.html", text=text, games=found, most=FOUND)


@router.get("/games/{game_id}")
async def game(request: Request) -> Response:
    """A game's facts, games like it, and who has it recommended."""
    shop: Shop = request.app.state.shop
    found = await shop.game(game_id_of(request.path_params["game_id"]))
    if found is None:
        raise Problem(404, "There is no such game: look for one by name.")
    similar, problem = await _similar(request.app.state.live, found.game_id)
    link = found.link if (found.link or "").lower().startswith(("http://", "https://")) else None
    audience = await shop.audience(found.game_id)
    return render(request, "game.html", game=found, link=link, similar=similar, problem=problem, audience=audience)


def with_what_they_led_to(history: Sequence[Reviewed], games: Sequence[Recommended]) -> list[tuple[Reviewed, int]]:
    """Each review with how many games are recommended because of its game: told at a game's newest review only."""
    named = Counter(game.reason.removeprefix(BECAUSE) for game in games if game.reason.startswith(BECAUSE))
    return [(reviewed, named.pop(reviewed.name, 0)) for reviewed in history]


async def _similar(live: Live, game_id: int) -> tuple[list[Similar], str | None]:
    """Games like a game, or why there are none to show."""
    try:
        return (await live.similar(game_id, SIMILAR)).games, None
    except Problem as problem:
        return [], problem.sentence
