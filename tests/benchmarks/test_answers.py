"""The benchmark of answers, on a small catalogue."""

import numpy as np
import pytest

from benchmarks.answers import (
    MUST_DIFFERENCE,
    MUST_MS,
    OURS,
    PLAIN,
    SAVED_MODEL,
    SETTINGS,
    Condition,
    Timings,
    measure_condition,
    results,
)

GAMES, QUERIES = 500, 20


@pytest.mark.parametrize(
    "condition", [Condition(8, False, 0), Condition(2, True, 100), Condition(8, False, 0, 0.5)], ids=str
)
def test_ours_and_its_peers_answer_the_same_queries(condition: Condition) -> None:
    rows = measure_condition(condition, GAMES, QUERIES)
    beside, alone = rows[:6], rows[6:-1]
    assert {row["peer_name"] for row in beside} == {SAVED_MODEL, PLAIN}
    assert [row["what"].removeprefix(f"500 games, {condition}, ") for row in alone] == [
        f"{setting}, {name}, ms" for setting in SETTINGS for name in ("p50", "p99", "max")
    ]
    assert {row["must"] for row in alone} == {None, MUST_MS}
    assert all(row["what"].startswith(f"500 games, {condition}, ") for row in rows)
    assert all(row["ours"] > 0 for row in rows[:-1])
    assert all(row["peer"] > 0 for row in beside)
    difference = rows[-1]
    assert (difference["must"], difference["met"]) == (MUST_DIFFERENCE, True)


def timings(milliseconds: float, score: float) -> Timings:
    times = np.array([1.0] * 90 + [milliseconds] * 10)
    return Timings(times, [np.array([score], dtype=np.float32)])


def test_only_the_99th_percentile_must_be_met() -> None:
    quick = {OURS: timings(4, 1.0), SAVED_MODEL: timings(8, 1.0), PLAIN: timings(2, 1.0)}
    by_name = {(row["what"], row["peer_name"]): row for row in results("all", quick)}
    assert by_name["all, p99, ms", SAVED_MODEL] == {
        "what": "all, p99, ms", "ours": 4.0, "peer": 8.0, "peer_name": SAVED_MODEL, "ratio": 0.5, "must": MUST_MS,
        "met": True,
    }  # fmt: skip
    assert by_name["all, p50, ms", PLAIN]["must"] is None
    slow = results("all", {**quick, OURS: timings(6, 1.1)})
    unmet = {row["what"] for row in slow if not row["met"]}
    assert unmet == {"all, p99, ms", f"all, largest difference of a score to the {SAVED_MODEL}'s"}
