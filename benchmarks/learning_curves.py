"""Recall by training time of our loop and of the tutorial's, on the same reviews, each in a process of its own.

python -m benchmarks.learning_curves ours curve.json --interactions 2000000 --users 200000 --games 20000
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.generated import Size, generate
from benchmarks.training import OURS, TUTORIAL, Point
from benchmarks.tutorial import BATCH, TutorialModel, pairs
from components.train.tensorflow_runtime import get_workers, tf
from components.train.trainer import Arrays, Checkpoints, Trainer
from components.train.training_data import TrainingData
from components.train.tuning import assemble_model
from components.train.two_tower_model import ModelConfig
from steam_recsys.arrays import Int32Array
from steam_recsys.data.games import Games
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import popularity_as_of
from steam_recsys.evaluation.baselines import StaticRanker
from steam_recsys.evaluation.holdout import HeldOut, hold_out
from steam_recsys.evaluation.metrics import Recall, measure
from steam_recsys.evaluation.rankers import ModelRanker, Ranker
from steam_recsys.evaluation.splits import latest_of_each_user
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.two_tower import Towers
from steam_recsys.storage.folder import Folder, open_folder

SEED = 0
SCALE = 4.0
METRIC = Recall(100)
EVALUATED = 5_000
STEPS_BETWEEN = 64
SHUFFLED = 100_000
"""The tutorial's shuffle buffer, which holds all of its ratings; here the pairs are shuffled beforehand."""

PATIENCE = 2
"""Epochs without a better recall after which the tutorial's loop stops."""


@dataclass(frozen=True)
class Task:
    """Interactions to learn from, and the last ones of some users, to be found among all games but their own."""

    past: Interactions
    held_out: HeldOut
    game_ids: Int32Array

    @classmethod
    def generate(cls, size: Size, seed: int) -> Task:
        """Generated reviews."""
        interactions = generate(size, seed)
        last = latest_of_each_user(interactions)
        past, game_ids = interactions.take(~last), np.arange(1, size.games + 1, dtype=np.int32)
        held_out = hold_out(past, interactions.take(last), game_ids)
        users = np.random.default_rng(seed).permutation(len(held_out))[:EVALUATED]
        return cls(past, held_out.take(np.sort(users)), game_ids)

    @property
    def games(self) -> Games:
        """The catalogue; nothing is known of a game but its id, as in the tutorial."""
        return Games(self.game_ids, [{}] * len(self.game_ids))

    def recall(self, ranker: Ranker) -> float:
        """The mean over users."""
        return float(measure(ranker, self.held_out, (METRIC,))[METRIC.name].mean())


@dataclass
class Curve:
    """A training's points; the clock stands still while recall is measured.

    Attributes:
        task: that it is measured by.
        points: so far.
        first_step: seconds until the loop begins.
    """

    task: Task
    points: list[Point] = field(default_factory=list)
    first_step: float = 0.0
    _started: float = field(default_factory=time.perf_counter)
    _measuring: float = 0.0

    def begin(self) -> None:
        """What comes now is the loop."""
        self.first_step = time.perf_counter() - self._started

    def measure(self, interactions: int, ranker: Callable[[], Ranker]) -> None:
        """Add a point."""
        before = time.perf_counter()
        point = Point(before - self._started - self._measuring, interactions, self.task.recall(ranker()))
        self.points.append(point)
        print(f"[benchmark] {point.seconds:.0f} s, {interactions:,} interactions: {point.recall:.4f}", flush=True)
        self._measuring += time.perf_counter() - before

    @property
    def best(self) -> Point:
        """The first of those with the highest recall."""
        return max(self.points, key=lambda point: point.recall)

    def record(self) -> dict[str, object]:
        """The same as plain values, with the peak of the process' memory so far."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        return {"points": [asdict(point) for point in self.points], "first_step": self.first_step, "peak_mb": peak}


def tutorial(task: Task) -> Curve:
    """The tutorial's loop, until its recall has not risen for some epochs; without its metrics, which are slow."""
    tf.keras.utils.set_random_seed(SEED)
    curve, past = Curve(task), task.past
    shuffled = pairs(past.take(np.random.default_rng(SEED).permutation(len(past))))
    cached = shuffled.shuffle(SHUFFLED, seed=SEED).batch(BATCH).cache()
    model = TutorialModel(np.unique(past.users), task.game_ids, ModelConfig().dimensions)
    curve.begin()
    while not curve.points or curve.points.index(curve.best) >= len(curve.points) - PATIENCE:
        model.fit(cached, epochs=1, verbose=0)
        curve.measure(len(past) * (len(curve.points) + 1), lambda: model.ranking(task.game_ids))
    return curve


@dataclass
class Meter(Checkpoints):
    """In the place of checkpoints: where a checkpoint of our loop would be written, its recall is measured."""

    folder: Folder = field(default_factory=lambda: open_folder("nowhere"))
    curve: Curve = field(kw_only=True)
    corpus: TrainingData = field(kw_only=True)
    config: ModelConfig = field(kw_only=True)
    steps: int = 0

    def read(self, name: str) -> Arrays:
        """None yet."""
        return {}

    def due(self) -> bool:
        """After every so many steps."""
        self.steps += 1
        return self.steps % STEPS_BETWEEN == 0

    def write(self, name: str, arrays: Arrays) -> None:
        """Measure."""
        task = self.curve.task
        share = len(arrays["losses"]) / self.corpus.steps_per_epoch(self.config)

        def ranking() -> ModelRanker:
            towers = Towers(*(arrays[f"variable_{number}"] for number in range(4)))
            model = assemble_model(self.corpus, towers, ItemItemWeights.empty(len(self.corpus.games)), self.config)
            popularity = popularity_as_of(task.past, task.game_ids, int(task.past.days.max()) + 1)
            return ModelRanker(model.for_catalogue(task.games, popularity))

        self.curve.measure(round(share * len(task.past)), ranking)


def ours(task: Task, config: ModelConfig) -> Curve:
    """A fit by the code that the training stage runs, with the default configuration but for the scale.

    The stage chooses the scale on validation rows first; that is not part of this, as no search is of the tutorial's.
    """
    tf.config.experimental.enable_op_determinism()
    curve = Curve(task)
    corpus = TrainingData.from_interactions(task.past, task.games, config, SEED)
    curve.begin()
    meter = Meter(curve=curve, corpus=corpus, config=config)
    Trainer(SEED, get_workers(), meter).fit("benchmark", corpus, config, corpus.steps(config))
    return curve


def popularity(task: Task) -> float:
    """The recall of everybody's favourites."""
    counts = np.bincount(task.past.games, minlength=len(task.game_ids) + 1)[1:]
    return task.recall(StaticRanker(counts.astype(np.float32)))


def main() -> None:
    """Run one side and write its curve down."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning_curves", description=__doc__)
    parser.add_argument("side", choices=[OURS, TUTORIAL])
    parser.add_argument("output", type=Path)
    for name in Size.__dataclass_fields__:
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()
    task = Task.generate(Size(options.interactions, options.users, options.games), SEED)
    curve = ours(task, ModelConfig(scale=SCALE)) if options.side == OURS else tutorial(task)
    options.output.write_text(json.dumps(curve.record() | {"popularity": popularity(task)}) + "\n")


if __name__ == "__main__":
    main()
