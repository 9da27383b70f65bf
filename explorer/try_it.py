"""The page where a history is built by clicking games, and what is recommended changes at once.

All of it is in the address. Every click is a link that works without JavaScript; with it, `static/explorer.js` asks the
API in the page's place.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import Response
from starlette.datastructures import QueryParams

from explorer.addresses import FilterForm, address, parameters_of
from explorer.live import Live
from explorer.parameters import filters_of, game_id_of, text_of
from explorer.problems import Problem
from explorer.rendering import render
from explorer.shop import Shop
from explorer.strengths import odds
from explorer.views import Filters, NamedGame, Recommended

PATH = "/try"
FOUND = 6
"""Games that one search shows, at most."""

LONGEST = 100
"""Games of a history that an address holds, at most."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Trial:
    """A history that is being built: its games, the oldest first, what is looked for, and the filters."""

    games: list[int]
    text: str
    filters: Filters

    def having(self, game_id: int) -> str:
        """The address of the history with one game more."""
        return self._address([*self.games, game_id])

    def lacking(self, game_id: int) -> str:
        """The address of the history without a game."""
        return self._address([each for each in self.games if each != game_id])

    def _address(self, games: list[int]) -> str:
        return address(PATH, {"games": written(games), "q": self.text, **parameters_of(self.filters)})


@router.get(PATH)
async def try_it(request: Request) -> Response:
    """A history, games to add to it, and what is recommended to it."""
    shop: Shop = request.app.state.shop
    largest = request.app.state.settings.largest_limit
    filters = filters_of(request.query_params, largest)
    text = text_of(request.query_params, "q")
    asked = games_of(request.query_params)
    history = await shop.named(asked) if asked else []
    trial = Trial([game.game_id for game in history], text, filters)
    found: list[NamedGame] = await shop.games(text, FOUND + 1) if text else []
    games, problem = await _recommended(request.app.state.live, trial)
    return render(
        request,
        "try.html",
        trial=trial,
        history=history,
        unknown=len(asked) - len(history),
        found=found[:FOUND],
        all_found=address("/games", {"q": text}) if len(found) > FOUND else None,
        most=FOUND,
        games=games,
        strengths=odds(games),
        problem=problem,
        loading=request.app.state.settings.store is not None and request.app.state.live.model is None,
        longest=LONGEST,
        form=FilterForm(PATH, filters, await shop.genres(), {"games": written(trial.games), "q": text}, largest),
        search={"games": written(trial.games), **parameters_of(filters)},
    )


def games_of(query: QueryParams) -> list[int]:
    """The games of an address's history, none of them twice.

    Raises:
        Problem: they are no ids with commas between them, or too many (400).
    """
    sentence = f"games must be at most {LONGEST} ids of games with commas between them."
    texts = [text.strip() for text in query.get("games", "").split(",") if text.strip()]
    if len(texts) > LONGEST:
        raise Problem(400, sentence)
    try:
        return list(dict.fromkeys(map(game_id_of, texts)))
    except Problem:
        raise Problem(400, sentence) from None


def written(games: list[int]) -> str:
    """Games as an address has them."""
    return ",".join(map(str, games))


async def _recommended(live: Live, trial: Trial) -> tuple[list[Recommended], str | None]:
    """What is recommended to a history, or why nothing is."""
    try:
        return (await live.recommend(trial.games, trial.filters)).games, None
    except Problem as problem:
        return [], problem.sentence
