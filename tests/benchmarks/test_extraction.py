"""The benchmark of extraction: its sides on a small shop, and its figures."""

import os
from pathlib import Path

import psycopg2
import pyarrow.dataset as ds
import pytest

from benchmarks.extraction import (
    ADBC,
    CONNECTORX,
    COPY,
    DATABASE,
    LOAD,
    OURS,
    PANDAS,
    QUERIES,
    REVIEWS,
    SIDES,
    TENTH,
    Side,
    results,
)
from benchmarks.generated import load_shop
from benchmarks.record import Row, measured
from components.ingest.ingestion import ingest
from demo.synthetic import Size, write_synthetic
from steam_recsys.data.snapshot import Snapshot

SMALL = Size(reviews=3_000, users=1_300, games=60)


@pytest.fixture
def loaded(database: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """The number of reviews of a small shop in the benchmark's database."""
    monkeypatch.setenv(DATABASE, os.environ["DATABASE_URL"])
    return load_shop(database, SMALL)


def test_a_loaded_shop_equals_its_ingested_raw_files(
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
            kept = [column for column in rows.column_names if column != "updated_at"]  # in another time zone per side
            ours = snapshot.table(table).select(kept)
            assert rows.select(kept).cast(ours.schema).sort_by(kept[0]).equals(ours)


def test_a_side_is_measured_in_its_own_process(loaded: int) -> None:
    side = Side(**measured("benchmarks.extraction", COPY))
    assert side.seconds > 0
    assert side.peak_mb > 10


def by_peer(rows: list[Row]) -> dict[str | None, Row]:
    return {row["peer_name"]: row for row in rows}


def test_extraction_may_take_1_5_times_as_long_as_copy_and_must_beat_its_peers() -> None:
    large = {OURS: Side(15, 300), COPY: Side(10, 40), CONNECTORX: Side(30, 900), ADBC: Side(14, 400)}
    small = {OURS: Side(2, 260), PANDAS: Side(10, 900)}
    rows = results(REVIEWS, TENTH, large, small)
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


def test_the_large_shop_is_loaded_in_its_own_process(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATABASE, os.environ["DATABASE_URL"])
    assert measured("benchmarks.extraction", LOAD, "3000", "1300", "60") == pytest.approx(3_000, rel=0.1)
