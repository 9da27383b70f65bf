"""All pages, for tests that check each of them."""

from __future__ import annotations

from tests.explorer.browser.reading import busiest_user, most_reviewed_games
from tests.explorer.browser.sites import Site

NAMES = (
    "start",
    "users",
    "users-none-found",
    "user",
    "user-filtered",
    "user-nothing-passes",
    "user-compare",
    "user-history",
    "try",
    "try-history",
    "try-compare",
    "try-search",
    "games",
    "games-genre",
    "games-found",
    "game",
    "overview",
    "api",
    "not-found",
    "refused",
)
"""Names of the pages."""

REFUSED = (404, 422)
"""Statuses of the last two."""


def path_of(site: Site, name: str) -> str:
    """Return the path of a page at a site."""
    user_id, username = busiest_user(site)
    games = most_reviewed_games(site, 3)
    first, *others = (str(game_id) for game_id, _ in games)
    history = ",".join([f"{first}:50", *others])
    return {
        "start": "/",
        "users": f"/users?q={username[:3]}",
        "users-none-found": "/users?q=an+unknown+name",
        "user": f"/users/{user_id}",
        "user-filtered": f"/users/{user_id}?rank_by=newest&genre=Indie&released_from=2012&max_ram_gb=8&os=linux",
        "user-nothing-passes": f"/users/{user_id}?genre=No+such+genre",
        "user-compare": f"/users/{user_id}/compare",
        "user-history": f"/users/{user_id}/history",
        "try": "/try",
        "try-history": f"/try?games={history}",
        "try-compare": f"/try/compare?games={history}",
        "try-search": f"/try?games={history}&q=the",
        "games": "/games",
        "games-genre": "/games?genre=Strategy",
        "games-found": "/games?q=the",
        "game": f"/games/{games[0][0]}",
        "overview": "/overview",
        "api": "/api",
        "not-found": "/nothing",
        "refused": f"/users/{user_id}?rank_by=fame",
    }[name]
