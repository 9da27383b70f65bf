"""One step of the benchmark of prediction, in a process of its own.

python -m benchmarks.prediction_steps shard FOLDER 10000000 2000000 50000 100000 0 record.json
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from benchmarks.generated import Size
from benchmarks.record import peak_mb

LINKS = 100
SEED = 0


def prepare(root: Path, size: Size, users_per_shard: int, number: int) -> int:
    """Write the snapshot and promote a model."""
    import numpy as np

    from benchmarks.answers import Condition, written_model
    from benchmarks.generated import write_generated
    from steam_recsys.storage.model_store import add_model, move_champion

    write_generated(root / "snapshot", size, SEED)
    game_ids = np.arange(1, size.games + 1, dtype=np.int32)
    model = root / "model"
    model.mkdir()
    condition = Condition(scale=8, skewed=False, links=LINKS)
    version = written_model(model, game_ids, condition, np.random.default_rng(SEED)).version
    add_model(str(root / "store"), model)
    move_champion(str(root / "store"), version, expected=None)
    return size.users


def plan(root: Path, size: Size, users_per_shard: int, number: int) -> int:
    """Plan the publication; the number of its shards."""
    from components.predict.plan import plan_predictions

    planned = plan_predictions(root / "snapshot", str(root / "store"), users_per_shard)
    planned.write(root / "plan.json")
    return len(planned.shards)


def shard(root: Path, size: Size, users_per_shard: int, number: int) -> int:
    """Predict one shard; the number of its users."""
    from components.predict.prediction import predict_shard
    from steam_recsys.data.predictions import Plan

    return predict_shard(str(root / "store"), Plan.read(root / "plan.json"), number).users


STEPS = {"prepare": prepare, "plan": plan, "shard": shard}


def main() -> None:
    """Take one step in this process and write down what it did, its seconds and its peak memory."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prediction_steps", description=__doc__)
    parser.add_argument("step", choices=STEPS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("size", type=int, nargs=3, help="interactions, users, games")
    parser.add_argument("users_per_shard", type=int)
    parser.add_argument("number", type=int, help="the shard's")
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    started = time.perf_counter()
    done = STEPS[options.step](options.folder, Size(*options.size), options.users_per_shard, options.number)
    record = {"done": done, "seconds": time.perf_counter() - started, "peak_mb": peak_mb()}
    options.output.write_text(json.dumps(record))


if __name__ == "__main__":
    main()
