"""What the report shows of a model besides its figures: how it learnt, what it favours, how its games lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.evaluate.examples import Example, examples
from components.evaluate.rankings import Rankings
from components.evaluate.setup import EvaluationSetup
from components.evaluate.slices import genres_of
from steam_recsys.arrays import Float32Array, Float64Array, Int64Array
from steam_recsys.data.histories import Histories
from steam_recsys.data.popularity import popularity
from steam_recsys.evaluation.rankers import BLOCK_SCORES, ModelRanker
from steam_recsys.reporting.charts import COLOURS, Series

SCORED_USERS = 500
MAPPED_GAMES = 500
OTHER_GAMES = 500
"""Games that are drawn beside the most popular ones where popularity is set against score."""

WRITTEN_NAMES = 14
OTHER_GENRES = "other"


@dataclass(frozen=True)
class GameMap:
    """The most popular games' candidate vectors in two dimensions.

    Attributes:
        genres: the games' places and names by their first genre, the commonest ones; the others under `OTHER_GENRES`.
        explained: the share of the vectors' variance that the two dimensions have.
        written: the names of the most popular ones, the most popular first.
    """

    genres: tuple[Series, ...]
    explained: float
    written: tuple[str, ...]


@dataclass(frozen=True)
class Diagnostics:
    """What the report shows besides figures.

    Attributes:
        curves: of each fit, the last one's first, the mean loss of each stretch of it, by the per cent of its steps at
            the end of the stretch.
        trials: the scale and the NDCG@10 on validation rows of each fit that a choice was made from.
        favour: the logarithm of one more than a game's reviews that recommend it, against its mean score over users.
        map: of the games.
        examples: users with their history and what they are recommended.
    """

    curves: tuple[Series, ...]
    trials: tuple[tuple[float, float], ...]
    favour: Series
    map: GameMap
    examples: tuple[Example, ...]

    @classmethod
    def from_setup(cls, contest: EvaluationSetup, answers: Rankings) -> Diagnostics:
        """Gather them; the same contest gives the same exhibits."""
        known = popularity(contest.past, contest.games.ids)
        order = np.argsort(-known, kind="stable")
        scores = mean_scores(contest.challenger, answers.held_out.history)
        drawn = np.unique(np.concatenate([order[:MAPPED_GAMES], _spread(order[MAPPED_GAMES:], OTHER_GAMES)]))
        points = list(zip(np.log10(1 + known[drawn]).tolist(), scores[drawn].tolist(), strict=True))
        return cls(
            curves=learning_curves(contest.described),
            trials=tuple((trial["scale"], trial["ndcg_at_10"]) for trial in contest.described.get("history", ())),
            favour=Series("", points, [contest.names[game] for game in drawn]),
            map=game_map(contest, order[:MAPPED_GAMES]),
            examples=examples(contest),
        )


def learning_curves(described: Mapping[str, Any]) -> tuple[Series, ...]:
    """The curves of the fits that `model.json` tells of; none where it tells of none."""
    curves = {"last fit": described.get("losses", ())}
    curves |= {f"scale {trial['scale']:g}": trial["losses"] for trial in described.get("history", ())}
    return tuple(Series(name, _by_step(losses)) for name, losses in curves.items() if losses)


def mean_scores(ranking: ModelRanker, history: Histories) -> Float64Array:
    """Each game's mean score over users, some of them by chance where there are many: float64 [N]."""
    catalogue = ranking.catalogue
    chosen = np.random.default_rng(0).permutation(len(history))[:SCORED_USERS]
    block = max(1, BLOCK_SCORES // max(1, len(catalogue)))
    total = np.zeros(len(catalogue))
    for start in range(0, len(chosen), block):
        total += catalogue.scores(history.take(np.sort(chosen[start : start + block]))).sum(axis=0, dtype=np.float64)
    return total / max(1, len(chosen))


def game_map(contest: EvaluationSetup, positions: Int64Array) -> GameMap:
    """Place some games of the catalogue, int64 [n], by their candidate vectors; the most popular first."""
    places, explained = principal_components(contest.challenger.catalogue.candidates[positions])
    firsts = [next(iter(genres_of(contest.games.attributes[game])), OTHER_GENRES) for game in positions.tolist()]
    counts = Counter(genre for genre in firsts if genre != OTHER_GENRES)
    shown = sorted(counts, key=lambda genre: (-counts[genre], genre))[: COLOURS - 1]
    groups: dict[str, list[int]] = {genre: [] for genre in (*shown, OTHER_GENRES)}
    for row, genre in enumerate(firsts):
        groups[genre if genre in shown else OTHER_GENRES].append(row)
    names = [contest.names[game] for game in positions.tolist()]
    genres = tuple(
        Series(genre, [(float(places[row, 0]), float(places[row, 1])) for row in rows], [names[row] for row in rows])
        for genre, rows in groups.items()
        if rows
    )
    return GameMap(genres, explained, tuple(names[:WRITTEN_NAMES]))


def principal_components(vectors: Float32Array) -> tuple[Float64Array, float]:
    """The first two principal components of n vectors, and the share of the variance that they have.

    The singular value decomposition of the centred vectors (Jolliffe 2002, "Principal Component Analysis", section
    3.5); of each component's two directions that one in which its largest weight is positive.

    Args:
        vectors: float32 [n, d].

    Returns:
        float64 [n, 2], zeros where there are fewer components, and a share between 0 and 1.
    """
    places = np.zeros((len(vectors), 2))
    if not vectors.size:
        return places, 0.0
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    _, spreads, directions = np.linalg.svd(centred, full_matrices=False)
    first = directions[:2]
    first = first * np.sign(first[np.arange(len(first)), np.abs(first).argmax(axis=1)])[:, None]
    places[:, : len(first)] = centred @ first.T
    variance = float((spreads**2).sum())
    return places, float((spreads[:2] ** 2).sum()) / variance if variance else 0.0


def _by_step(losses: Sequence[float]) -> list[tuple[float, float]]:
    return [(100 * (place + 1) / len(losses), loss) for place, loss in enumerate(losses)]


def _spread(order: Int64Array, most: int) -> Int64Array:
    """At most so many of them, evenly from the first to the last."""
    return order[np.linspace(0, len(order) - 1, min(most, len(order))).astype(np.int64)]
