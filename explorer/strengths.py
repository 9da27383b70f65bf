"""How long the bar of a score is: in percent, by game id. It compares a game with the best of the same kind."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence

from explorer.views import Recommended

LEAST = 2.0
"""Percent: a bar that can be seen."""


def strengths(games: Sequence[Recommended], own: Container[int]) -> dict[int, float]:
    """The bars of published games, of which some are a user's own.

    The others, which make up what these lack, are scored by recent popularity, which is a sum and never below zero:
    they compare by the quotient, and not at all with the model's.
    """
    personal = [game for game in games if game.game_id in own]
    popular = [game for game in games if game.game_id not in own]
    most = max((game.score for game in popular), default=0.0) or 1.0
    return {**odds(personal), **{game.game_id: _visible(100 * game.score / most) for game in popular}}


def odds(games: Sequence[Recommended]) -> dict[int, float]:
    """The bars of games with a model's scores, which are logarithms of odds: they compare by exp of the difference."""
    best = max((game.score for game in games), default=0.0)
    return {game.game_id: _visible(100 * math.exp(game.score - best)) for game in games}


def _visible(length: float) -> float:
    return min(100.0, max(LEAST, length))
