"""Recall by training time: our training loop, and that of TensorFlow Recommenders' basic-retrieval tutorial.

The tutorial's model knows ids only, as strings, and takes its negatives from the batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from benchmarks.generated import Size, generate
from benchmarks.training import OURS, SEED, Point
from components.train.assembly import assemble_model
from components.train.tensorflow_runtime import get_workers, tf, tfrs
from components.train.trainer import Arrays, Checkpoints, Trainer
from components.train.training_data import TrainingData
from components.train.two_tower_model import ModelConfig
from steam_recsys.arrays import Float32Array, Int32Array, Int64Array
from steam_recsys.data.games import Games
from steam_recsys.data.histories import Histories
from steam_recsys.data.interactions import Interactions
from steam_recsys.data.popularity import popularity_as_of
from steam_recsys.evaluation.metrics import Recall, measure
from steam_recsys.evaluation.rankers import ModelRanker, Ranker, StaticRanker
from steam_recsys.evaluation.splits import HeldOut, hold_out, latest_of_each_user
from steam_recsys.model.item_item import ItemItemWeights
from steam_recsys.model.two_tower import Towers
from steam_recsys.stage import max_rss_mb
from steam_recsys.storage.folder import Folder, open_folder

SCALE = 4.0
METRIC = Recall(100)
EVALUATED = 5_000
STEPS_BETWEEN = 64

TUTORIAL_DIMENSIONS = 32
TUTORIAL_RATE = 0.1
TUTORIAL_EPOCHS = 3
TUTORIAL_BATCH = 8192
TUTORIAL_SHUFFLED = 100_000
"""The tutorial's shuffle buffer, which holds all of its ratings; here the pairs are shuffled beforehand."""

PATIENCE = 2
"""Epochs without a better recall after which the tutorial's loop stops."""


def measure_side(side: str, size: Size) -> dict[str, Any]:
    """Train one side on generated reviews and return its curve as plain values."""
    task = Task.generate(size, SEED)
    curve = ours(task, ModelConfig(scale=SCALE)) if side == OURS else tutorial(task)
    return curve.record() | {"popularity": popularity(task)}


@dataclass(frozen=True)
class Task:
    """Training interactions, and the last interactions of some users to find among all games except their own."""

    past: Interactions
    held_out: HeldOut
    game_ids: Int32Array

    @classmethod
    def generate(cls, size: Size, seed: int) -> Task:
        """Generate the task."""
        interactions = generate(size, seed)
        last = latest_of_each_user(interactions)
        past, game_ids = interactions.take(~last), np.arange(1, size.games + 1, dtype=np.int32)
        held_out = hold_out(past, interactions.take(last), game_ids)
        users = np.random.default_rng(seed).permutation(len(held_out))[:EVALUATED]
        return cls(past, held_out.take(np.sort(users)), game_ids)

    @property
    def games(self) -> Games:
        """The catalogue, without attributes, as in the tutorial."""
        return Games(self.game_ids, [{}] * len(self.game_ids))

    def recall(self, ranker: Ranker) -> float:
        """Return the mean recall over users."""
        return float(measure(ranker, self.held_out, (METRIC,))[METRIC.name].mean())


@dataclass
class Curve:
    """Records a training's learning curve; the clock stops while recall is measured.

    Attributes:
        task: Task to measure recall on.
        points: Points so far.
        first_step: Seconds until the loop began.
    """

    task: Task
    points: list[Point] = field(default_factory=list)
    first_step: float = 0.0
    _started: float = field(default_factory=time.perf_counter)
    _measuring: float = 0.0

    def begin(self) -> None:
        """Record that the loop begins."""
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
        """The first point with the highest recall."""
        return max(self.points, key=lambda point: point.recall)

    def record(self) -> dict[str, object]:
        """Return the curve as plain values, with the process's peak memory so far."""
        peak = max_rss_mb()
        return {"points": [asdict(point) for point in self.points], "first_step": self.first_step, "peak_mb": peak}


def tutorial(task: Task) -> Curve:
    """Run the tutorial's loop until recall has not risen for some epochs; without its metrics, which are slow."""
    tf.keras.utils.set_random_seed(SEED)
    curve, past = Curve(task), task.past
    shuffled = pairs(past.take(np.random.default_rng(SEED).permutation(len(past))))
    cached = shuffled.shuffle(TUTORIAL_SHUFFLED, seed=SEED).batch(TUTORIAL_BATCH).cache()
    model = TutorialModel(np.unique(past.users), task.game_ids, ModelConfig().dimensions)
    curve.begin()
    while not curve.points or curve.points.index(curve.best) >= len(curve.points) - PATIENCE:
        model.fit(cached, epochs=1, verbose=0)
        curve.measure(len(past) * (len(curve.points) + 1), lambda: model.ranking(task.game_ids))
    return curve


