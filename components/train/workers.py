"""Training on several machines at once: each worker takes its part of every batch, and their gradients are added up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import tensorflow as tf


@dataclass(frozen=True)
class Workers:
    """The workers of a training, and which of them this process is.

    Attributes:
        strategy: TensorFlow's.
        index: this process' number, from 0; the first is the chief, which alone writes.
        count: how many there are.
    """

    strategy: tf.distribute.Strategy
    index: int
    count: int

    @property
    def chief(self) -> bool:
        """Whether this process writes."""
        return not self.index

    def distributed(self, dataset: Callable[[], tf.data.Dataset]) -> Any:
        """A dataset that is this worker's part already, in the form that `fit` asks for."""
        if self.count == 1:
            return dataset()
        return self.strategy.distribute_datasets_from_function(lambda _: dataset())


@cache
def workers() -> Workers:
    """Those that TF_CONFIG names; this process alone where it is not set. To be asked before TensorFlow does anything.

    The variable is what Kubeflow's TFJob and Vertex AI's custom jobs set on each of their machines.
    """
    config = json.loads(os.environ.get("TF_CONFIG") or "{}")
    count = sum(len(config.get("cluster", {}).get(role, [])) for role in ("chief", "worker"))
    if count < 2:
        return Workers(tf.distribute.get_strategy(), 0, 1)
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    return Workers(strategy, strategy.cluster_resolver.task_id + _chiefs_before(config), count)


def _chiefs_before(config: dict[str, Any]) -> int:
    """How many chiefs are counted before this task's own number: a cluster may have one beside its workers."""
    return len(config["cluster"].get("chief", [])) if config["task"]["type"] == "worker" else 0
