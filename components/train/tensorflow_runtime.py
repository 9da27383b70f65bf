"""TensorFlow and TensorFlow Recommenders with the environment they need, and training on several workers.

Import both from here, never directly:

    from components.train.tensorflow_runtime import tf, tfrs
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from steam_recsys.errors import UserError

# TensorFlow reads these variables when it is imported.
os.environ["TF_USE_LEGACY_KERAS"] = "1"  # TFRS 0.7.7 does not run on Keras 3
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # its results differ between processors
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import tensorflow as tf
import tensorflow_recommenders as tfrs

__all__ = ["Workers", "get_workers", "tf", "tfrs", "worker_rank"]


@dataclass(frozen=True)
class Workers:
    """The workers of a training. Each takes its part of every batch, and their gradients are added up.

    Attributes:
        strategy: TensorFlow's distribution strategy.
        rank: Number of this process, from 0; the first one is the chief.
        count: Number of workers.
    """

    strategy: tf.distribute.Strategy
    rank: int
    count: int

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes checkpoints and the model."""
        return not self.rank

    def distribute(self, dataset: Callable[[], tf.data.Dataset]) -> Any:
        """Return a dataset that `fit` accepts; `dataset` makes this worker's part."""
        if self.count == 1:
            return dataset()
        return self.strategy.distribute_datasets_from_function(lambda _: dataset())

    def barrier(self) -> None:
        """Wait for all workers: slower ones may still read the checkpoints that the chief is about to remove."""
        if self.count > 1:
            self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(lambda: tf.ones(())), axis=None)


@cache
def get_workers() -> Workers:
    """Return the workers that TF_CONFIG lists, or this process alone if it is not set.

    Kubeflow's TFJob and Vertex AI's custom jobs set TF_CONFIG on each machine. Call this before any other TensorFlow
    operation.

    Raises:
        UserError: TF_CONFIG does not say which of the workers this process is.
    """
    rank, count = worker_rank(os.environ.get("TF_CONFIG") or "{}")
    if count < 2:
        return Workers(tf.distribute.get_strategy(), 0, 1)
    return Workers(tf.distribute.MultiWorkerMirroredStrategy(), rank, count)


def worker_rank(tf_config: str) -> tuple[int, int]:
    """Return this process's rank and the number of workers; a chief beside the workers comes first.

    Args:
        tf_config: Content of TF_CONFIG, as JSON.

    Raises:
        UserError: TF_CONFIG does not say which of the workers this process is.

    Example:
        >>> worker_rank('{"cluster": {"chief": ["a:1"], "worker": ["b:1"]}, "task": {"type": "worker", "index": 0}}')
        (1, 2)
    """
    try:
        config = json.loads(tf_config)
        cluster = config.get("cluster", {})
        tasks = [(role, index) for role in ("chief", "worker") for index in range(len(cluster.get(role, [])))]
        if len(tasks) < 2:
            return 0, 1
        return tasks.index((config["task"]["type"], int(config["task"]["index"]))), len(tasks)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(
            f"TF_CONFIG ({tf_config}) does not say which chief or worker of its cluster this process is: set cluster "
            f"and task as TensorFlow's MultiWorkerMirroredStrategy requires, or unset it."
        ) from None
