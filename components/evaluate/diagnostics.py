"""Diagnostics of a model for the report: learning curves, popularity against score, a map of games, example users."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.evaluate.setup import EvaluationSetup
from components.evaluate.slices import NO_REVIEW, genres_of, rows_by_length
from steam_recsys.arrays import Float32Array, Float64Array, Int64Array
from steam_recsys.data.histories import Histories
from steam_recsys.data.popularity import popularity
from steam_recsys.evaluation.holdout import HeldOut
from steam_recsys.evaluation.rankers import BLOCK_SCORES, ModelRanker
from steam_recsys.reporting.charts import COLOURS, Series

SCORED_USERS = 500
MAPPED_GAMES = 500
OTHER_GAMES = 500
"""Less popular games that are drawn beside the most popular ones in the chart of popularity against score."""

LABELLED_GAMES = 14
OTHER_GENRES = "other"

EXAMPLE_USERS = 10
RECOMMENDED_GAMES = 10
HISTORY_GAMES = 10
SEED = 0


@dataclass(frozen=True)
class GameMap:
    """The candidate vectors of the most popular games in two dimensions.

    Attributes:
        genres: The games by first genre, the most common genres first, all others as `OTHER_GENRES`.
        explained: Share of the vectors' variance that the two dimensions explain.
        labels: Names of the most popular games, the most popular first.
    """

    genres: tuple[Series, ...]
    explained: float
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Example:
    """A held-out user with the challenger's recommendations.

    Attributes:
        user: Id of the user.
        group: Length of the history as text.
        history: The latest games before the cutoff, the newest first, each with whether the user recommends it.
        older: Number of games before those.
        recommended: The best games, the best first, each with whether the user recommended it after the cutoff.
        relevant: All games that the user recommended after the cutoff.
    """

    user: int
    group: str
    history: tuple[tuple[str, bool], ...]
    older: int
    recommended: tuple[tuple[str, bool], ...]
    relevant: tuple[str, ...]


@dataclass(frozen=True)
class Diagnostics:
    """What the report shows of a model besides its figures.

    Attributes:
        curves: Mean loss over the course of each fit, in per cent of its steps, the last fit first.
        trials: Scale and validation NDCG@10 of each fit of the tuning.
        popularity: Each game's log10(1 + positive reviews) against its mean score over users.
        map: The map of games.
        examples: Example users.
    """

    curves: tuple[Series, ...]
    trials: tuple[tuple[float, float], ...]
    popularity: Series
    map: GameMap
    examples: tuple[Example, ...]

    @classmethod
    def from_setup(cls, setup: EvaluationSetup) -> Diagnostics:
        """Compute the diagnostics; the same setup gives the same ones."""
        reviews = popularity(setup.past, setup.games.ids)
        order = np.argsort(-reviews, kind="stable")
        scores = mean_scores(setup.challenger, setup.held_out.history)
        drawn = np.unique(np.concatenate([order[:MAPPED_GAMES], _spread(order[MAPPED_GAMES:], OTHER_GAMES)]))
        points = list(zip(np.log10(1 + reviews[drawn]).tolist(), scores[drawn].tolist(), strict=True))
        return cls(
            curves=learning_curves(setup.description),
            trials=tuple((trial["scale"], trial["ndcg_at_10"]) for trial in setup.description.get("history", ())),
            popularity=Series("", points, [setup.names[game] for game in drawn]),
            map=game_map(setup, order[:MAPPED_GAMES]),
            examples=example_users(setup),
        )


def learning_curves(description: Mapping[str, Any]) -> tuple[Series, ...]:
    """Return the loss curves that `model.json` holds."""
    curves = {"last fit": description.get("losses", ())}
    curves |= {f"scale {trial['scale']:g}": trial["losses"] for trial in description.get("history", ())}
    return tuple(Series(name, _by_step(losses)) for name, losses in curves.items() if losses)


def mean_scores(ranker: ModelRanker, history: Histories) -> Float64Array:
    """Return each game's mean score over at most `SCORED_USERS` users, drawn at random: float64 [N]."""
    n_games = len(ranker.scorer)
    rows = np.random.default_rng(SEED).permutation(len(history))[:SCORED_USERS]
    block = max(1, BLOCK_SCORES // max(1, n_games))
    total = np.zeros(n_games)
    for start in range(0, len(rows), block):
        users = history.take(np.sort(rows[start : start + block]))
        total += ranker.scorer.scores(users).sum(axis=0, dtype=np.float64)
    return total / max(1, len(rows))


def game_map(setup: EvaluationSetup, positions: Int64Array) -> GameMap:
    """Map games by their candidate vectors.

    Args:
        setup: The evaluation's setup.
        positions: Positions in the catalogue, int64 [n], the most popular first.
    """
    points, explained = principal_components(setup.challenger.scorer.candidates[positions])
    firsts = [next(iter(genres_of(setup.games.attributes[game])), OTHER_GENRES) for game in positions.tolist()]
    counts = Counter(genre for genre in firsts if genre != OTHER_GENRES)
    shown = sorted(counts, key=lambda genre: (-counts[genre], genre))[: COLOURS - 1]
    groups: dict[str, list[int]] = {genre: [] for genre in (*shown, OTHER_GENRES)}
    for row, genre in enumerate(firsts):
        groups[genre if genre in shown else OTHER_GENRES].append(row)
    names = [setup.names[game] for game in positions.tolist()]
    genres = tuple(
        Series(genre, [(float(points[row, 0]), float(points[row, 1])) for row in rows], [names[row] for row in rows])
        for genre, rows in groups.items()
        if rows
    )
    return GameMap(genres, explained, tuple(names[:LABELLED_GAMES]))


def principal_components(vectors: Float32Array) -> tuple[Float64Array, float]:
    """Project vectors onto their first two principal components.

    Uses the singular value decomposition of the centred vectors (Jolliffe 2002, "Principal Component Analysis", section
    3.5). Each component points in the direction in which its largest weight is positive.

    Args:
        vectors: float32 [n, d].

    Returns:
        The projections, float64 [n, 2], zeros for missing components; and the share of the variance that they explain.
    """
    points = np.zeros((len(vectors), 2))
    if not vectors.size:
        return points, 0.0
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, spreads, directions = np.linalg.svd(centred, full_matrices=False)
    first = directions[:2]
    first = first * np.sign(first[np.arange(len(first)), np.abs(first).argmax(axis=1)])[:, None]
    points[:, : len(first)] = centred @ first.T
    variance = float((spreads**2).sum())
    return points, float((spreads[:2] ** 2).sum()) / variance if variance else 0.0


def example_users(setup: EvaluationSetup) -> tuple[Example, ...]:
    """Draw `EXAMPLE_USERS` at random, evenly from all lengths of history; the same setup gives the same users."""
    held_out = setup.held_out
    groups = [(NO_REVIEW, setup.future.newcomers)]
    groups += [(name, held_out.take(rows)) for name, rows in rows_by_length(held_out).items()]
    random = np.random.default_rng(SEED)
    drawn = [
        (turn, -number, row)
        for number, (_, group) in enumerate(groups)
        for turn, row in enumerate(random.permutation(len(group))[:EXAMPLE_USERS].tolist())
    ]
    chosen = sorted((-number, turn, row) for turn, number, row in sorted(drawn)[:EXAMPLE_USERS])
    return tuple(_example(setup, *groups[number], row) for number, _, row in chosen)


def _example(setup: EvaluationSetup, group: str, held_out: HeldOut, row: int) -> Example:
    user = held_out.take(np.array([row]))
    history, relevant = user.history, user.relevant.games
    ranked = setup.challenger.rank(history, RECOMMENDED_GAMES)[0]
    newest = np.arange(len(history.games))[::-1][:HISTORY_GAMES]
    return Example(
        user=int(history.users[0]),
        group=group,
        history=tuple((setup.names[history.games[index]], bool(history.recommended[index])) for index in newest),
        older=len(history.games) - len(newest),
        recommended=tuple((setup.names[game], bool(game in relevant)) for game in ranked[ranked >= 0]),
        relevant=tuple(setup.names[game] for game in relevant),
    )


def _by_step(losses: Sequence[float]) -> list[tuple[float, float]]:
    return [(100 * step / len(losses), loss) for step, loss in enumerate(losses, start=1)]


def _spread(order: Int64Array, count: int) -> Int64Array:
    """Return at most `count` elements, evenly spaced from the first to the last."""
    return order[np.linspace(0, len(order) - 1, min(count, len(order))).astype(np.int64)]
