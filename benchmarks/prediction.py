"""Batch prediction at the size of a large shop: the memory of the plan's process and of a shard's.

The model's weights are random: what a prediction takes depends on their number, not on what was learnt. The shards are
alike, so that the first and the last stand for all.
"""

from __future__ import annotations

import tempfile
from dataclasses import astuple

from benchmarks.generated import Size
from benchmarks.record import Row, at_most, measured, part

SIZE = Size(interactions=10_000_000, users=2_000_000, games=50_000)
USERS_PER_SHARD = 100_000
MUST_MB = 2048.0


def rows(size: Size = SIZE, users_per_shard: int = USERS_PER_SHARD) -> list[Row]:
    """Prepare a snapshot and a champion, plan, predict two shards, each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="steam-recsys-benchmark-") as folder:

        def step(name: str, number: int = 0) -> dict[str, float]:
            arguments = (name, folder, *map(str, astuple(size)), str(users_per_shard), str(number))
            found: dict[str, float] = measured("benchmarks.prediction_steps", *arguments)
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


if __name__ == "__main__":
    part("prediction", __doc__, rows)
