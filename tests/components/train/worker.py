"""One of several workers that fit towers together, in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from components.train.trainer import Checkpoints, Trainer
from components.train.training_data import Batch, TrainingData
from components.train.two_tower_model import ModelConfig
from steam_recsys.model.two_tower import Towers
from tests.components.train.checkerboard import training_data
from tests.components.train.process import ROOT, cluster_of_two

CONFIG = ModelConfig(dimensions=8, scale=4.0, learning_rate=0.05)
STEPS = 24
KILLED_STEP = 5


class EnoughError(Exception):
    """A check that ends a fit."""


def start_workers(folder: Path, *, killed: str = "") -> dict[str, subprocess.Popen[str]]:
    """Start a chief, which writes the weights of its fits to the folder, and a worker, as Vertex AI starts them.

    Args:
        folder: Folder for the weights and checkpoints.
        killed: Role of the process that kills itself in the middle of the first fit.
    """
    return {
        role: subprocess.Popen(
            [sys.executable, "-m", "tests.components.train.worker", str(folder), killed],
            cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )
        for role, environment in cluster_of_two().items()
    }  # fmt: skip


def fits(trainer: Trainer) -> dict[str, Towers]:
    """Make the chief's fits: one that a check ends, one that is continued from its end, and one from given towers."""
    data = training_data(CONFIG)
    checks: list[Towers] = []

    def check(towers: Towers) -> float:
        checks.append(towers)
        if len(checks) == 2:
            raise EnoughError
        return 0.0

    with suppress(EnoughError):
        trainer.fit("stopped", data, CONFIG, STEPS, check=check)
    other = replace(CONFIG, scale=2 * CONFIG.scale)
    whole = trainer.fit("whole", data, other, STEPS)
    again = trainer.fit("whole", data, other, STEPS)
    warm = trainer.fit("warm", data, CONFIG, STEPS, start=checks[0])
    return {"stopped": checks[1], "whole": whole.towers, "again": again.towers, "warm": warm.towers}


def _main(folder: Path, killed: str) -> None:
    from components.train.tensorflow_runtime import get_workers, tf
    from steam_recsys.stage import stage

    tf.config.experimental.enable_op_determinism()
    role = json.loads(os.environ["TF_CONFIG"])["task"]["type"]
    if role == killed:
        _kill_at(KILLED_STEP)
    workers = get_workers()
    with stage(role, str(folder / "store"), "run"), workers.lost_workers():
        if not workers.is_chief:
            Trainer(0, workers).follow(training_data(CONFIG))
            return
        trainer = Trainer(0, workers, Checkpoints.for_version(str(folder / "store"), "v1"))
        for name, towers in fits(trainer).items():
            np.savez(folder / f"{name}.npz", **vars(towers))
        trainer.end_fits()


def _kill_at(step: int) -> None:
    batches = TrainingData.batches

    def ending(self: TrainingData, config: ModelConfig, start: int, *others: int) -> Iterator[Batch]:
        yield from batches(self, config, start, step, *others[1:])
        os.kill(os.getpid(), signal.SIGKILL)

    TrainingData.batches = ending


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2])
