"""The pages that there are, for what every one of them has to keep to."""

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
    "try",
    "try-history",
    "try-search",
    "games",
    "games-found",
    "game",
    "overview",
    "api",
    "not-found",
    "refused",
)
"""Pages by names of their own."""

REFUSED = (422, 404)
"""Statuses of the last two."""


def path_of(site: Site, name: str) -> str:
    """Where a page is, at a site."""
    user_id, username = busiest_user(site)
    games = most_reviewed_games(site, 3)
    history = ",".join(str(game_id) for game_id, _ in games)
    return {
        "start": "/",
        "users": f"/users?q={username[:3]}",
        "users-none-found": "/users?q=nobody+of+this+name",
        "user": f"/users/{user_id}",
        "user-filtered": f"/users/{user_id}?rank_by=newest&genre=Indie&released_from=2012&max_ram_gb=8&os=linux",
        "user-nothing-passes": f"/users/{user_id}?genre=No+such+genre",
        "try": "/try",
        "try-history": f"/try?games={history}",
        "try-search": f"/try?games={history}&q=the",
        "games": "/games",
        "games-found": "/games?q=the",
        "game": f"/games/{games[0][0]}",
        "overview": "/overview",
        "api": "/api",
        "not-found": "/nothing",
        "refused": f"/users/{user_id}?rank_by=fame",
    }[name]
