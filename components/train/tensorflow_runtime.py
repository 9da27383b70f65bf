"""TensorFlow and TensorFlow Recommenders with the environment they need, and training on several workers.

Import both from here, never directly:

    from components.train.tensorflow_runtime import tf, tfrs
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from steam_recsys.errors import UserError

# TensorFlow reads these variables when it is imported.
os.environ["TF_USE_LEGACY_KERAS"] = "1"  # TFRS 0.7.7 does not run on Keras 3
os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # its results differ between processors
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
import tensorflow_recommenders as tfrs

__all__ = ["Workers", "get_workers", "stage_name", "tf", "tfrs", "worker_rank"]


@dataclass(frozen=True)
class Workers:
    """The workers of a training. Each takes its part of every batch, and their gradients are added up.

    The chief alone decides what is fitted, and sends it to the others: their processors may round differently, and a
    choice between two settings that are nearly level could differ with it.

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
        """Whether this process is the one that makes all choices, and writes checkpoints and the model."""
        return not self.rank

    @property
    def several(self) -> bool:
        """Whether there are other workers than this process."""
        return self.count > 1

    def broadcast(self, message: dict[str, Any] | None = None) -> dict[str, Any]:
        """Send the chief's message to all workers; each of them waits for it.

        Args:
            message: The chief's message, plain values; ignored on the other workers.

        Returns:
            The chief's message.
        """
        message = message or {}
        if not self.several:
            return message
        content = json.dumps(message).encode() if self.is_chief else b""
        size = int(self._sum(tf.constant(len(content))))
        text = np.frombuffer(content, np.uint8) if self.is_chief else np.zeros(size)
        received: dict[str, Any] = json.loads(self._sum(tf.constant(text, tf.int32)).numpy().astype(np.uint8).tobytes())
        return received

    def broadcast_values(self, variables: Sequence[tf.Variable]) -> None:
        """Give the variables the chief's values on all workers."""
        with self.strategy.scope():
            for variable in variables if self.several else ():
                value = tf.constant(variable.numpy())
                variable.assign(self._sum(value if self.is_chief else tf.zeros_like(value)))

    def finish(self) -> None:
        """Wait until the chief has written the model, so that a worker that fails before is noticed by all.

        Raises:
            UserError: Another worker ended before the training did.
        """
        with self.lost_workers():
            self.broadcast()

    def _sum(self, value: tf.Tensor) -> tf.Tensor:
        """Add up the values of all workers."""
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(lambda: value), axis=None)

    @contextmanager
    def lost_workers(self) -> Iterator[None]:
        """Replace TensorFlow's errors for a worker that ended too early by a sentence.

        Raises:
            UserError: Another worker ended before the training did.
        """
        try:
            yield
        except (tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.InternalError, tf.errors.UnavailableError):
            if not self.several:
                raise
            raise UserError(
                f"Another of the {self.count} workers ended before the training did: read its log, and run again."
            ) from None


@cache
def get_workers() -> Workers:
    """Return the workers that TF_CONFIG lists, or this process alone if it is not set.

    Vertex AI's custom jobs set TF_CONFIG on each machine. Call this before any other TensorFlow operation.

    Raises:
        UserError: TF_CONFIG does not say which of the workers this process is.
    """
    rank, count = worker_rank(os.environ.get("TF_CONFIG") or "{}")
    if count < 2:
        return Workers(tf.distribute.get_strategy(), 0, 1)
    return Workers(tf.distribute.MultiWorkerMirroredStrategy(), rank, count)


def stage_name(stage: str) -> str:
    """Return the name of a stage in this process: workers other than the chief have their own.

    Raises:
        UserError: TF_CONFIG does not say which of the workers this process is.
    """
    rank, _ = worker_rank(os.environ.get("TF_CONFIG") or "{}")
    return f"{stage}-worker-{rank}" if rank else stage


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
