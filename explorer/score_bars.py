"""The lengths of the bars beside scores, in percent by game id: they compare a game with the best of its kind."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence

from explorer.schemas import RecommendedGame

SHORTEST = 2.0
"""Percent: the shortest visible bar."""


def published_score_bars(games: Sequence[RecommendedGame], own: Container[int]) -> dict[int, float]:
    """Return the bars of published games.

    Args:
        games: A user's recommendations.
        own: Ids of the games that the model recommends to the user. Popular games that fill up the list are scored by
            recent popularity, a sum that is never negative: they compare by their quotient, and only with each other.
    """
    personal = [game for game in games if game.game_id in own]
    popular = [game for game in games if game.game_id not in own]
    most = max((game.score for game in popular), default=0.0) or 1.0
    return {**model_score_bars(personal), **{game.game_id: _visible(100 * game.score / most) for game in popular}}


def model_score_bars(games: Sequence[RecommendedGame]) -> dict[int, float]:
    """Return the bars of games with a model's scores, which are log-odds: they compare by exp of the difference."""
    best = max((game.score for game in games), default=0.0)
    return {game.game_id: _visible(100 * math.exp(game.score - best)) for game in games}


def _visible(length: float) -> float:
    return min(100.0, max(SHORTEST, length))
