"""Batch prediction at the size of a large shop: the memory of the plan's process and of a shard's.

The model's weights are random: what a prediction takes depends on their number, not on what was learnt. The shards are
alike, so that the first and the last stand for all.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import astuple
from pathlib import Path

from benchmarks.generated import Size
from benchmarks.record import Row, at_most, measured, peak_mb

SIZE = Size(interactions=10_000_000, users=2_000_000, games=50_000)
USERS_PER_SHARD = 100_000
DIMENSIONS, LINKS = 64, 100
MUST_MB = 2048.0
SEED = 0


def rows(size: Size = SIZE, users_per_shard: int = USERS_PER_SHARD) -> list[Row]:
    """Prepare a snapshot and a champion, plan, predict two shards, each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-benchmark-") as folder:

        def step(name: str, number: int = 0) -> dict[str, float]:
            arguments = (name, folder, *map(str, astuple(size)), str(users_per_shard), str(number))
            found: dict[str, float] = measured("benchmarks.prediction", *arguments)
            return found

        step("prepare")
        planned = step("plan")
        shards = [step("shard", number) for number in (0, int(planned["done"]) - 1)]
    what = f"for {size.users:,} users and {size.games:,} games"
    users = sum(shard["done"] for shard in shards)
    return [
        at_most(f"plan {what}, peak memory, MB", planned["peak_mb"], MUST_MB),
        at_most(f"predict {what}, peak memory of a shard, MB", max(s["peak_mb"] for s in shards), MUST_MB),
        at_most(f"plan {what}, seconds", planned["seconds"]),
        at_most(f"predict {what}, seconds per 100,000 users", 1e5 * sum(s["seconds"] for s in shards) / users),
    ]


def prepare(root: Path, size: Size, users_per_shard: int, number: int) -> int:
    """Write the snapshot and promote a model."""
    import numpy as np

    from benchmarks.answers import Condition, written_model
    from benchmarks.generated import write_generated
    from components.shared.model_store import add_model, move_champion

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
    from components.predict.plan import Plan
    from components.predict.prediction import predict_shard

    return predict_shard(root / "snapshot", str(root / "store"), Plan.read(root / "plan.json"), number).users


STEPS = {"prepare": prepare, "plan": plan, "shard": shard}


def main() -> None:
    """Take one step in this process and write down what it did, its seconds and its peak memory."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prediction", description=__doc__)
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
