"""The benchmark of prediction, on a small shop."""

import pytest

from benchmarks.generated import Size
from benchmarks.prediction import rows


@pytest.mark.slow
def test_prediction_is_measured_step_by_step() -> None:
    found = rows(Size(interactions=3_000, users=600, games=80), users_per_shard=300)
    assert [row["met"] for row in found] == [True] * 4
    assert all(row["ours"] > 0 for row in found)
