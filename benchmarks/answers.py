"""`make benchmark-answers`: the wait of one user for recommendations from 100,000 games, on one core, ids in, ids out.

The weights are random: the cost of an answer depends on their number, not on what was learnt.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.record import Row, at_most, below, run_benchmark
from components.train.artifact import RECOMMENDED_GAMES, ServingModel
from components.train.popularity_prior import DEFAULT_WEIGHTS
from components.train.sequential_tower import SequenceConfig, initial_tower
from components.train.tensorflow_runtime import tf
from steam_recsys.arrays import Float32Array, Float64Array, Int32Array
from steam_recsys.data.games import Games
from steam_recsys.model.history_weights import HistoryWeights
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.online import CatalogueFacts, OnlineRecommender
from steam_recsys.model.scorer import Scorer
from steam_recsys.model.two_tower import Towers, TwoTowerArrays
from steam_recsys.storage.manifest import complete_artifact

GAMES, DIMENSIONS, NEIGHBOURS = 100_000, 64, 100
QUERIES, LONGEST_HISTORY = 5_000, 50
WARM_UP = 20
MUST_MS, MUST_DIFFERENCE = 5.0, 1e-5
INTERESTS_WEIGHT = 0.3
GENRES, YEARS, MEAN_POSITIVE_REVIEWS = 20, 10, 5.0
SETTINGS: dict[str, dict[str, Any]] = {
    "popularity 0": {"popularity": 0.0},
    "popularity 0.5": {"popularity": 0.5},
    "released in three months": {"released": (date(2024, 10, 1), None)},
    "one genre": {"include": ["genre 1"]},
    "without three genres": {"exclude": ["genre 1", "genre 2", "genre 3"]},
    "popularity 0.5, one genre, released in five years": {
        "popularity": 0.5, "include": ["genre 1"], "released": (date(2020, 1, 1), date(2024, 12, 31)),
    },
}  # fmt: skip
"""Arguments of `OnlineRecommender.recommend`. The default is popularity 1, without filters."""

OURS, SAVED_MODEL, PLAIN = "ours", "SavedModel, one thread", "NumPy argpartition, no item-item or history weights"


@dataclass(frozen=True)
class Condition:
    """A model's shape.

    Attributes:
        scale: Scale of the cosine similarity.
        skewed: Whether a few games are far more popular than the others.
        neighbours: Item-item neighbours per game.
        sequence_weight: Weight of the sequential tower; 0 for none.
    """

    scale: float
    skewed: bool
    neighbours: int
    sequence_weight: float = 0.0

    def __str__(self) -> str:
        popularity = "skewed" if self.skewed else "even"
        sequence = ", with a sequential tower" if self.sequence_weight else ""
        return f"scale {self.scale:g}, {popularity} popularity, {self.neighbours} neighbours per game{sequence}"


CONDITIONS = [
    Condition(scale, skewed, neighbours) for scale, skewed in ((8, False), (2, True)) for neighbours in (0, NEIGHBOURS)
]
CONDITIONS.append(Condition(8, False, NEIGHBOURS, sequence_weight=0.5))


@dataclass(frozen=True)
class Query:
    """One user's request."""

    history: list[int]
    recommended: list[bool]
    hours: list[float]


Answer = Callable[[Query], Float32Array]
"""Returns the best games' scores for one user, best first, float32 [k]; it looks up the ids as well."""


@dataclass(frozen=True)
class Timings:
    """Wall-clock milliseconds of each query, float64 [n], and each answer's scores."""

    milliseconds: Float64Array
    scores: list[Float32Array]

    @classmethod
    def measure(cls, answer: Answer, queries: list[Query]) -> Timings:
        """Answer each query once, after a warm-up."""
        for query in queries[:WARM_UP]:
            answer(query)
        seconds, scores = np.empty(len(queries)), []
        for index, query in enumerate(queries):
            started = time.perf_counter()
            scores.append(answer(query))
            seconds[index] = time.perf_counter() - started
        return cls(1e3 * seconds, scores)

    def figures(self) -> dict[str, float]:
        """Return the milliseconds' median, 99th percentile and maximum by name."""
        return {
            "p50": float(np.median(self.milliseconds)),
            "p99": float(np.percentile(self.milliseconds, 99)),
            "max": float(self.milliseconds.max()),
        }


