"""Training in a separate process, for tests that kill it or run several workers."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from components.train.trainer import Checkpoints
from tests.components.train.checkerboard import quick_config

ROOT = Path(__file__).parents[3]


def start_training(
    snapshot: Path, model: Path, store: str, *, min_steps: int, stops_at: int = 0, variables: Mapping[str, str] = {}
) -> subprocess.Popen[str]:
    """Start `train_model`.

    With `stops_at` it writes a checkpoint at every step and stops at that step of the final fit.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-m", "tests.components.train.process", str(snapshot), str(model), store]
    return subprocess.Popen(
        [*command, str(min_steps), str(stops_at)],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def cluster_of_two() -> dict[str, dict[str, str]]:
    """The environment variables of a chief and a worker on this machine, as Vertex AI's custom jobs set them."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    chief, worker = (f"127.0.0.1:{listening.getsockname()[1]}" for listening in sockets)
    for listening in sockets:
        listening.close()

    def configuration(first: str, second: str, role: str) -> str:
        cluster = {first: [chief], second: [worker]}
        return json.dumps({"cluster": cluster, "environment": "cloud", "task": {"type": role, "index": 0}})

    return {
        role: {
            "TF_CONFIG": configuration("chief", "worker", role),
            "CLUSTER_SPEC": configuration("workerpool0", "workerpool1", pool),
        }
        for role, pool in (("chief", "workerpool0"), ("worker", "workerpool1"))
    }


def _write_and_stop(stops_at: int) -> None:
    write = Checkpoints.write

    def written(self: Checkpoints, name: str, arrays: dict) -> None:
        write(self, name, arrays)
        if name == "final" and len(arrays["losses"]) >= stops_at:
            signal.pause()

    Checkpoints.due = lambda self: True
    Checkpoints.write = written


if __name__ == "__main__":
    from components.train import training

    snapshot, model, store, min_steps, stops_at = sys.argv[1:]
    training.ModelConfig = lambda: quick_config(int(min_steps))
    if int(stops_at):
        _write_and_stop(int(stops_at))
    training.train_model(snapshot, model, store)
