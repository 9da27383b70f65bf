"""The benchmark of the whole loop, on a small shop."""

import pytest

from benchmarks.loop import Loop, results, run_loop
from demo.synthetic import Size


def test_a_loop_has_limits_on_time_memory_and_growth() -> None:
    small = Loop(1_000_000, 300.0, {"ingest": 100.0, "train": 200.0}, {"ingest": 80.0, "train": 2_000.0})
    large = Loop(10_000_000, 3_200.0, {"ingest": 1_000.0, "train": 2_200.0}, {"ingest": 80.0, "train": 5_000.0})
    rows = {row["what"]: row for row in results(small, large)}
    assert rows["whole loop at 1,000,000 reviews, seconds"]["met"]
    assert rows["whole loop at 1,000,000 reviews, peak memory of any process, MB"]["ours"] == 2_000
    assert not rows["whole loop at 10,000,000 reviews, seconds"]["met"]
    assert rows["train at 10,000,000 reviews, seconds"]["ratio"] == 11.0


@pytest.mark.slow
def test_the_loop_is_measured_from_raw_files_to_published_recommendations() -> None:
    measured = run_loop(Size(reviews=4_000, users=1_500, games=200))
    assert measured.reviews == pytest.approx(4_000, rel=0.05)
    assert {"ingest", "extract", "train", "evaluate", "plan", "predict", "reverse_etl"} <= set(measured.stages)
    assert sum(measured.stages.values()) < measured.seconds
    assert max(measured.peak_mb.values()) > 100