def written_model(
    folder: Path, game_ids: Int32Array, condition: Condition, random: np.random.Generator
) -> TwoTowerArrays:
    """Write a model with random weights as training does, and load it as serving does."""
    n_games = len(game_ids)
    games = [random.standard_normal((n_games, DIMENSIONS)).astype(np.float32) for _ in range(2)]
    none = np.zeros((0, DIMENSIONS), dtype=np.float32)
    n_neighbours = min(condition.neighbours, n_games)
    neighbours = np.sort(random.integers(0, n_games - n_neighbours + 1, (n_games, n_neighbours)), axis=1)
    neighbours += np.arange(n_neighbours)
    item_item = ItemItemWeights(
        np.arange(n_games + 1, dtype=np.int64) * n_neighbours,
        neighbours.ravel().astype(np.int32),
        random.normal(0, 0.1, neighbours.size).astype(np.float32),
    )
    weights = HistoryWeights(disliked=-0.5, hours=0.2, recency=0.5)
    sequence = SequenceConfig(weight=condition.sequence_weight)
    towers = Towers(games[0], none, games[1], none)
    model = TwoTowerArrays(
        "benchmark", game_ids, (), towers, item_item, DEFAULT_WEIGHTS,
        popularity_weight=1.0, interests_weight=INTERESTS_WEIGHT, scale=condition.scale, popularity_smoothing=1.0,
        history_weights=weights, sequence=initial_tower(n_games, sequence, random) if sequence.weight else None,
        sequence_scale=sequence.weight * sequence.scale,
    )  # fmt: skip
    np.savez(folder / "arrays.npz", allow_pickle=False, **model.arrays())
    (folder / "vocabulary.json").write_text(json.dumps({"games": game_ids.tolist(), "attributes": []}))
    constants = {
        name: getattr(model, name)
        for name in ("popularity_weight", "interests_weight", "scale", "popularity_smoothing", "top_weight")
    }
    described = {
        "version": model.version,
        "config": {
            **constants,
            "history_weights": asdict(weights),
            "next_weight": 0.0,
            "sequence": asdict(sequence),
        },
    }
    (folder / "model.json").write_text(json.dumps(described))
    complete_artifact(folder)
    return TwoTowerArrays.load(folder)


def engines(folder: Path, game_ids: Int32Array, condition: Condition, random: np.random.Generator) -> dict[str, Answer]:
    """Build ours and its peers over the same catalogue."""
    n_games = len(game_ids)
    popularity = 1e6 / random.permutation(np.arange(1.0, n_games + 1)) if condition.skewed else np.ones(n_games)
    model = written_model(folder, game_ids, condition, random)
    catalogue = model.for_catalogue(Games(game_ids, [{}] * n_games), np.tile(popularity, (len(DEFAULT_WEIGHTS), 1)))
    online = OnlineRecommender(game_ids, catalogue, random_facts(n_games, random))

    def ours(settings: Mapping[str, Any]) -> Answer:
        def answer(query: Query) -> Float32Array:
            found = online.recommend(
                query.history, RECOMMENDED_GAMES, recommended=query.recommended, hours=query.hours, **settings
            )
            return np.array([game.score for game in found], dtype=np.float32)

        return answer

    return {
        OURS: ours({}),
        **{name: ours(settings) for name, settings in SETTINGS.items()},
        SAVED_MODEL: _saved_model(folder / "saved_model", game_ids, catalogue),
        PLAIN: _plain(game_ids, catalogue),
    }


