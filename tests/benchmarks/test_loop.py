"""The benchmark of the whole loop, on a small shop."""

import pytest

from benchmarks.loop import CASES, Loop, results, run_loop
from demo.synthetic import Size


def test_a_loop_has_limits_on_time_memory_and_growth() -> None:
    tenth = Loop(1_000_000, 300.0, {"ingest": 100.0, "train": 200.0}, {"ingest": 80.0, "train": 2_000.0})
    loop = Loop(10_000_000, 3_200.0, {"ingest": 1_000.0, "train": 2_200.0}, {"ingest": 80.0, "train": 5_000.0})
    time_limit, growth, memory_limit, memory_growth, *stages = results(tenth, loop, CASES["10m"])
    assert time_limit["what"] == growth["what"] == "whole loop at 10,000,000 reviews, seconds"
    assert (time_limit["met"], growth["met"], growth["ratio"]) == (False, False, 10.6667)
    assert memory_limit["what"] == "whole loop at 10,000,000 reviews, peak memory of any process, MB"
    assert (memory_limit["met"], memory_growth["met"], memory_growth["ratio"]) == (True, False, 2.5)
    ratios = {row["what"]: row["ratio"] for row in stages}
    assert ratios["train at 10,000,000 reviews, seconds"] == 11.0
    assert ratios["ingest at 10,000,000 reviews, peak memory, MB"] == 1.0


@pytest.mark.slow
def test_the_loop_is_measured_from_raw_files_to_published_recommendations() -> None:
    measured = run_loop(Size(reviews=4_000, users=1_500, games=200))
    assert measured.reviews == pytest.approx(4_000, rel=0.05)
    assert {"ingest", "extract", "train", "evaluate", "plan", "predict", "reverse_etl"} <= set(measured.stages)
    assert sum(measured.stages.values()) < measured.seconds
    assert max(measured.peak_mb.values()) > 100
