"""How long the bar of a score is."""

from __future__ import annotations

from collections.abc import Sequence

from explorer.views import Recommended

LEAST = 4.0
"""Percent: a bar that can be seen."""


def strengths(games: Sequence[Recommended]) -> dict[int, float]:
    """The length of each game's bar in percent, by game id.

    Scores compare among a user's own games, and among popular ones, but not between the two: each kind has bars of its
    own, from its lowest to its highest score where some are below zero, else from zero on.
    """
    lengths: dict[int, float] = {}
    for personal in (True, False):
        kind = [game for game in games if game.reason.startswith("because ") == personal]
        low = min([0.0, *(game.score for game in kind)])
        span = max([0.0, *(game.score for game in kind)]) - low or 1.0
        lengths.update({game.game_id: max(LEAST, 100 * (game.score - low) / span) for game in kind})
    return lengths