def random_facts(n_games: int, random: np.random.Generator) -> CatalogueFacts:
    """Draw two genres, a release date of the last ten years, and a few positive reviews for each game."""
    days = [date(2025, 1, 1) - timedelta(days=int(age)) for age in random.integers(0, YEARS * 365, n_games)]
    genres = [[f"genre {genre}" for genre in pair] for pair in random.integers(0, GENRES, (n_games, 2)).tolist()]
    return CatalogueFacts.from_games(days, genres, random.poisson(MEAN_POSITIVE_REVIEWS, n_games))


def _saved_model(folder: Path, game_ids: Int32Array, catalogue: Scorer) -> Answer:
    ServingModel(game_ids, catalogue).save(folder)
    loaded = tf.saved_model.load(str(folder))
    prior = tf.constant(catalogue.popularity_prior)

    def answer(query: Query) -> Float32Array:
        found = loaded.signatures["with_popularity"](
            history=tf.constant([query.history]),
            recommended=tf.constant([query.recommended]),
            hours=tf.constant([query.hours]),
            popularity_prior=prior,
        )
        found["game_ids"].numpy()
        scores: Float32Array = found["scores"].numpy()[0]
        return scores

    return answer


def _plain(game_ids: Int32Array, catalogue: Scorer) -> Answer:
    def answer(query: Query) -> Float32Array:
        rows = np.searchsorted(game_ids, query.history)
        user = catalogue.history[rows].sum(axis=0)
        scores: Float32Array = catalogue.candidates @ (np.float32(catalogue.scale) * user / np.linalg.norm(user))
        scores += catalogue.popularity_prior
        scores[rows] = -np.inf
        best = np.argpartition(-scores, RECOMMENDED_GAMES)[:RECOMMENDED_GAMES]
        best = best[np.argsort(-scores[best])]
        game_ids[best].tolist()
        return scores[best]

    return answer


def random_queries(game_ids: Int32Array, n: int, random: np.random.Generator) -> list[Query]:
    """Draw users with 1 to 50 games."""
    lengths = random.integers(1, LONGEST_HISTORY + 1, n).tolist()
    return [
        Query(
            random.choice(game_ids, length, replace=False, shuffle=False).tolist(),
            (random.random(length) < 0.8).tolist(),
            random.lognormal(2, 1, length).tolist(),
        )
        for length in lengths
    ]


def results(what: str, measured: dict[str, Timings]) -> list[Row]:
    """Compute the condition's figures for the record: ours beside each peer's."""
    ours = measured[OURS].figures()
    found = [
        below(f"{what}, {name}, ms", ours[name], figure, peer, MUST_MS if name == "p99" else None)
        for peer in (SAVED_MODEL, PLAIN)
        for name, figure in measured[peer].figures().items()
    ]
    found += [
        at_most(f"{what}, {setting}, {name}, ms", figure, MUST_MS if name == "p99" else None)
        for setting in SETTINGS
        if setting in measured
        for name, figure in measured[setting].figures().items()
    ]
    pairs = zip(measured[OURS].scores, measured[SAVED_MODEL].scores, strict=True)
    difference = max(float(np.abs(mine - theirs).max()) for mine, theirs in pairs)
    return [
        *found,
        at_most(f"{what}, largest difference of a score to the {SAVED_MODEL}'s", difference, MUST_DIFFERENCE),
    ]


def measure_condition(condition: Condition, n_games: int, n_queries: int) -> list[Row]:
    """Measure ours and its peers for one model shape."""
    random = np.random.default_rng(0)
    game_ids = np.sort(random.choice(10 * n_games, n_games, replace=False)).astype(np.int32)
    queries = random_queries(game_ids, n_queries, random)
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        answers = engines(Path(folder), game_ids, condition, random)
        measured = {name: Timings.measure(answer, queries) for name, answer in answers.items()}
    return results(f"{n_games:,} games, {condition}", measured)


def _on_one_core() -> None:
    if hasattr(os, "sched_setaffinity"):  # Linux
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)


def rows() -> Iterator[Row]:
    """Measure everything on one core."""
    _on_one_core()
    for condition in CONDITIONS:
        yield from measure_condition(condition, GAMES, QUERIES)


if __name__ == "__main__":
    run_benchmark("answers", __doc__, rows)
