"""The benchmark of the data plane: the shop that it makes, each side on a small one, and what its figures mean."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pyarrow.dataset as ds
import pytest

from benchmarks import data, extraction, loop, prediction
from benchmarks.extraction import Side
from benchmarks.extraction_sides import ADBC, CONNECTORX, COPY, DATABASE, OURS, PANDAS, QUERIES, SIDES
from benchmarks.generated import Size as SizeOfGenerated
from benchmarks.loop import Loop
from benchmarks.record import Row, at_least, at_most, below, measured, part, times_as_many, times_as_much, times_faster
from benchmarks.shop import load_shop
from components.ingest.ingestion import ingest
from demo.raw_files import write_synthetic
from demo.synthetic import Size
from steam_recsys.data.snapshot import Snapshot

SMALL = Size(reviews=3_000, users=1_300, games=60)


@pytest.fixture
def loaded(database: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The reviews of a small shop in the benchmark's database."""
    monkeypatch.setenv(DATABASE, os.environ["DATABASE_URL"])
    return load_shop(database, SMALL)


def test_a_shop_in_the_database_holds_what_its_raw_files_hold(
    loaded: int, database: str, connection: psycopg2.extensions.connection, tmp_path: Path
) -> None:
    query = """
        SELECT username, name, recommended, hours_played, helpful, funny, reviewed_on, review
        FROM steam.reviews JOIN steam.games USING (game_id) LEFT JOIN steam.users USING (user_id) ORDER BY review_id
    """
    with connection.cursor() as cursor:
        cursor.execute(query)
        in_database = cursor.fetchall()
        cursor.execute("DROP SCHEMA steam CASCADE")
        assert write_synthetic(tmp_path / "raw", SMALL) == loaded == len(in_database)
        ingest(str(tmp_path / "raw"), database)
        cursor.execute(query)
        assert cursor.fetchall() == in_database


def test_every_side_extracts_the_same_rows(loaded: int, tmp_path: Path) -> None:
    SIDES[OURS][0](tmp_path)
    snapshot = Snapshot.open(tmp_path / "snapshot")
    assert snapshot.manifest.rows("reviews") == loaded
    SIDES[COPY][0](tmp_path)
    for name in (CONNECTORX, ADBC, PANDAS):
        (tmp_path / name).mkdir()
        SIDES[name][0](tmp_path / name)
        for table in QUERIES:
            rows = ds.dataset(tmp_path / name / f"{table}.parquet").to_table()
            kept = [column for column in rows.column_names if column != "updated_at"]  # in zones of their own
            ours = snapshot.table(table).select(kept)
            assert rows.select(kept).cast(ours.schema).sort_by(kept[0]).equals(ours)


def test_a_side_is_measured_in_a_process_of_its_own(loaded: int) -> None:
    side = Side(**measured("benchmarks.extraction_sides", COPY))
    assert side.seconds > 0
    assert side.peak_mb > 10


def by_peer(rows: list[Row]) -> dict[str | None, Row]:
    return {row["peer_name"]: row for row in rows}


def test_extraction_may_take_half_as_long_again_as_copy_and_must_be_faster_than_its_peers() -> None:
    large = {OURS: Side(15, 300), COPY: Side(10, 40), CONNECTORX: Side(30, 900), ADBC: Side(14, 400)}
    small = {OURS: Side(2, 260), PANDAS: Side(10, 900)}
    rows = extraction.results(extraction.SIZE, extraction.TENTH, large, small)
    times = by_peer([row for row in rows if "seconds" in row["what"]])
    assert [(times[peer]["ratio"], times[peer]["met"]) for peer in (COPY, CONNECTORX, ADBC, PANDAS)] == [
        (1.5, True),
        (2.0, True),
        (0.9333, False),
        (5.0, True),
    ]
    memory = by_peer([row for row in rows if "memory" in row["what"] and row["must"] is not None])
    assert (memory[None]["ours"], memory[None]["met"]) == (300, True)
    assert (memory["ours at 1,000,000"]["ratio"], memory["ours at 1,000,000"]["met"]) == (1.1538, True)


def test_a_loop_must_be_short_and_small_and_grow_with_its_reviews() -> None:
    small = Loop(1_000_000, 300.0, {"ingest": 100.0, "train": 200.0}, {"ingest": 80.0, "train": 2_000.0})
    large = Loop(10_000_000, 3_200.0, {"ingest": 1_000.0, "train": 2_200.0}, {"ingest": 80.0, "train": 5_000.0})
    rows = {row["what"]: row for row in loop.results(small, large)}
    assert rows["whole loop at 1,000,000 reviews, seconds"]["met"]
    assert rows["whole loop at 1,000,000 reviews, peak memory of any process, MB"]["ours"] == 2_000
    assert not rows["whole loop at 10,000,000 reviews, seconds"]["met"]
    assert rows["train at 10,000,000 reviews, seconds"]["ratio"] == 11.0


@pytest.mark.slow
def test_prediction_is_measured_step_by_step() -> None:
    rows = prediction.rows(SizeOfGenerated(interactions=3_000, users=600, games=80), users_per_shard=300)
    assert [row["met"] for row in rows] == [True] * 4
    assert all(row["ours"] > 0 for row in rows)


@pytest.mark.slow
def test_the_loop_is_measured_from_raw_files_to_published_recommendations() -> None:
    measured = loop.run_loop(Size(reviews=4_000, users=1_500, games=200))
    assert measured.reviews == pytest.approx(4_000, rel=0.05)
    assert {"ingest", "extract", "train", "evaluate", "plan", "predict", "reverse_etl"} <= set(measured.stages)
    assert sum(measured.stages.values()) < measured.seconds
    assert max(measured.peak_mb.values()) > 100


def test_rows_say_whether_what_must_be_is() -> None:
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


def test_a_small_figure_keeps_its_digits() -> None:
    assert at_most("difference", 0.000_002_345_6)["ours"] == 2.346e-6
    assert at_most("difference", 0.0)["ours"] == 0.0


def test_rows_are_in_the_file_before_the_next_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark", "--output", str(tmp_path)])

    def rows() -> Iterator[Row]:
        yield at_most("first", 1.0)
        assert [row["what"] for row in json.loads((tmp_path / "loop.json").read_text())] == ["first"]
        yield at_most("second", 2.0)

    part("loop", None, rows)
    assert len(json.loads((tmp_path / "loop.json").read_text())) == 2


def test_what_was_measured_stays_in_the_record_when_another_part_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["benchmark", "--output", str(tmp_path)])
    for name, seconds in (("loop", 1.0), ("extraction", 2.0), ("loop", 3.0)):
        part(name, None, lambda seconds=seconds: [at_most("seconds", seconds)])
        data.gather(tmp_path)
    record = json.loads((tmp_path / "data.json").read_text())
    assert [row["ours"] for row in record] == [2.0, 3.0]


def test_every_part_is_a_module_with_a_command_line() -> None:
    for name in data.PARTS:
        command = [sys.executable, "-m", f"benchmarks.{name}", "--help"]
        assert "--output" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
