"""Training on several machines at once: each worker takes its part of every batch, and their gradients are added up."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import tensorflow as tf

from steam_recsys.errors import UserError


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

    def meet(self) -> None:
        """Wait until all have come this far: those behind may still read the checkpoints that the chief removes."""
        if self.count > 1:
            self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(lambda: tf.ones(())), axis=None)


@cache
def workers() -> Workers:
    """Those that TF_CONFIG names; this process alone where it is not set. To be asked before TensorFlow does anything.

    The variable is what Kubeflow's TFJob and Vertex AI's custom jobs set on each of their machines.

    Raises:
        UserError: it does not say which of the workers this process is.
    """
    index, count = place(os.environ.get("TF_CONFIG") or "{}")
    if count < 2:
        return Workers(tf.distribute.get_strategy(), 0, 1)
    return Workers(tf.distribute.MultiWorkerMirroredStrategy(), index, count)


def place(configuration: str) -> tuple[int, int]:
    """This process' number among the workers, and how many there are, by the content of TF_CONFIG.

    A cluster may have a chief beside its workers, which then is counted first.

    Raises:
        UserError: it does not say so.
    """
    try:
        config = json.loads(configuration)
        cluster = config.get("cluster", {})
        names = [(role, number) for role in ("chief", "worker") for number in range(len(cluster.get(role, [])))]
        if len(names) < 2:
            return 0, 1
        return names.index((config["task"]["type"], int(config["task"]["index"]))), len(names)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UserError(
            f"TF_CONFIG ({configuration}) does not say which of the chief and workers of its cluster this process is: "
            f"set cluster and task as TensorFlow's MultiWorkerMirroredStrategy asks for, or neither."
        ) from None
