"""Slices: users by the length of their history, new games, genres. A mean over everybody hides what a few get."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.evaluate.rankings import Rankings
from components.evaluate.setup import EvaluationSetup
from steam_recsys.arrays import BoolArray, Int64Array
from steam_recsys.data.games import Attributes, Games
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import Interactions
from steam_recsys.evaluation.comparison import CHALLENGER, CHAMPION, Comparison
from steam_recsys.evaluation.holdout import HeldOut
from steam_recsys.evaluation.metrics import METRIC, Metric, Recall

METRICS: tuple[Metric, ...] = (METRIC, Recall(20))
K = max(metric.k for metric in METRICS)

HISTORY, NEW_GAMES, GENRE = "history", "new games", "genre"
"""The kinds of slices."""

NO_REVIEW = "no review"
LENGTHS = {"1 review": (1, 1), "2 to 4 reviews": (2, 4), "5 reviews or more": (5, np.inf)}
"""The fewest and the most reviews of a history that is not empty."""

NEW_DAYS = 90
"""A game is new for as many days after its first review."""

LARGEST_GENRES = 6
GENRE_ATTRIBUTE = "genre "
"""What the names of attributes that are genres begin with."""


@dataclass(frozen=True)
class Slice:
    """Some of the users, or of the games that they take up, on which rankings are compared apart.

    Attributes:
        kind: `HISTORY`, `NEW_GAMES` or `GENRE`.
        name: which of the kind.
        comparison: of the challenger, one baseline and the champion, if there is one.
    """

    kind: str
    name: str
    comparison: Comparison

    @property
    def title(self) -> str:
        """Kind and name in words."""
        return {HISTORY: "users with ", NEW_GAMES: "games ", GENRE: "games of the genre "}[self.kind] + self.name

    @classmethod
    def read(cls, content: Mapping[str, Any]) -> Slice:
        """Read what `dataclasses.asdict` made of one."""
        return cls(content["kind"], content["name"], Comparison.read(content["comparison"]))


def slices(contest: EvaluationSetup, answers: Rankings, best: str) -> tuple[Slice, ...]:
    """Every slice, those without users too.

    Users without a history are asked for apart, and so are games that nobody had reviewed before the cutoff: neither
    are among what the headline figures are of. The other slices are of these. On a slice of games only such games count
    as right, and the whole catalogue stays ranked.

    Who has how long a history is known when a ranking is chosen, so there the challenger's rival is the baseline that
    is best on the slice. Which games are taken up is not: on each few games some list does well that puts them first,
    and pays for it with all others. There the rival is the baseline that is best on the whole.

    Args:
        contest: who is asked what.
        answers: to the users that the headline figures are of.
        best: the baseline that is best on these.
    """
    rivals = {HISTORY: None, NEW_GAMES: best, GENRE: best}
    return tuple(Slice(kind, name, _compared(part, rivals[kind])) for kind, name, part in _parts(contest, answers))


def _parts(contest: EvaluationSetup, answers: Rankings) -> Iterator[tuple[str, str, Rankings]]:
    yield HISTORY, NO_REVIEW, Rankings.from_rankers(contest.future.newcomers, contest.rankers, K)
    for name, rows in by_length(answers.held_out).items():
        yield HISTORY, name, answers.take(rows)
    new = first_reviewed(contest.past, contest.games) >= contest.day - NEW_DAYS
    yield NEW_GAMES, f"first reviewed in the {NEW_DAYS} days before", answers.only(new)
    yield NEW_GAMES, "not reviewed before", Rankings.from_rankers(contest.future.unreviewed, contest.rankers, K)
    for genre, members in largest_genres(answers, contest.games).items():
        yield GENRE, genre, answers.only(members)


def _compared(answers: Rankings, rival: str | None) -> Comparison:
    """The challenger beside a baseline, None for the best one here, and the champion, if there is one."""
    measured = answers.measured(METRICS)
    if not len(answers.held_out):
        return Comparison.from_figures({CHALLENGER: {}})
    baselines = {name: by_metric for name, by_metric in measured.items() if name not in (CHALLENGER, CHAMPION)}
    rival = rival or max(baselines, key=lambda name: baselines[name][METRIC.name].mean())
    return Comparison.from_figures({name: measured[name] for name in (CHALLENGER, rival, CHAMPION) if name in measured})


def by_length(held_out: HeldOut) -> dict[str, Int64Array]:
    """The rows of the users with each of `LENGTHS`, int64."""
    lengths = held_out.history.lengths
    return {name: np.flatnonzero((lengths >= fewest) & (lengths <= most)) for name, (fewest, most) in LENGTHS.items()}


def first_reviewed(past: Interactions, games: Games) -> Int64Array:
    """The day of each game's first review, int64 [N], in days since 1970-01-01; the lowest number where there is none.

    A review that its author replaced before the cutoff is not among the past's.
    """
    positions = positions_of(past.games, games.ids)
    first = np.full(len(games), np.iinfo(np.int64).max)
    np.minimum.at(first, positions, past.days)
    return np.where(first == np.iinfo(np.int64).max, np.iinfo(np.int64).min, first)


def largest_genres(answers: Rankings, games: Games) -> dict[str, BoolArray]:
    """The genres that are most often taken up, the first ones by name of equals: which games are of each, bool [N].

    A game of several genres is of each of them.
    """
    taken, times = np.unique(answers.held_out.relevant.games, return_counts=True)
    counts: Counter[str] = Counter()
    members: dict[str, list[int]] = {}
    for position, count in zip(taken.tolist(), times.tolist(), strict=True):
        for genre in genres_of(games.attributes[position]):
            counts[genre] += count
            members.setdefault(genre, []).append(position)
    largest = sorted(counts, key=lambda genre: (-counts[genre], genre))[:LARGEST_GENRES]
    found = {genre: np.zeros(len(games), dtype=bool) for genre in largest}
    for genre, of_it in found.items():
        of_it[members[genre]] = True
    return found


def genres_of(attributes: Attributes) -> list[str]:
    """A game's genres, in the shop's order."""
    return [name.removeprefix(GENRE_ATTRIBUTE) for name in attributes if name.startswith(GENRE_ATTRIBUTE)]
