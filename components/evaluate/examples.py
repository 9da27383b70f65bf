"""Example users: what they had, what they are recommended, and what they took up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.evaluate.setup import EvaluationSetup
from components.evaluate.slices import NO_REVIEW, by_length
from steam_recsys.evaluation.holdout import HeldOut

USERS = 10
RECOMMENDED = 10
HISTORY = 10
SEED = 0


@dataclass(frozen=True)
class Example:
    """A user whom the challenger was asked for.

    Attributes:
        user: the id.
        group: the length of the history, in words.
        history: the latest games before the cutoff, the newest first, each with whether the user recommends it.
        older: how many there are before those.
        recommended: the best games, the best first, each with whether the user recommended it after the cutoff.
        taken_up: all games of which that is true.
    """

    user: int
    group: str
    history: tuple[tuple[str, bool], ...]
    older: int
    recommended: tuple[tuple[str, bool], ...]
    taken_up: tuple[str, ...]


def examples(contest: EvaluationSetup) -> tuple[Example, ...]:
    """Ten users, in turn one of each length of history, the longest first, as far as there are such; by a seed."""
    held_out = contest.held_out
    groups = [(NO_REVIEW, contest.future.newcomers)]
    groups += [(name, held_out.take(rows)) for name, rows in by_length(held_out).items()]
    random = np.random.default_rng(SEED)
    drawn = [
        (turn, -number, row)
        for number, (_, group) in enumerate(groups)
        for turn, row in enumerate(random.permutation(len(group))[:USERS].tolist())
    ]
    chosen = sorted((-number, turn, row) for turn, number, row in sorted(drawn)[:USERS])
    return tuple(_example(contest, *groups[number], row) for number, _, row in chosen)


def _example(contest: EvaluationSetup, group: str, held_out: HeldOut, row: int) -> Example:
    one = held_out.take(np.array([row]))
    ranked = contest.challenger.rank(one.history, RECOMMENDED)[0]
    newest = np.arange(len(one.history.games))[::-1][:HISTORY]
    return Example(
        user=int(one.history.users[0]),
        group=group,
        history=tuple((contest.names[one.history.games[row]], bool(one.history.recommended[row])) for row in newest),
        older=len(one.history.games) - len(newest),
        recommended=tuple((contest.names[game], bool(game in one.relevant.games)) for game in ranked[ranked >= 0]),
        taken_up=tuple(contest.names[game] for game in one.relevant.games),
    )
