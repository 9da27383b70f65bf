"""Training in a separate process, for tests that kill it or run several workers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from components.train.trainer import Checkpoints
from components.train.two_tower_model import ModelConfig
from steam_recsys.storage.folder import open_folder

ROOT = Path(__file__).parents[3]


def start_training(
    snapshot: Path, model: Path, store: str, *, min_steps: int, stops_at: int = 0, tf_config: dict | None = None
) -> subprocess.Popen[str]:
    """Start `train_model`.

    With `stops_at` it writes a checkpoint at every step and stops at that step of the final fit. With `tf_config` the
    other workers are late, and the chief has to wait for them before it writes the model.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if tf_config:
        environment["TF_CONFIG"] = json.dumps(tf_config)
    command = [sys.executable, "-m", "tests.components.train.process", str(snapshot), str(model), store]
    return subprocess.Popen(
        [*command, str(min_steps), str(stops_at)],
        cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def free_ports(number: int) -> list[int]:
    """Free ports of this machine."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [listening.getsockname()[1] for listening in sockets]
    for listening in sockets:
        listening.close()
    return ports


def _write_and_stop(stops_at: int) -> None:
    write = Checkpoints.write

    def written(self: Checkpoints, name: str, arrays: dict) -> None:
        write(self, name, arrays)
        if name == "final" and len(arrays["losses"]) >= stops_at:
            signal.pause()

    Checkpoints.due = lambda self: True
    Checkpoints.write = written


def _keep_the_chief_waiting(store: str) -> None:
    from components.train.tensorflow_runtime import Workers

    barrier, late = Workers.barrier, open_folder(f"{store}/late")

    def delayed(self: Workers) -> None:
        if not self.is_chief:
            time.sleep(1)
            late.write("worker", b"is here")
        barrier(self)
        if self.is_chief:
            print("[train] the late worker", late.read("worker"))
            late.remove("")

    Workers.barrier = delayed


if __name__ == "__main__":
    from components.train import training

    snapshot, model, store, min_steps, stops_at = sys.argv[1:]
    training.ModelConfig = lambda: ModelConfig(min_steps=int(min_steps))
    if int(stops_at):
        _write_and_stop(int(stops_at))
    if os.environ.get("TF_CONFIG"):
        _keep_the_chief_waiting(store)
    training.train_model(snapshot, model, store)
