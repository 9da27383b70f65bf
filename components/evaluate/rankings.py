"""The models under evaluation, their rankings of held-out users, and comparisons on slices of users and games.

Slices are by length of history, for new games and by genre: a mean over all users hides what a few of them get.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from steam_recsys.arrays import BoolArray, Float64Array, Int32Array, Int64Array
from steam_recsys.data.games import GAME_COLUMNS, Attributes, Games
from steam_recsys.data.histories import positions_of
from steam_recsys.data.interactions import Interactions, cutoff_day, day_of, load_interactions, split_by_time
from steam_recsys.data.popularity import popularity_as_of
from steam_recsys.data.snapshot import Snapshot
from steam_recsys.errors import UserError
from steam_recsys.evaluation.baselines import tuned_baselines
from steam_recsys.evaluation.intervals import CHALLENGER, CHAMPION, Comparison
from steam_recsys.evaluation.metrics import HEADLINE_METRIC, Metric, Recall, measure_ranked
from steam_recsys.evaluation.rankers import ModelRanker, Ranker
from steam_recsys.evaluation.splits import Future, HeldOut, snapshot_by_time
from steam_recsys.model.two_tower import TwoTowerArrays
from steam_recsys.storage.model_store import DESCRIPTION, current_champion, evaluated_part, stored_model

SLICE_METRICS: tuple[Metric, ...] = (HEADLINE_METRIC, Recall(20))
SLICE_K = max(metric.k for metric in SLICE_METRICS)
"""Length of the rankings of slices that are ranked separately."""

HISTORY, NEW_GAMES, GENRE = "history", "new games", "genre"
"""The kinds of slices."""

NO_REVIEW = "no review"
LENGTHS = {"1 review": (1, 1), "2 to 4 reviews": (2, 4), "5 reviews or more": (5, np.inf)}
"""The smallest and the largest number of reviews in each class of histories."""

NEW_DAYS = 90
"""Days after its first review for which a game is new."""

LARGEST_GENRES = 6
GENRE_ATTRIBUTE = "genre "
"""Prefix of the attributes that are genres."""


@dataclass(frozen=True)
class EvaluationSetup:
    """A challenger, its opponents, and the reviews of a snapshot before and after a cutoff.

    Attributes:
        version: Version of the challenger.
        champion: Version of the champion; None if there is none.
        snapshot_id: Id of the snapshot.
        cutoff: First day of the held-out period, ISO date.
        past: Everything that may be known.
        future: The held-out reviews, with at least one user to rank for.
        games: The catalogue.
        names: Names of the games, in the same order.
        challenger: Ranks by the challenger.
        rankers: All rankers by name: the challenger first, and the champion last if it is another model.
        settings: The settings of each baseline as text.
        description: Content of the challenger's `model.json`.
    """

    version: str
    champion: str | None
    snapshot_id: str
    cutoff: str
    past: Interactions
    future: Future
    games: Games
    names: list[str]
    challenger: ModelRanker
    rankers: dict[str, Ranker]
    settings: dict[str, str]
    description: Mapping[str, Any]

    @property
    def held_out(self) -> HeldOut:
        """The rows of the headline figures: users with a history, and games with reviews."""
        return self.future.returning

    @property
    def day(self) -> int:
        """The cutoff in days since 1970-01-01."""
        return day_of(date.fromisoformat(self.cutoff))

    @classmethod
    def load(cls, snapshot: str | Path, model: str | Path, store: str) -> EvaluationSetup:
        """Read the snapshot, the challenger and the champion, and fit the baselines.

        Popularity is as of the cutoff, in the models and in the baselines. The champion takes part as it was before it
        was fitted to all reviews. The later cutoff of the two models is used for all, so that neither has seen a
        held-out review. If the challenger is the champion, because its training was repeated, there is no champion to
        compare with.

        Raises:
            UserError: A folder holds no snapshot or no model, or there is no user to rank for.
        """
        opened, challenger = Snapshot.open(snapshot), TwoTowerArrays.load(model)
        description = json.loads((Path(model) / DESCRIPTION).read_text())
        champion_version, champion, champion_cutoff = _champion(store)
        cutoff = max(description["cutoff"], champion_cutoff)
        day = day_of(date.fromisoformat(cutoff))
        past = load_interactions(opened, before=day)
        after = split_by_time(load_interactions(opened), day)[1]
        table = opened.table("games", ["name", *GAME_COLUMNS]).sort_by("game_id")
        games = Games.from_table(table)
        future = Future.from_interactions(past, after, games.ids)
        if not len(future.returning):
            raise UserError(
                f"The snapshot {snapshot} cannot be evaluated: no user has a review before {cutoff} and a positive "
                f"review of another known game after it. Ingest more reviews."
            )
        popularity = popularity_as_of(past, games.ids, day)
        ranker = ModelRanker(challenger.for_catalogue(games, popularity))
        validation = snapshot_by_time(opened, past, cutoff_day(past, description["held_out_share"]))
        baselines = tuned_baselines(past, day, validation, games.ids)
        rankers: dict[str, Ranker] = {CHALLENGER: ranker}
        rankers |= {baseline.name: baseline.ranker for baseline in baselines}
        if champion and champion_version != challenger.version:
            rankers[CHAMPION] = ModelRanker(champion.for_catalogue(games, popularity))
        return cls(
            version=challenger.version,
            champion=champion_version,
            snapshot_id=opened.manifest.snapshot_id,
            cutoff=cutoff,
            past=past,
            future=future,
            games=games,
            names=table["name"].to_pylist(),
            challenger=ranker,
            rankers=rankers,
            settings={baseline.name: baseline.settings for baseline in baselines},
            description=description,
        )


@dataclass(frozen=True)
class Rankings:
    """What each ranker recommends to held-out users.

    Attributes:
        held_out: B users.
        ranked: By ranker, the best games as positions, int32 [B, k], -1 if fewer are left.
    """

    held_out: HeldOut
    ranked: Mapping[str, Int32Array]

    @classmethod
    def from_rankers(cls, held_out: HeldOut, rankers: Mapping[str, Ranker], k: int) -> Rankings:
        """Rank by every ranker; users without a history all get the same ranking, so it is computed once."""
        history, copies = held_out.history, 1
        if len(history) and not history.lengths.any():
            history, copies = history.take(np.array([0])), len(history)
        ranked = {name: np.repeat(ranker.rank(history, k), copies, axis=0) for name, ranker in rankers.items()}
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


def genres_of(attributes: Attributes) -> list[str]:
    """Return a game's genres, in the shop's order."""
    return [name.removeprefix(GENRE_ATTRIBUTE) for name in attributes if name.startswith(GENRE_ATTRIBUTE)]


def _champion(store: str) -> tuple[str | None, TwoTowerArrays | None, str]:
    """Return the champion's version, its model as it was evaluated, and its cutoff, an ISO date; `""` for none."""
    pointer = current_champion(store)
    if not pointer:
        return None, None, ""
    with stored_model(store, pointer.version) as folder:
        description = json.loads((folder / DESCRIPTION).read_text())
        return pointer.version, TwoTowerArrays.load(evaluated_part(folder)), description["cutoff"]