@dataclass
class Meter(Checkpoints):
    """Takes the place of the checkpoints, and measures recall when our loop would write one."""

    folder: Folder = field(default_factory=lambda: open_folder("nowhere"))
    curve: Curve = field(kw_only=True)
    corpus: TrainingData = field(kw_only=True)
    config: ModelConfig = field(kw_only=True)
    steps: int = 0

    def read(self, name: str) -> Arrays:
        """Return no checkpoint, so that training starts at the beginning."""
        return {}

    def due(self) -> bool:
        """Return whether `STEPS_BETWEEN` steps have passed."""
        self.steps += 1
        return self.steps % STEPS_BETWEEN == 0

    def write(self, name: str, arrays: Arrays) -> None:
        """Measure recall with the loop's current variables."""
        task = self.curve.task
        share = len(arrays["losses"]) / self.corpus.steps_per_epoch(self.config)

        def ranking() -> ModelRanker:
            towers = Towers(*(arrays[f"variable_{number}"] for number in range(4)))
            model = assemble_model(self.corpus, towers, ItemItemWeights.empty(len(self.corpus.games)), self.config)
            popularity = popularity_as_of(task.past, task.game_ids, int(task.past.days.max()) + 1)
            return ModelRanker(model.for_catalogue(task.games, popularity))

        self.curve.measure(round(share * len(task.past)), ranking)


def ours(task: Task, config: ModelConfig) -> Curve:
    """Fit with the training stage's code and its default configuration, except for the scale.

    The stage tunes the scale on validation rows first. That is left out here, because the tutorial tunes nothing.
    """
    tf.config.experimental.enable_op_determinism()
    curve = Curve(task)
    corpus = TrainingData.from_interactions(task.past, task.games, config, SEED)
    curve.begin()
    meter = Meter(curve=curve, corpus=corpus, config=config)
    Trainer(SEED, get_workers(), meter).fit("benchmark", corpus, config, corpus.steps(config))
    return curve


def popularity(task: Task) -> float:
    """Return the recall of the most popular games."""
    counts = np.bincount(task.past.games, minlength=len(task.game_ids) + 1)[1:]
    return task.recall(StaticRanker(counts.astype(np.float32)))


class TutorialModel(tfrs.Model):
    """One embedding per user and per game, their inner product, and a softmax over the batch."""

    def __init__(self, users: Int64Array, games: Int32Array, dimensions: int = TUTORIAL_DIMENSIONS) -> None:
        """Build the model.

        Args:
            users: User ids, int64 [U].
            games: Game ids, int32 [N].
            dimensions: Length of the embeddings.
        """
        super().__init__()
        self.users, self.games = _embedding(users, dimensions), _embedding(games, dimensions)
        self.task = tfrs.tasks.Retrieval()
        self.compile(optimizer=tf.keras.optimizers.Adagrad(TUTORIAL_RATE))

    def compute_loss(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        """Return the loss of a batch with `users` and `games`, both string [B]."""
        return self.task(self.users(inputs["users"]), self.games(inputs["games"]), compute_metrics=False)

    def ranking(self, game_ids: Int32Array) -> TutorialRanker:
        """Return a ranker of a catalogue with the current variables."""
        return TutorialRanker(self, self.games(game_ids.astype(str)).numpy())


@dataclass(frozen=True)
class TutorialRanker:
    """Ranks a catalogue for the users that a trained model knows; `games` are the catalogue's vectors."""

    model: TutorialModel
    games: Float32Array

    @classmethod
    def fit(cls, past: Interactions, game_ids: Int32Array, seed: int) -> TutorialRanker:
        """Train on past interactions; `game_ids` is int32 [N], ascending."""
        tf.keras.utils.set_random_seed(seed)
        model = TutorialModel(np.unique(past.users), game_ids)
        model.fit(pairs(past).shuffle(len(past), seed=seed).batch(TUTORIAL_BATCH), epochs=TUTORIAL_EPOCHS, verbose=0)
        return model.ranking(game_ids)

    @property
    def n_games(self) -> int:
        """See `Ranker.n_games`."""
        return len(self.games)

    def scores(self, history: Histories) -> Float32Array:
        """See `Ranker.scores`."""
        found: Float32Array = self.model.users(history.users.astype(str)).numpy() @ self.games.T
        return found


def pairs(interactions: Interactions) -> tf.data.Dataset:
    """Return users and games as texts, as in the tutorial."""
    rows = {"users": interactions.users.astype(str), "games": interactions.games.astype(str)}
    return tf.data.Dataset.from_tensor_slices(rows)


def _embedding(ids: Int64Array | Int32Array, dimensions: int) -> tf.keras.Sequential:
    lookup = tf.keras.layers.StringLookup(vocabulary=ids.astype(str), mask_token=None)
    return tf.keras.Sequential([lookup, tf.keras.layers.Embedding(len(ids) + 1, dimensions)])
