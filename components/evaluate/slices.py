"""Rankings of held-out users, overall and on slices: by length of history, for new games, by genre.

A mean over all users hides what a few of them get.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from components.evaluate.setup import EvaluationSetup
from steam_recsys.arrays import BoolArray, Float64Array, Int32Array, Int64Array
from steam_recsys.data.games import Games
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import Interactions
from steam_recsys.evaluation.beyond_accuracy import genres_of
from steam_recsys.evaluation.intervals import CHALLENGER, CHAMPION, Comparison
from steam_recsys.evaluation.metrics import HEADLINE_METRIC, Metric, Recall, measure_ranked
from steam_recsys.evaluation.popularity_matches import PopularityMatches, rank_and_match
from steam_recsys.evaluation.rankers import Ranker, rank
from steam_recsys.evaluation.splits import HeldOut

METRICS: tuple[Metric, ...] = (HEADLINE_METRIC, Recall(20))
K = max(metric.k for metric in METRICS)

HISTORY, NEW_GAMES, GENRE = "history", "new games", "genre"
"""The kinds of slices."""

NO_REVIEW = "no review"
LENGTHS = {"1 review": (1, 1), "2 to 4 reviews": (2, 4), "5 reviews or more": (5, np.inf)}
"""The smallest and the largest number of reviews in each class of histories."""

NEW_DAYS = 90
"""Days after its first review for which a game is new."""

LARGEST_GENRES = 6


@dataclass(frozen=True)
class Rankings:
    """What each ranker recommends to held-out users.

    Attributes:
        held_out: B users.
        ranked: By ranker, the best games as positions, int32 [B, k], -1 if fewer are left.
        auc: By ranker, the figures of `PopularityMatches.auc_of`, float64 [n]; empty if nothing was matched.
    """

    held_out: HeldOut
    ranked: Mapping[str, Int32Array]
    auc: Mapping[str, Float64Array] = field(default_factory=dict)

    @classmethod
    def from_matches(
        cls, held_out: HeldOut, rankers: Mapping[str, Ranker], k: int, matches: PopularityMatches
    ) -> Rankings:
        """Rank by every ranker, and compare the held-out games with those that are as popular."""
        found = {name: rank_and_match(ranker, held_out.history, k, matches) for name, ranker in rankers.items()}
        return cls(
            held_out,
            {name: ranked for name, (ranked, _) in found.items()},
            {name: auc for name, (_, auc) in found.items()},
        )

    @classmethod
    def from_rankers(cls, held_out: HeldOut, rankers: Mapping[str, Ranker], k: int) -> Rankings:
        """Rank by every ranker; users without a history all get the same ranking, so it is computed once."""
        history, copies = held_out.history, 1
        if len(history) and not history.lengths.any():
            history, copies = history.take(np.array([0])), len(history)
        ranked = {name: np.repeat(rank(ranker, history, k), copies, axis=0) for name, ranker in rankers.items()}
        return cls(held_out, ranked)

    def take(self, rows: Int64Array) -> Rankings:
        """Return the users in the given rows."""
        return Rankings(self.held_out.take(rows), {name: ranked[rows] for name, ranked in self.ranked.items()})

    def only(self, games: BoolArray) -> Rankings:
        """Count only some games as relevant, and drop the users who recommend none of them.

        The whole catalogue stays ranked: a rank that another game takes is a miss.

        Args:
            games: Whether a game counts, bool [N].
        """
        rows, held_out = self.held_out.only(games)
        return Rankings(held_out, {name: ranked[rows] for name, ranked in self.ranked.items()})

    def measure(self, metrics: Sequence[Metric]) -> dict[str, dict[str, Float64Array]]:
        """Return one figure per user, float64 [B], by ranker and then by metric name."""
        return {name: measure_ranked(ranked, self.held_out.relevant, metrics) for name, ranked in self.ranked.items()}


@dataclass(frozen=True)
class Slice:
    """A comparison of rankings on some of the users or games.

    Attributes:
        kind: `HISTORY`, `NEW_GAMES` or `GENRE`.
        name: Name of the slice within its kind.
        comparison: Of the challenger, one baseline and the champion, if there is one.
    """

    kind: str
    name: str
    comparison: Comparison

    @property
    def title(self) -> str:
        """Kind and name as text."""
        return {HISTORY: "users with ", NEW_GAMES: "games ", GENRE: "games of the genre "}[self.kind] + self.name

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Slice:
        """Rebuild a slice from the output of `dataclasses.asdict`."""
        return cls(content["kind"], content["name"], Comparison.from_dict(content["comparison"]))


def compare_slices(setup: EvaluationSetup, rankings: Rankings, best_baseline: str) -> tuple[Slice, ...]:
    """Compare the rankings on every slice, including slices without users.

    Users without a history and games without reviews before the cutoff are not part of the headline figures, so they
    are ranked separately; all other slices are taken from the headline rankings. On a slice of games, only its games
    count as relevant, and the whole catalogue stays ranked.

    The length of a user's history is known when a ranking is chosen, so on such a slice the opponent is the baseline
    that is best there. Which games a user will choose is not known: for every few games, some ranking does well because
    it puts them first and does worse on all others. So on slices of games, the opponent is the baseline that is best
    overall.

    Args:
        setup: The evaluation's setup.
        rankings: Rankings of the headline users.
        best_baseline: The baseline that is best for them.
    """
    opponents = {HISTORY: None, NEW_GAMES: best_baseline, GENRE: best_baseline}
    return tuple(Slice(kind, name, _compare(part, opponents[kind])) for kind, name, part in _parts(setup, rankings))


def _parts(setup: EvaluationSetup, rankings: Rankings) -> Iterator[tuple[str, str, Rankings]]:
    yield HISTORY, NO_REVIEW, Rankings.from_rankers(setup.future.cold_start_users, setup.rankers, K)
    for name, rows in rows_by_length(rankings.held_out).items():
        yield HISTORY, name, rankings.take(rows)
    new = first_review_days(setup.past, setup.games) >= setup.day - NEW_DAYS
    yield NEW_GAMES, f"first reviewed in the {NEW_DAYS} days before", rankings.only(new)
    yield NEW_GAMES, "not reviewed before", Rankings.from_rankers(setup.future.cold_start_games, setup.rankers, K)
    for genre, members in largest_genres(rankings.held_out, setup.games).items():
        yield GENRE, genre, rankings.only(members)


def _compare(rankings: Rankings, opponent: str | None) -> Comparison:
    """Compare the challenger with one baseline, None for the best one here, and with the champion, if there is one."""
    figures = rankings.measure(METRICS)
    if not len(rankings.held_out):
        return Comparison.from_figures({CHALLENGER: {}})
    baselines = [name for name in figures if name not in (CHALLENGER, CHAMPION)]
    opponent = opponent or max(baselines, key=lambda name: figures[name][HEADLINE_METRIC.name].mean())
    compared = (CHALLENGER, opponent, CHAMPION)
    return Comparison.from_figures({name: figures[name] for name in compared if name in figures})


def rows_by_length(held_out: HeldOut) -> dict[str, Int64Array]:
    """Return the rows of the users in each of `LENGTHS`, int64."""
    lengths = held_out.history.lengths
    return {name: np.flatnonzero((lengths >= low) & (lengths <= high)) for name, (low, high) in LENGTHS.items()}


def first_review_days(past: Interactions, games: Games) -> Int64Array:
    """Return the day of each game's first review, int64 [N], in days since 1970-01-01; the lowest int64 without one.

    A review that its author replaced before the cutoff is not part of the past.
    """
    positions = positions_of(past.games, games.ids)
    none = np.iinfo(np.int64)
    first = np.full(len(games), none.max)
    np.minimum.at(first, positions, past.days)
    return np.where(first == none.max, none.min, first)


def largest_genres(held_out: HeldOut, games: Games) -> dict[str, BoolArray]:
    """Return the genres with the most held-out reviews, ties in alphabetical order, and their games, bool [N].

    A game of several genres belongs to each of them.
    """
    positions, times = np.unique(held_out.relevant.games, return_counts=True)
    counts: Counter[str] = Counter()
    members: dict[str, list[int]] = {}
    for position, count in zip(positions.tolist(), times.tolist(), strict=True):
        for genre in genres_of(games.attributes[position]):
            counts[genre] += count
            members.setdefault(genre, []).append(position)
    largest = sorted(counts, key=lambda genre: (-counts[genre], genre))[:LARGEST_GENRES]
    return {genre: np.isin(np.arange(len(games)), members[genre]) for genre in largest}