def _parts(setup: EvaluationSetup, rankings: Rankings) -> Iterator[tuple[str, str, Rankings]]:
    yield HISTORY, NO_REVIEW, Rankings.from_rankers(setup.future.newcomers, setup.rankers, SLICE_K)
    for name, rows in rows_by_length(rankings.held_out).items():
        yield HISTORY, name, rankings.take(rows)
    new = first_review_days(setup.past, setup.games) >= setup.day - NEW_DAYS
    yield NEW_GAMES, f"first reviewed in the {NEW_DAYS} days before", rankings.only(new)
    yield (
        NEW_GAMES,
        "not reviewed before",
        Rankings.from_rankers(setup.future.unreviewed, setup.rankers, SLICE_K),
    )
    for genre, members in largest_genres(rankings.held_out, setup.games).items():
        yield GENRE, genre, rankings.only(members)


def _compare(rankings: Rankings, opponent: str | None) -> Comparison:
    """Compare the challenger with one baseline, None for the best one here, and with the champion, if there is one."""
    figures = rankings.measure(SLICE_METRICS)
    if not len(rankings.held_out):
        return Comparison.from_figures({CHALLENGER: {}})
    baselines = [name for name in figures if name not in (CHALLENGER, CHAMPION)]
    opponent = opponent or max(baselines, key=lambda name: figures[name][HEADLINE_METRIC.name].mean())
    compared = (CHALLENGER, opponent, CHAMPION)
    return Comparison.from_figures({name: figures[name] for name in compared if name in figures})
