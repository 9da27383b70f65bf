"""Batch prediction of four lists per user at the size of a large shop: the memory of planning and of one shard.

The model's weights are random: the cost of a prediction depends on their number, not on what was learnt. All shards are
alike, so the first and the last are measured.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import astuple
from functools import partial
from pathlib import Path

from benchmarks.generated import Size
from benchmarks.record import Row, at_most, measured, peak_mb, run_benchmark

SIZE = Size(interactions=10_000_000, users=2_000_000, games=50_000)
USERS_PER_SHARD = 100_000
MUST_MB = 2048.0
NEIGHBOURS = 100
SEED = 0


def rows(size: Size = SIZE, users_per_shard: int = USERS_PER_SHARD) -> list[Row]:
    """Prepare a snapshot and a champion, plan, and predict two shards, each step in its own process."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-benchmark-") as folder:

        def step(name: str, *arguments: int) -> dict[str, float]:
            found: dict[str, float] = measured("benchmarks.prediction", name, folder, *map(str, arguments))
            return found

        step("prepare", *astuple(size))
        planned = step("plan", users_per_shard)
        shards = [step("shard", number) for number in (0, int(planned["done"]) - 1)]
    what = f"for {size.users:,} users and {size.games:,} games"
    users = sum(shard["done"] for shard in shards)
    return [
        at_most(f"plan {what}, peak memory, MB", planned["peak_mb"], MUST_MB),
        at_most(f"predict {what}, peak memory of a shard, MB", max(s["peak_mb"] for s in shards), MUST_MB),
        at_most(f"plan {what}, seconds", planned["seconds"]),
        at_most(f"predict {what}, seconds per 100,000 users", 1e5 * sum(s["seconds"] for s in shards) / users),
    ]


def run_step(name: str, folder: str, *arguments: str) -> dict[str, float]:
    """Run one step in this process and return what it did, its seconds and its peak memory."""
    started = time.perf_counter()
    done = STEPS[name](Path(folder), *map(int, arguments))
    return {"done": done, "seconds": time.perf_counter() - started, "peak_mb": peak_mb()}


def prepare(root: Path, interactions: int, users: int, games: int) -> int:
    """Write the snapshot and promote a model; return the number of users."""
    import numpy as np

    from benchmarks.answers import Condition, written_model
    from benchmarks.generated import write_generated
    from steam_recsys.storage.model_store import add_model, move_champion

    write_generated(root / "snapshot", Size(interactions, users, games), SEED, released=True)
    game_ids = np.arange(1, games + 1, dtype=np.int32)
    model = root / "model"
    model.mkdir()
    condition = Condition(scale=8, skewed=False, neighbours=NEIGHBOURS)
    version = written_model(model, game_ids, condition, np.random.default_rng(SEED)).version
    add_model(str(root / "store"), model)
    move_champion(str(root / "store"), version, expected=None)
    return users


def plan(root: Path, users_per_shard: int) -> int:
    """Plan the publication; return the number of its shards."""
    from components.predict.plan import plan_predictions

    planned = plan_predictions(root / "snapshot", str(root / "store"), users_per_shard)
    planned.write(root / "plan.json")
    return len(planned.shards)


def shard(root: Path, number: int) -> int:
    """Predict one shard; return the number of its users."""
    from components.predict.prediction import predict_shard
    from steam_recsys.data.predictions import Plan

    return predict_shard(str(root / "store"), Plan.read(root / "plan.json"), number).users


STEPS: dict[str, Callable[..., int]] = {"prepare": prepare, "plan": plan, "shard": shard}


if __name__ == "__main__":
    run_benchmark("prediction", __doc__, rows, {name: partial(run_step, name) for name in STEPS})
