"""The record: its rows, its files, and the parts of the data benchmark."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.record import (
    PARTS,
    Row,
    at_least,
    at_most,
    below,
    gather,
    run_benchmark,
    times_as_many,
    times_as_much,
    times_faster,
)


def test_rows_say_whether_their_target_is_met() -> None:
    assert at_most("memory", 500.0, 500.0)["met"]
    assert not at_most("memory", 500.1, 500.0)["met"]
    assert times_as_much("time", 1.5, 1.0, "COPY", 1.5) == {
        "what": "time", "ours": 1.5, "peer": 1.0, "peer_name": "COPY", "ratio": 1.5, "must": 1.5, "met": True,
    }  # fmt: skip
    assert not times_faster("time", 2.0, 2.0, "ADBC", 1.0)["met"]
    assert times_faster("time", 2.0, 2.1, "ADBC", 1.0)["met"]
    assert times_faster("time", 2.0, 1.0, "ADBC")["met"]
    assert not times_faster("time", None, 2.0, "ADBC", 1.0)["met"]
    assert times_as_many("users/s", 10.0, 1.0, "upserts", 10.0)["met"]
    assert not times_as_many("users/s", 9.9, 1.0, "upserts", 10.0)["met"]
    assert at_least("recall", 0.98, 0.98)["met"]
    assert not at_least("recall", 0.97, 0.98)["met"]
    assert below("p99", 4.9, 9.8, "SELECT 1", 5.0) == {
        "what": "p99", "ours": 4.9, "peer": 9.8, "peer_name": "SELECT 1", "ratio": 0.5, "must": 5.0, "met": True,
    }  # fmt: skip
    assert not below("p99", 5.0, 9.8, "SELECT 1", 5.0)["met"]


def test_a_small_figure_keeps_four_significant_digits() -> None:
    assert at_most("difference", 0.000_002_345_6)["ours"] == 2.346e-6
    assert at_most("difference", 0.0)["ours"] == 0.0


def test_each_row_is_written_before_the_next_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark", "--output", str(tmp_path)])

    def rows() -> Iterator[Row]:
        yield at_most("first", 1.0)
        assert [row["what"] for row in json.loads((tmp_path / "loop.json").read_text())] == ["first"]
        yield at_most("second", 2.0)

    run_benchmark("loop", None, rows)
    assert len(json.loads((tmp_path / "loop.json").read_text())) == 2


def test_measuring_one_part_again_keeps_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark", "--output", str(tmp_path)])
    for name, seconds in (("loop", 1.0), ("extraction", 2.0), ("loop", 3.0)):
        run_benchmark(name, None, lambda seconds=seconds: [at_most("seconds", seconds)])
        gather(tmp_path)
    record = json.loads((tmp_path / "data.json").read_text())
    assert [row["ours"] for row in record] == [2.0, 3.0]


def test_every_part_has_a_command_line() -> None:
    for name in PARTS:
        command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
        assert "--output" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
